import { readdirSync, readFileSync } from 'node:fs'

/** Of the kernel, in which /proc counts: 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

type Stat = { parent: number; own: number; ended: number }

/** proc_pid_stat(5); the name in parentheses may hold anything. */
const readStat = (pid: number | string): Stat | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [, parent, , , , , , , , , , user, system, endedUser, endedSystem] = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    return { parent: parent!, own: user! + system!, ended: endedUser! + endedSystem! }
  } catch {
    return undefined
  }
}

/** Seconds of processor time of a process, all threads; NaN where the kernel does not tell. */
export const cpuSecondsOf = (pid: number): number => (readStat(pid)?.own ?? Number.NaN) / TICKS_PER_SECOND

/** The same of a PostgreSQL: the server and all of its processes, those that ended among them. */
export const cpuSecondsOfPostgres = (postmaster: number): number => {
  const server = readStat(postmaster)
  if (!server) return Number.NaN
  let ticks = server.own + server.ended
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? readStat(name) : undefined
    if (stat?.parent === postmaster) ticks += stat.own
  }
  return ticks / TICKS_PER_SECOND
}

/** The server that a process of PostgreSQL belongs to; NaN where the kernel does not tell. */
export const parentOf = (pid: number): number => readStat(pid)?.parent ?? Number.NaN
