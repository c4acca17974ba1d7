import { organizationsOf, type Principal } from '../../callers/principal.ts'
import { addSeconds, type Clock } from '../../clock/clock.ts'
import type { Database } from '../../db/database.ts'
import type { Texts } from '../texts.en.ts'
import { ENDS_SOON_DAYS } from '../times.ts'
import { type ConnectionCard, toCard } from './connection-card.ts'
import {
  type ConnectionScope,
  findListed,
  type ListedConnection,
  listNeedingPerson,
  listUsage,
  listWorking,
} from './queries.ts'

type Deps = { db: Database; clock: Clock; texts: Texts }

const NEEDING_LIMIT = 50
const PAGE_SIZE = 20
const USAGE_DAYS = 30
const DAY_SECONDS = 86_400

export type AccountPage = {
  cards: ConnectionCard[]
  /** How many of the cards need a person; they come first. */
  needing: number
  /** The id after which the list goes on; undefined = the list ends here. */
  next: string | undefined
}

/** One page of what a member sees. @param before the id after which the list goes on; undefined = from the start. */
export const listAccounts = async (
  deps: Deps,
  principal: Principal,
  { organization, before }: { organization: string | undefined; before: string | undefined },
): Promise<AccountPage> => {
  const { db, clock } = deps
  const scope = scopeOf(clock, organization === undefined ? organizationsOf(principal) : [organization])
  const rows = await listWorking(db, scope, { before, limit: PAGE_SIZE + 1 })
  const needing = before === undefined ? await listNeedingPerson(db, scope, NEEDING_LIMIT) : []
  const cards = await toCards(deps, [...needing, ...rows.slice(0, PAGE_SIZE)])
  const next = rows.length > PAGE_SIZE ? rows[PAGE_SIZE - 1]?.id : undefined
  return { cards, needing: needing.length, next }
}

/** A connection that lies within the organizations of a member. */
export const findAccount = async (
  deps: Deps,
  principal: Principal,
  id: string,
): Promise<ConnectionCard | undefined> => {
  const row = await findListed(deps.db, scopeOf(deps.clock, organizationsOf(principal)), id)
  return row && (await toCards(deps, [row]))[0]
}

const scopeOf = (clock: Clock, organizations: string[] | undefined): ConnectionScope => {
  const now = new Date(clock())
  return { organizations, now, soon: addSeconds(now, ENDS_SOON_DAYS * DAY_SECONDS) }
}

const toCards = async ({ db, clock, texts }: Deps, rows: ListedConnection[]): Promise<ConnectionCard[]> => {
  const now = new Date(clock())
  const since = addSeconds(now, -USAGE_DAYS * DAY_SECONDS)
  const ids = rows.map(({ id }) => id)
  const usage = await listUsage(db, ids, { since, now })
  return rows.map((row) => toCard(row, usage, now, texts))
}
