import { styleText } from 'node:util'

type Style = Parameters<typeof styleText>[0]

/** Prints the tour. styleText leaves colours out by itself when there is no terminal, or NO_COLOR is set. */
export const createNarrator = (write: (text: string) => void) => {
  let steps = 0
  const styled = (style: Style, text: string) => styleText(style, text, { stream: process.stdout })
  const line = (text = '') => write(`${text}\n`)
  const fields = (values: Record<string, unknown>) => {
    const width = Math.max(...Object.keys(values).map((name) => name.length))
    for (const [name, value] of Object.entries(values)) {
      const text = typeof value === 'string' ? value : JSON.stringify(value)
      line(`       ${styled('dim', name.padEnd(width))}  ${text}`)
    }
  }
  return {
    line,
    title: (text: string) => line(styled('bold', text)),
    step(text: string) {
      steps += 1
      line(`\n${styled(['bold', 'cyan'], `${String(steps).padStart(2)}  ${text}`)}`)
    },
    say: (text: string) => line(`    ${text}`),
    call: (who: string, request: string) => line(`    ${styled('dim', `${who}:`)} ${request}`),
    fields,
    proved: (text: string) => line(`    ${styled('green', '✓')} ${text}`),
    failed: (text: string) => line(`\n${styled(['bold', 'red'], '✗')} ${text}`),
  }
}

export type Narrator = ReturnType<typeof createNarrator>

/** Enough of a secret to tell two apart, and no more. */
export const masked = (secret: string): string => `${secret.slice(0, 8)}…(${secret.length} characters)`
