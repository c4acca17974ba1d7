import type { World } from '../../simulator/world.ts'

/** How far each chain of tokens has come at GitLab, and when; follows the events as they are written. */
export type Generations = { latest(grantId: string): { generation: number; at: number } }

export const followGenerations = (world: World): Generations => {
  const latest = new Map<string, { generation: number; at: number }>()
  let read = 0
  return {
    latest(grantId) {
      for (; read < world.events.length; read += 1) {
        const event = world.events[read]!
        if (event.kind === 'issued' || event.kind === 'refreshed' || event.kind === 'rotated') {
          latest.set(event.grantId, { generation: event.generation, at: event.at })
        }
      }
      return latest.get(grantId) ?? { generation: 0, at: 0 }
    },
  }
}
