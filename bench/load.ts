import { createHistogram } from 'node:perf_hooks'
import autocannon from 'autocannon'

export type Measurement = { perSecond: number; p50: number; p99: number; errors: number }

export type Target = { origin: string; paths: string[]; key?: string }

const MICROSECONDS = 1000

/**
 * Drives a server for some seconds; latencies in milliseconds. Anything but 2xx counts as an error. Each client has
 * a share of the paths for itself: clients that all walked the same way would ask for the same thing at once, which
 * no two scanners do.
 */
export const measure = async (target: Target, connections: number, seconds: number): Promise<Measurement> => {
  const { origin, paths, key } = target
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` }
  // Finer than autocannon's own, which counts whole milliseconds.
  const latency = createHistogram()
  let clients = 0
  const options: autocannon.Options = {
    url: origin,
    connections,
    duration: seconds,
    headers,
    setupClient(client) {
      const own = paths.filter((_, index) => index % connections === clients % connections)
      const share = own.length > 0 ? own : paths
      clients += 1
      client.setRequests(share.map((path) => ({ method: 'GET' as const, path, headers })))
    },
  }
  const result = await new Promise<autocannon.Result>((resolve, reject) => {
    const run = autocannon(options, (error, result) => (error ? reject(error) : resolve(result)))
    run.on('response', (_client, _status, _bytes, milliseconds) => {
      latency.record(Math.max(1, Math.round(milliseconds * MICROSECONDS)))
    })
  })
  return {
    perSecond: result['2xx'] / result.duration,
    p50: latency.percentile(50) / MICROSECONDS,
    p99: latency.percentile(99) / MICROSECONDS,
    errors: result.non2xx + result.errors,
  }
}
