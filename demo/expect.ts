/** A step of the tour that did not do what it says. */
export class TourError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'TourError'
  }
}

export function expect(condition: unknown, otherwise: string): asserts condition {
  if (!condition) throw new TourError(otherwise)
}
