import type { Database } from '../../db/database.ts'
import { invalidField } from '../../errors/problem.ts'
import { canonicalBaseUrl } from '../../gitlab/base-url.ts'
import { readAddress } from '../../gitlab/urls/pasted-address.ts'
import type { GitLabAccess } from '../../instances/gitlab-access.ts'
import { findRegistered } from '../../instances/resolve-instance.ts'
import { instanceName } from '../advice.ts'
import { readField } from '../form-fields.ts'
import { findOfferedApp, type OfferedApp } from './queries.ts'

/**
 * To which server the token of a form goes. A token is worth protecting before anybody knows what it is for, so it
 * goes only to a server that somebody has finished naming: to a registered instance, or to another server after the
 * person has pressed a button that names it. The button comes back with the form as the field `ask`.
 */
export type NamedServer =
  | {
      kind: 'named'
      baseUrl: string
      /** The group or project that the address names. */
      group?: string | undefined
    }
  /** Nobody has named a server yet. */
  | { kind: 'unnamed' }
  | ({ kind: 'asks' } & HostQuestion)

/** The server about which the person is asked. */
export type HostQuestion = { baseUrl: string; host: string }

/** The OAuth app that somebody chose in a form; undefined = none. */
export const findChosenApp = async (db: Database, body: unknown): Promise<OfferedApp | undefined> => {
  const slug = readField(body, 'oauth_app')
  return slug === undefined ? undefined : findOfferedApp(db, slug)
}

/**
 * @param app the chosen OAuth app: its server is the one; a form that names another server as well is refused
 * @throws {Problem} invalid_request
 */
export const findNamedServer = async (
  { db, instanceClients }: Pick<GitLabAccess, 'db' | 'instanceClients'>,
  body: unknown,
  app: OfferedApp | undefined,
): Promise<NamedServer> => {
  const typed = readField(body, 'base_url')
  if (typed === undefined) return app ? { kind: 'named', baseUrl: app.base_url } : { kind: 'unnamed' }
  const address = readAddress(typed)
  if (address === undefined) throw invalidField('base_url', 'is not the URL of a server')
  const registered = await findRegistered(db, address)
  const baseUrl = registered?.instance.base_url ?? address.baseUrl
  if (app && baseUrl !== app.base_url)
    throw invalidField('named_server', 'is not one: the base URL and the application name two servers')
  // Where the configuration refuses what is not registered, checking the token says so, and sends nothing.
  if (registered) return { kind: 'named', baseUrl, group: registered.group }
  if (app || instanceClients.unregistered === 'refuse') return { kind: 'named', baseUrl }
  const asked = canonicalBaseUrl(readField(body, 'ask') ?? '')
  return asked === baseUrl
    ? { kind: 'named', baseUrl }
    : { kind: 'asks', baseUrl, host: instanceName(baseUrl) }
}
