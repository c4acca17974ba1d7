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
}

/** Pure: the question whether to connect an account that another organization has connected too. */
export type ShownQuestion = {
  heading: string
  avatar: Avatar
  who: string
  username: string | undefined
  instance: string
  organization: string
  until: string
}

export const describeQuestion = (
  { user, baseUrl, organization, until }: Question,
  texts: Texts,
): ShownQuestion => {
  const who = user.name ?? user.username ?? texts.connected.unnamed(user.id)
  return {
    heading: texts.question.heading(user.username ?? who, organization),
    avatar: avatarOf(who),
    who,
    username: user.username ?? undefined,
    instance: instanceName(baseUrl),
    organization,
    until: longTime(until, texts),
  }
}
