import type { App } from '../../src/http/server.ts'

/** Every operation that an app answers, hidden ones too: `GET /v1/instances/:id`, sorted by path. HEAD goes with GET. */
export const operationsOf = (app: App): string[] => {
  const operations: string[] = []
  // A tree of what each path adds to the one above, four characters deeper each time.
  const parents: string[] = []
  for (const line of app.printRoutes({ commonPrefix: false }).split('\n')) {
    const [, indent = '', added = '', methods = ''] = /^([│ ]*)[└├]── (\S*) \(([A-Z, ]+)\)$/.exec(line) ?? []
    if (methods === '') continue
    const depth = indent.length / 4
    const path = `${parents[depth - 1] ?? ''}${added}`
    parents.length = depth
    parents.push(path)
    for (const method of methods.split(', ')) operations.push(`${method} ${path}`)
  }
  const gets = new Set(operations.filter((operation) => operation.startsWith('GET ')))
  const byPath = (operation: string) => operation.slice(operation.indexOf(' ') + 1)
  return [...new Set(operations)]
    .filter((operation) => !operation.startsWith('HEAD ') || !gets.has(operation.replace('HEAD', 'GET')))
    .sort((a, b) => (byPath(a) < byPath(b) ? -1 : byPath(a) > byPath(b) ? 1 : a < b ? -1 : 1))
}
