import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

/** What PgBouncer passes on of the settings with which a connection opens; the others it refuses. */
const PASSED_ON = new Set(['user', 'database', 'client_encoding', 'application_name'])

const errorMessage = (text: string): Buffer => {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C08P01\0M${text}\0\0`)
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}

/** Names and values of a StartupMessage (PostgreSQL documentation, "Message Formats"). */
const readStartup = (message: Buffer): [string, string][] => {
  const parts = message.subarray(8, -1).toString().split('\0')
  return parts.flatMap((name, index) =>
    index % 2 === 0 && name ? [[name, parts[index + 1] ?? ''] as [string, string]] : [],
  )
}

const writeStartup = (settings: [string, string][]): Buffer => {
  const body = Buffer.from(`${settings.flat().join('\0')}\0\0`)
  const head = Buffer.alloc(8)
  head.writeInt32BE(body.length + 8)
  head.writeInt32BE(196_608, 4)
  return Buffer.concat([head, body])
}

/**
 * A door to PostgreSQL that treats the settings of a session as PgBouncer does: it refuses those that it does not know,
 * or drops them when told to ignore them (`ignore_startup_parameters`).
 */
export const startPooler = async (
  t: Test,
  target: string,
  { ignores }: { ignores: boolean },
): Promise<string> => {
  const { hostname, port: targetPort } = new URL(target)
  const sockets = new Set<Socket>()
  const server = createServer((inner) => {
    sockets.add(inner)
    inner.on('error', () => inner.destroy())
    inner.once('data', (first: Buffer) => {
      const settings = readStartup(first)
      const refused = settings.find(([name]) => !PASSED_ON.has(name))
      if (refused && !ignores) {
        inner.end(errorMessage(`unsupported startup parameter: ${refused[0]}`))
        return
      }
      const outer = connect(Number(targetPort), hostname)
      sockets.add(outer)
      outer.on('error', () => inner.destroy())
      outer.write(writeStartup(settings.filter(([name]) => PASSED_ON.has(name))))
      inner.pipe(outer).pipe(inner)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return Object.assign(new URL(target), { port: String(port) }).href
}
