import type { Claimant } from '../../connections/take-over.ts'
import { instanceName } from '../advice.ts'
import { type Avatar, avatarOf } from '../avatar.ts'
import type { Texts } from '../texts.en.ts'
import { longTime } from '../times.ts'

export type Question = {
  user: { id: string; username: string | null; name: string | null }
  baseUrl: string
  organization: string
  until: Date
  returnUrl: string | null
  /** Who held the connection that the account would take over; null = a connection of its own. */
  takesOverFrom: string | null
}

/** Pure: the question whether to connect an account that another organization has connected too, or in the place of another. */
export type ShownQuestion = {
  heading: string
  avatar: Avatar
  who: string
  username: string | undefined
  instance: string
  explanation: string
  doubt: string
  yes: string
  organization: string
  until: string
}

/** The question whether the account of a pasted token may take over a connection, below the field. */
export type StrangerQuestion = {
  id: string
  heading: string
  explanation: string
  doubt: string
  yes: string
}

export const describeStranger = (
  { held, given }: { held: Claimant; given: Claimant },
  organization: string,
  texts: Texts,
): StrangerQuestion => {
  const { takeover } = texts.question
  const who = given.username ?? texts.connected.unnamed(given.userId)
  const before = held.username ?? texts.connected.unnamed(held.userId)
  return {
    id: given.userId,
    heading: takeover.heading(who, before),
    explanation: takeover.explanation(before, organization),
    doubt: takeover.doubt(who),
    yes: takeover.yes(who),
  }
}

export const describeQuestion = (
  { user, baseUrl, organization, until, takesOverFrom }: Question,
  texts: Texts,
): ShownQuestion => {
  const who = user.name ?? user.username ?? texts.connected.unnamed(user.id)
  const name = user.username ?? who
  const { takeover } = texts.question
  const words =
    takesOverFrom === null
      ? {
          heading: texts.question.heading(name, organization),
          explanation: texts.question.explanation(organization),
          doubt: texts.question.doubt(organization),
          yes: texts.question.yes(organization),
        }
      : {
          heading: takeover.heading(name, takesOverFrom),
          explanation: takeover.explanation(takesOverFrom, organization),
          doubt: takeover.doubt(name),
          yes: takeover.yes(name),
        }
  return {
    ...words,
    avatar: avatarOf(who),
    who,
    username: user.username ?? undefined,
    instance: instanceName(baseUrl),
    organization,
    until: longTime(until, texts),
  }
}
