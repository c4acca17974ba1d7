/** How often a source, such as an address, guessed in the minute that ends then; all replicas together. */
export type Guesses = {
  source: string
  guesses: number
  ends_at: Date
}
