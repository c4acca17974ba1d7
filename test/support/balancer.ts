import { Agent, request } from 'node:http'

export type Answered = { status: number | undefined; text: string }
export type Asked = { method?: string; body?: object; agent?: Agent }

/** Sends one request to a port of this machine. */
export const askPort = (
  port: number,
  path: string,
  key: string,
  { method = 'GET', body, agent }: Asked = {},
): Promise<Answered> =>
  new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${key}`, ...(body && { 'content-type': 'application/json' }) }
    const asking = request({ port, path, method, headers, agent: agent ?? false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.once('error', reject).once('end', () => resolve({ status: response.statusCode, text }))
    })
    asking.once('error', reject).end(body && JSON.stringify(body))
  })

export type Balancer = {
  /** The replicas that get requests. */
  ready: ReadonlySet<number>
  send(turn: number, path: string, asked?: Asked): Promise<Answered>
  /** As an operator does: no request goes there until it is let in again. */
  takeOut(port: number): void
  letIn(port: number): void
  stop(): Promise<void>
}

const ASKED_EVERY_MS = 50

/** Sends each request to a replica that was ready when it was last asked, over connections that it keeps. */
export const startBalancer = (ports: number[], key: string, maxSockets: number): Balancer => {
  const agents = new Map(ports.map((port) => [port, new Agent({ keepAlive: true, maxSockets })]))
  const ready = new Set(ports)
  const out = new Set<number>()
  let going = true
  const watch = async (port: number) => {
    while (going) {
      const { status } = await askPort(port, '/readyz', key).catch(() => ({ status: undefined }))
      if (status === 200 && !out.has(port)) ready.add(port)
      else ready.delete(port)
      await new Promise((resolve) => setTimeout(resolve, ASKED_EVERY_MS))
    }
  }
  const watching = Promise.all(ports.map(watch))
  return {
    ready,
    send(turn, path, asked = {}) {
      const able = [...ready]
      const port = able[turn % able.length]
      if (port === undefined) return Promise.reject(new Error('no replica is ready'))
      return askPort(port, path, key, { ...asked, agent: agents.get(port)! })
    },
    takeOut(port) {
      out.add(port)
      ready.delete(port)
    },
    letIn: (port) => void out.delete(port),
    async stop() {
      going = false
      await watching
      for (const agent of agents.values()) agent.destroy()
    },
  }
}
