import { execFile, spawnSync } from 'node:child_process'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHistogram } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import autocannon from 'autocannon'
import { cpuSecondsOf, cpuSecondsOfPostgres } from './cpu.ts'

/** @property body makes it a POST. */
export type Request = { path: string; key: string; body?: string }

/** A server under load, and what it is asked: each request follows the one before, from round to round. */
export type Target = {
  origin: string
  next(): Request
  /** More are not made for each second: those with a large body are answered slowly, and take memory. */
  mostPerSecond?: number
  /** What is asked once before anything is measured: a broker that has run for a while has it in its memory. */
  first?(): Request[]
  /** Before each measurement, and not counted. */
  prepare?(): Promise<void>
  /** The process of the server, and that of its PostgreSQL; undefined = none. */
  pid: number
  postmaster?: number | undefined
}

/** Latencies in milliseconds, processor time in microseconds of each request. */
export type Measurement = {
  perSecond: number
  p50: number
  p99: number
  errors: number
  serverCpu: number
  postgresCpu: number
}

type Counted = Pick<Measurement, 'p50' | 'p99' | 'errors'> & { requests: number; seconds: number }

/** More than any server here answers: what is asked in one measurement is asked once. */
const REQUESTS_PER_SECOND = 60_000
const REQUESTS_PER_SECOND_ALONE = 15_000
const MICROSECONDS = 1_000
const SCRIPT = fileURLToPath(new URL('wrk.lua', import.meta.url))

const hasWrk = spawnSync('wrk', ['-v']).error === undefined

/** What generates the load: wrk where it is installed, which spares its core; autocannon otherwise. */
export const GENERATOR = hasWrk ? 'wrk' : 'autocannon'

const run = promisify(execFile)

const driveWrk = async (
  origin: string,
  requests: Request[],
  connections: number,
  seconds: number,
): Promise<Counted> => {
  const file = join(tmpdir(), `gtb-bench-requests-${process.pid}-${new URL(origin).port}`)
  await writeFile(file, requests.map(({ path, key, body = '' }) => `${path}\t${key}\t${body}\n`).join(''))
  const options = [
    '-t',
    '1',
    '-c',
    String(connections),
    '-d',
    `${seconds}s`,
    '--timeout',
    '30s',
    '-s',
    SCRIPT,
  ]
  const { stdout } = await run('wrk', [...options, origin, '--', file]).finally(() => rm(file))
  const [, json] = /^JSON (.*)$/m.exec(stdout) ?? []
  if (json === undefined) throw new Error(`wrk says: ${stdout}`)
  const told = JSON.parse(json)
  return {
    requests: told.requests,
    seconds: told.microseconds / 1_000_000,
    p50: told.p50,
    p99: told.p99,
    errors: told.refused + told.broken,
  }
}

const driveAutocannon = async (
  origin: string,
  requests: Request[],
  connections: number,
  seconds: number,
): Promise<Counted> => {
  // Finer than autocannon's own, which counts whole milliseconds.
  const latency = createHistogram()
  let clients = 0
  const options: autocannon.Options = {
    url: origin,
    connections,
    duration: seconds,
    setupClient(client) {
      const own = requests.filter((_, index) => index % connections === clients % connections)
      clients += 1
      client.setRequests(
        own.map(({ path, key, body }) => ({
          ...(body === undefined ? { method: 'GET' as const } : { method: 'POST' as const, body }),
          path,
          headers: {
            ...(key === '' ? {} : { authorization: `Bearer ${key}` }),
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
        })),
      )
    },
  }
  const result = await new Promise<autocannon.Result>((resolve, reject) => {
    const running = autocannon(options, (error, result) => (error ? reject(error) : resolve(result)))
    running.on('response', (_client, _status, _bytes, milliseconds) => {
      latency.record(Math.max(1, Math.round(milliseconds * MICROSECONDS)))
    })
  })
  return {
    requests: result['2xx'] + result.non2xx,
    seconds: result.duration,
    p50: latency.percentile(50) / MICROSECONDS,
    p99: latency.percentile(99) / MICROSECONDS,
    errors: result.non2xx + result.errors,
  }
}

const ASKED_AT_ONCE = 32

/** Asks each of some requests once. */
export const askEach = async (origin: string, requests: Request[]): Promise<void> => {
  const queue = requests.values()
  const ask = async () => {
    for (const { path, key } of queue) {
      const answer = await fetch(origin + path, { headers: { authorization: `Bearer ${key}` } })
      await answer.text()
      if (!answer.ok) throw new Error(`The warm-up got ${answer.status}`)
    }
  }
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, ask))
}

/** Drives a server for some whole seconds. Anything but 2xx counts as an error. */
export const measure = async (target: Target, connections: number, seconds: number): Promise<Measurement> => {
  await target.prepare?.()
  const perSecond = connections === 1 ? REQUESTS_PER_SECOND_ALONE : REQUESTS_PER_SECOND
  const most = Math.min(perSecond, target.mostPerSecond ?? perSecond)
  const requests = Array.from({ length: most * seconds }, () => target.next())
  const cpu = () => ({
    server: cpuSecondsOf(target.pid),
    postgres: target.postmaster === undefined ? 0 : cpuSecondsOfPostgres(target.postmaster),
  })
  const before = cpu()
  const drive = hasWrk ? driveWrk : driveAutocannon
  const counted = await drive(target.origin, requests, connections, seconds)
  const after = cpu()
  const each = (spent: number) => (spent * 1_000_000) / counted.requests
  return {
    perSecond: (counted.requests - counted.errors) / counted.seconds,
    p50: counted.p50,
    p99: counted.p99,
    errors: counted.errors,
    serverCpu: each(after.server - before.server),
    postgresCpu: each(after.postgres - before.postgres),
  }
}
