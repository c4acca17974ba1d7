import autocannon from 'autocannon'

export type Measurement = { perSecond: number; p50: number; p99: number; errors: number }

export type Target = { origin: string; paths: string[]; key?: string }

/** Drives a server for some seconds; latencies in milliseconds. Anything but 2xx counts as an error. */
export const measure = async (target: Target, connections: number, seconds: number): Promise<Measurement> => {
  const headers = target.key === undefined ? {} : { authorization: `Bearer ${target.key}` }
  const result = await autocannon({
    url: target.origin,
    connections,
    duration: seconds,
    headers,
    requests: target.paths.map((path) => ({ method: 'GET' as const, path })),
  })
  return {
    perSecond: result['2xx'] / result.duration,
    p50: result.latency.p50,
    p99: result.latency.p99,
    errors: result.non2xx + result.errors,
  }
}
