import { readFileSync } from 'node:fs'
import { readConfig } from '../config/config.ts'
import { openDatabase } from '../db/open.ts'
import { applyRoles, ROLES, ROLES_SQL, type RolePasswords } from '../db/roles.ts'

/** `MIGRATE_PASSWORD`, `SERVE_PASSWORD` and `AUDIT_PASSWORD`, each also as the file that `..._FILE` names. */
const readPasswords = (env: NodeJS.ProcessEnv): RolePasswords => {
  const entries = Object.keys(ROLES).map((role) => {
    const name = `${role.toUpperCase()}_PASSWORD`
    const file = env[`${name}_FILE`]
    const password = env[name] || (file ? readFileSync(file, 'utf8').trim() : '')
    if (password === '')
      throw new Error(
        `${name} or ${name}_FILE is needed: the password of ${ROLES[role as keyof typeof ROLES]}`,
      )
    return [role, password]
  })
  return Object.fromEntries(entries) as RolePasswords
}

/** `roles` prints the SQL that makes the roles of the database; `roles apply` runs it there, with their passwords. */
export const roles = async ([verb]: string[]): Promise<void> => {
  if (verb === undefined) {
    process.stdout.write(ROLES_SQL)
    return
  }
  if (verb !== 'apply') throw new Error('Usage: roles, or roles apply')
  const config = readConfig(process.env, { opensTokens: false })
  if (config.databaseUrl === undefined)
    throw new Error('DATABASE_URL is needed: of a superuser, on PostgreSQL')
  const passwords = readPasswords(process.env)
  const { db, close } = openDatabase({ ...config, poolSize: 1 })
  try {
    await applyRoles(db, passwords)
    process.stdout.write(`${Object.values(ROLES).join(', ')} are there\n`)
  } finally {
    await close()
  }
}
