import type { Progress } from '../vault/reseal.ts'

const BAR_WIDTH = 30

type Output = { isTTY?: boolean; write(text: string): unknown }

/** Draws a bar that redraws itself on a terminal; writes a line per batch anywhere else. */
export const createProgressBar = (output: Output): ((progress: Progress) => void) => {
  return ({ table, done, total }) => {
    const share = total === 0 ? 1 : done / total
    const facts = `${table}: ${done} of ${total} (${Math.floor(share * 100)} %)`
    if (!output.isTTY) {
      output.write(`${facts}\n`)
      return
    }
    const filled = Math.round(share * BAR_WIDTH)
    const bar = `${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}`
    output.write(`\r[${bar}] ${facts}${done >= total ? '\n' : ''}`)
  }
}
