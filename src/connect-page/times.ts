import type { Texts } from './texts.en.ts'

/** Pure: how times are written; UTC, because a server does not know where its reader is. */

const UNITS = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
] as const

/** A token with fewer days to go is told of in time for somebody to replace it. */
export const ENDS_SOON_DAYS = 14
const DAY_MS = 86_400_000

export const endsSoon = (end: Date | null, now: Date): boolean =>
  end !== null && end.getTime() - now.getTime() < ENDS_SOON_DAYS * DAY_MS

/** "in 12 days", "2 hours ago". */
export const relativeTime = (time: Date, now: Date, { locale }: Texts): string => {
  const seconds = (time.getTime() - now.getTime()) / 1000
  const format = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' })
  // Days up to eight weeks: "in 45 days" says more than "next month".
  const [unit, length] = UNITS.find(([name, length]) =>
    name === 'month' ? Math.abs(seconds) >= 56 * 86_400 : Math.abs(seconds) >= length,
  ) ?? ['second', 1]
  // Rather a day too few than one too many; of hours and minutes the nearest.
  const count = length < 86_400 ? Math.round(seconds / length) : Math.trunc(seconds / length)
  return unit === 'second' && Math.abs(count) < 60 ? format.format(0, 'second') : format.format(count, unit)
}

/** "2 November 2026". */
const longDate = (time: Date, { dateLocale }: Texts): string =>
  new Intl.DateTimeFormat(dateLocale, { dateStyle: 'long', timeZone: 'UTC' }).format(time)

/** "2 November 2026 at 10:30 UTC". */
export const longTime = (time: Date, { dateLocale }: Texts): string =>
  new Intl.DateTimeFormat(dateLocale, {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    hour12: false,
    timeZone: 'UTC',
    timeZoneName: 'short',
  }).format(time)

export type ShownTime = { iso: string; date: string; exact: string; relative: string }

export const showTime = (time: Date, now: Date, texts: Texts): ShownTime => ({
  iso: time.toISOString(),
  date: longDate(time, texts),
  exact: longTime(time, texts),
  relative: relativeTime(time, now, texts),
})
