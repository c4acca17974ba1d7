import type { Stage } from './broker.ts'

/** What GitLab calls the list of projects. */
export const PROJECTS = '/api/v4/projects'

export type Item = Record<string, unknown> & { id: number; path: string; connection_ids: string[] }
type Lease = { purpose: string; released_at: string; rejected_at: string; token_version: number }

/** The leases of background work, the newest first. */
export const borrowed = async ({ broker }: Stage, id: string): Promise<Lease[]> => {
  const { body } = await broker.get(`/v1/leases?connection_id=${id}`)
  return body.items.filter(({ purpose }: Lease) => purpose === 'sync')
}

/** Begins a run and waits until it has ended. */
export const sync = async ({ broker }: Stage, id: string) => {
  const answer = await broker.post(`/v1/connections/${id}/sync`)
  if (answer.status !== 202) throw new Error(answer.text)
  await broker.jobs.syncProjects()
  return (await broker.get(`/v1/connections/${id}/sync`)).body
}

export const list = async ({ broker }: Stage, path: string): Promise<Item[]> => {
  const items: Item[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const more: string = cursor === '' ? '' : `cursor=${cursor}`
    const { status, text, body } = await broker.get(`${path}${path.includes('?') ? '&' : '?'}${more}`)
    if (status !== 200) throw new Error(text)
    items.push(...body.items)
    cursor = body.next_cursor
  }
  return items
}
export const pathsOf = (items: { path: string }[]) => items.map(({ path }) => path)
