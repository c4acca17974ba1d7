/** Calls with the same key that arrive while one is under way share its result. */
export const coalesce = <Result>(
  work: (key: string) => Promise<Result>,
): ((key: string) => Promise<Result>) => {
  const underWay = new Map<string, Promise<Result>>()
  return (key) => {
    const joined = underWay.get(key)
    if (joined) return joined
    const started = work(key).finally(() => underWay.delete(key))
    underWay.set(key, started)
    return started
  }
}
