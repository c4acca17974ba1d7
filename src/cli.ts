import { messageOf } from './log.ts'

type Command = (args: string[]) => Promise<void>

/** Each loads what it needs, and no more. */
const COMMANDS: Record<string, () => Promise<Command>> = {
  migrate: async () => (await import('./commands/migrate.ts')).migrate,
  roles: async () => (await import('./commands/roles.ts')).roles,
  'rotate-keys': async () => (await import('./commands/rotate-keys.ts')).rotateKeys,
  'keys status': async () => (await import('./commands/keys-status.ts')).keysStatus,
  'audit verify': async () => (await import('./commands/audit-verify.ts')).auditVerify,
  schema: async () => (await import('./commands/schema.ts')).schema,
  openapi: async () => (await import('./commands/openapi.ts')).openapi,
}

const words = process.argv.slice(2)
/** The name of a command is one word or two. */
const length = [2, 1].find((count) => Object.hasOwn(COMMANDS, words.slice(0, count).join(' '))) ?? 0
const load = COMMANDS[words.slice(0, length).join(' ')]
if (!load) {
  process.stderr.write(`Usage: node src/cli.ts ${Object.keys(COMMANDS).join(' | ')}\n`)
  process.exit(2)
}
try {
  const command = await load()
  await command(words.slice(length))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? messageOf(error) : 'unknown error'}\n`)
  process.exit(1)
}
