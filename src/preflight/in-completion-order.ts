/** Works on a few items at a time, and yields each result as it comes. Who stops reading starts nothing more. */
export async function* inCompletionOrder<Item, Result>(
  items: Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  type Done = { result: Result; ended: Promise<Done> }
  const underWay = new Set<Promise<Done>>()
  const queue = items.values()
  const startNext = (): void => {
    const next = queue.next()
    if (next.done) return
    const ended: Promise<Done> = work(next.value).then((result) => ({ result, ended }))
    underWay.add(ended)
  }
  for (let lane = 0; lane < atOnce; lane += 1) startNext()
  while (underWay.size > 0) {
    const { result, ended } = await Promise.race(underWay)
    underWay.delete(ended)
    startNext()
    yield result
  }
}
