import { migrate } from './commands/migrate.ts'
import { openapi } from './commands/openapi.ts'
import { roles } from './commands/roles.ts'
import { schema } from './commands/schema.ts'
import { messageOf } from './log.ts'

const COMMANDS: Record<string, (args: string[]) => Promise<void>> = { migrate, roles, schema, openapi }

const [name = '', ...args] = process.argv.slice(2)
const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
if (!command) {
  process.stderr.write(`Usage: node src/cli.ts ${Object.keys(COMMANDS).join(' | ')}\n`)
  process.exit(2)
}
await command(args).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? messageOf(error) : 'unknown error'}\n`)
  process.exit(1)
})
