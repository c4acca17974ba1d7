/** A letter on a colour: no picture is fetched from anywhere. */
export type Avatar = { letter: string; colour: number }

const COLOURS = 6

/** The same name has the same colour on every page. */
export const avatarOf = (name: string): Avatar => {
  const [first] = new Intl.Segmenter().segment(name.trim())
  let sum = 0
  for (const character of name) sum += character.codePointAt(0) ?? 0
  return { letter: (first?.segment ?? '?').toUpperCase(), colour: sum % COLOURS }
}
