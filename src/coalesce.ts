/** Calls with the same key that arrive while one is under way share its result. */
export const coalesce = <Input, Result>(
  work: (input: Input) => Promise<Result>,
  keyOf: (input: Input) => string = String,
): ((input: Input) => Promise<Result>) => {
  const underWay = new Map<string, Promise<Result>>()
  return (input) => {
    const key = keyOf(input)
    const joined = underWay.get(key)
    if (joined) return joined
    const started = work(input).finally(() => underWay.delete(key))
    underWay.set(key, started)
    return started
  }
}
