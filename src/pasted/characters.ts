/** Pure: what is no character of a token, and comes along unseen. */

/** Zero-width characters, soft hyphens, byte order marks, marks of direction: nobody sees them, and no token has one. */
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/gu
/** Colours of a terminal, and the marks that it puts around pasted text (ECMA-48, CSI sequences). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences begin with one
const TERMINAL = /\u001b\[[0-9;?]{0,16}[@-~]/g
/** NEL and the blank of Braille are blanks too, and \s has neither. */
const BLANKS = /^[\s\u0085\u2800]+|[\s\u0085\u2800]+$/g
/** Hyphens, dashes, minus signs: all but the one of ASCII. */
const DASH = /[\u2010-\u2015\u2043\u207b\u208b\u2212\u2e3a\u2e3b\ufe58\ufe63\uff0d\u30fc]/u
const QUOTE = /["'`\u00b4\u2018-\u201f\u2032-\u2037\u00ab\u00bb\u2039\u203a\u300c-\u300f\uff02\uff07]/u
const PRINTABLE = /^[\x20-\x7e]*$/

/** The pairs in which people put a secret. The second may be the same as the first. */
const PAIRS = [
  ['"', '"'],
  ["'", "'"],
  ['`', '`'],
  ['“', '”'],
  ['”', '”'],
  ['„', '“'],
  ['„', '”'],
  ['‘', '’'],
  ['’', '’'],
  ['‚', '‘'],
  ['«', '»'],
  ['»', '«'],
  ['‹', '›'],
  ['´', '´'],
  ['\\"', '\\"'],
  ['(', ')'],
  ['[', ']'],
  ['<', '>'],
  ['{', '}'],
  ['**', '**'],
  ['*', '*'],
  ['~~', '~~'],
  ['<code>', '</code>'],
] as const

export const withoutInvisible = (text: string): string =>
  text.replace(TERMINAL, '').replace(INVISIBLE, '').replace(BLANKS, '')

/** The inside when one pair encloses all of it and stands nowhere within; undefined when none does. */
export const insideOfPair = (text: string): string | undefined => {
  for (const [open, close] of PAIRS) {
    if (text.length <= open.length + close.length || !text.startsWith(open) || !text.endsWith(close)) continue
    const inside = text.slice(open.length, -close.length)
    if (!inside.includes(open) && !inside.includes(close)) return inside
  }
  return undefined
}

export const hasQuote = (text: string): boolean => QUOTE.test(text)
export const hasDash = (text: string): boolean => DASH.test(text)
export const isPrintable = (text: string): boolean => PRINTABLE.test(text)
export const hasControl = (text: string): boolean => /\p{Cc}/u.test(text.replace(/[\s\u0085]/g, ''))
