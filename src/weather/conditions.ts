import { type Static, Type } from 'typebox'
import type { Database } from '../db/database.ts'
import type { ConnectionRow, InstanceRow } from '../db/tables.ts'
import { certificateEnd } from '../gitlab/certificates.ts'
import { isIamToken } from '../gitlab/iam-token.ts'
import { hasScope } from '../gitlab/scopes.ts'
import {
  Id,
  isoTime,
  isoTimeOrNull,
  NullableInteger,
  NullableText,
  NullableTime,
  refTo,
  Time,
} from '../http/schemas.ts'
import type { GitLabAccess } from '../instances/gitlab-access.ts'
import type { Forecast } from './forecast.ts'
import {
  findInstanceByBaseUrls,
  findTellingConnections,
  listIncidents,
  type ShownIncident,
} from './queries.ts'
import { REFUSAL_BUDGET, WINDOW_SECONDS } from './refusal-budget.ts'

const Throttle = Type.Object(
  {
    name: NullableText('Name of the limit at GitLab (`RateLimit-Name`). null: GitLab did not name it.'),
    scope: Type.Union([Type.Literal('account'), Type.Literal('address')], {
      description: 'account: one token waits. address: every call to the instance waits.',
    }),
    until: Time('Until when the calls wait'),
  },
  { $id: 'Throttle', description: 'A limit of GitLab that the service keeps to.' },
)

const LastError = Type.Object(
  {
    at: Time('When it happened'),
    status: NullableInteger('Status of the answer. null: there was none.'),
    reason: Type.String({ description: 'What happened.', examples: ['timeout'] }),
  },
  { $id: 'InstanceError', description: 'A call to the instance that failed.' },
)

const Incident = Type.Object(
  {
    id: Id('Id of the incident.'),
    cause: Type.Union(
      [
        Type.Literal('oauth_app_rejected'),
        Type.Literal('refresh_token_refused'),
        Type.Literal('token_refused'),
      ],
      { description: 'What GitLab refuses.' },
    ),
    oauth_app: NullableText('Slug of the OAuth app. null: pasted tokens, or the app is gone.'),
    connections: Type.Integer({ description: 'How many connections were refused.' }),
    detail: Type.String({ description: 'What probably happened, for people.' }),
    state: Type.Union([Type.Literal('open'), Type.Literal('confirmed'), Type.Literal('closed')], {
      description:
        'open: one connection is tried for all. confirmed: GitLab refuses that one for good, and the others are tried one by one. closed: it is over.',
    }),
    opened_at: Time('When it began'),
    closed_at: NullableTime('When it ended. null: it goes on'),
  },
  { $id: 'Incident', description: 'Many connections that GitLab refuses at once.' },
)

export const InstanceConditions = Type.Object(
  {
    instance_id: Id('Id of the instance.'),
    base_url: Type.String({ description: 'Base URL of the instance.', examples: ['https://gitlab.com'] }),
    state: Type.Union(
      [
        Type.Literal('clear'),
        Type.Literal('throttled'),
        Type.Literal('incident'),
        Type.Literal('failing'),
        Type.Literal('banned'),
      ],
      { description: 'The worst of what follows.' },
    ),
    version: NullableText('Version of GitLab. null: no stored token may ask for it.'),
    engine: Type.Union([Type.Literal('doorkeeper'), Type.Literal('fosite'), Type.Null()], {
      description: 'Which service issues OAuth tokens. null: no OAuth connection tells.',
    }),
    token_life_seconds: NullableInteger('How long an OAuth token lives. null: no OAuth connection tells.'),
    ca_certificate_expires_at: NullableTime(
      'When the first of the certificates in `ca_certificate` of the instance ends; null: there is none',
    ),
    ca_certificate_state: Type.Union(
      [Type.Literal('valid'), Type.Literal('ending'), Type.Literal('expired'), Type.Null()],
      {
        description:
          'ending: it ends within 30 days, and nothing can be asked of the instance after that. Give the next one before: `PATCH /v1/instances/{id}`. null: there is none.',
      },
    ),
    circuit: Type.Union([Type.Literal('closed'), Type.Literal('open')], {
      description: 'open: GitLab failed too often in a row, and calls are turned away for a while.',
    }),
    banned_until: NullableTime('Until when GitLab refuses the address of this service; null: it does not'),
    throttles: Type.Array(refTo(Throttle), { description: 'Limits that hold now.' }),
    refusals: Type.Object(
      {
        budget: Type.Integer({ description: 'How many the service allows itself.' }),
        spent: Type.Integer({ description: 'How many there were.' }),
        window_seconds: Type.Integer({ description: 'In how many seconds.' }),
      },
      { description: 'Answers 400, 401 and 403 that the service caused, in all replicas.' },
    ),
    last_errors: Type.Array(refTo(LastError), { description: 'Newest first.' }),
    incidents: Type.Array(refTo(Incident), { description: 'Newest first.' }),
  },
  {
    $id: 'InstanceConditions',
    description: 'The weather at an instance, as the answering process and the database know it.',
  },
)

export const CONDITION_SCHEMAS = [Throttle, LastError, Incident, InstanceConditions]

type Conditions = Static<typeof InstanceConditions>
const SHOWN_INCIDENTS = 20

const DETAILS: Record<string, (incident: ShownIncident) => string> = {
  oauth_app_rejected: ({ oauth_app_slug }) =>
    `GitLab rejects the OAuth app ${oauth_app_slug ?? ''}. Was the secret of the app renewed, or the app deleted? Correct it: PATCH /v1/oauth-apps/{id}.`,
  refresh_token_refused: ({ oauth_app_slug }) =>
    `GitLab refuses the refresh tokens of many connections of ${oauth_app_slug ?? 'an OAuth app'}. Was the app renewed or revoked, or was GitLab restored?`,
  token_refused: () =>
    'GitLab refuses many tokens at once. Were they revoked together, or was GitLab restored?',
}

const toIncident = (incident: ShownIncident): Static<typeof Incident> => ({
  id: incident.id,
  cause: incident.cause as Static<typeof Incident>['cause'],
  oauth_app: incident.oauth_app_slug,
  connections: incident.connections,
  detail: DETAILS[incident.cause]?.(incident) ?? incident.cause,
  state: incident.closed_at !== null ? 'closed' : incident.told_at !== null ? 'confirmed' : 'open',
  opened_at: isoTime(incident.opened_at),
  closed_at: isoTimeOrNull(incident.closed_at),
})

type Deps = GitLabAccess & { forecast: Forecast }

/** The worst of what is known, without asking GitLab. */
export const stateOf = ({
  circuit,
  banned_until,
  throttles,
  incidents,
}: Pick<Conditions, 'circuit' | 'banned_until' | 'throttles' | 'incidents'>): Conditions['state'] => {
  if (banned_until !== null) return 'banned'
  if (circuit === 'open') return 'failing'
  if (incidents.some(({ state }) => state !== 'closed')) return 'incident'
  return throttles.length > 0 ? 'throttled' : 'clear'
}

/** What the process and the database know of an instance; GitLab is not asked. */
export const readWeather = async (
  { db, instanceClients, forecast }: { db: Database } & Pick<Deps, 'instanceClients' | 'forecast'>,
  instanceId: string,
) => {
  const { throttles, bannedUntil, circuit, lastErrors } = instanceClients.weatherOf(instanceId).look()
  const incidents = (await listIncidents(db, instanceId, SHOWN_INCIDENTS)).map(toIncident)
  const weather = {
    circuit,
    banned_until: isoTimeOrNull(bannedUntil),
    throttles: throttles.map(({ until, ...throttle }) => ({ ...throttle, until: isoTime(until) })),
    last_errors: lastErrors.map(({ at, ...error }) => ({ at: isoTime(at), ...error })),
    incidents,
  }
  const spent = forecast.budget.spent(instanceId)
  return {
    state: stateOf(weather),
    ...weather,
    refusals: { budget: REFUSAL_BUDGET, spent, window_seconds: WINDOW_SECONDS },
  }
}

/** Asks GitLab for its version with a stored token that may. */
const readVersion = async (
  { vault, instanceClients }: Deps,
  instance: InstanceRow,
  rows: ConnectionRow[],
): Promise<string | null> => {
  const row = rows.find(({ scopes }) => hasScope(scopes, 'read_user'))
  if (!row) return null
  const token = await openToken(vault, row)
  if (token === undefined) return null
  const answer = await instanceClients.for(instance).send({ path: '/api/v4/metadata', token })
  if (answer.kind !== 'answer' || answer.status !== 200) return null
  const { version } = (answer.body ?? {}) as { version?: unknown }
  return typeof version === 'string' && /^[\w.+-]{1,50}$/.test(version) ? version : null
}

const openToken = (vault: Deps['vault'], row: ConnectionRow): Promise<string | undefined> =>
  vault
    .open(row.access_token, { ownerId: row.id, version: row.token_version, use: 'access' })
    .catch(() => undefined)

export const readConditions = async (deps: Deps, instance: InstanceRow): Promise<Conditions> => {
  const { db, clock, vault } = deps
  const rows = await findTellingConnections(db, instance.id, new Date(clock()))
  const oauth = rows.find(({ method }) => method === 'oauth')
  const token = oauth && (await openToken(vault, oauth))
  const version = await readVersion(deps, instance, rows)
  const end = certificateEnd(instance.ca_certificate, new Date(clock()))
  return {
    instance_id: instance.id,
    base_url: instance.base_url,
    version,
    engine: token === undefined ? null : isIamToken(token) ? 'fosite' : 'doorkeeper',
    token_life_seconds: oauth?.token_expires_at
      ? Math.round((oauth.token_expires_at.getTime() - oauth.token_issued_at.getTime()) / 1000)
      : null,
    ca_certificate_expires_at: isoTimeOrNull(end?.expiresAt ?? null),
    ca_certificate_state: end?.state ?? null,
    ...(await readWeather(deps, instance.id)),
  }
}

export const ShortConditions = Type.Object(
  {
    base_url: Type.String({ description: 'Base URL of the instance.', examples: ['https://gitlab.com'] }),
    state: InstanceConditions.properties.state,
    detail: NullableText('What keeps tokens from being renewed or checked there. null: nothing.'),
  },
  { $id: 'ShortConditions', description: 'The weather at an instance, in short.' },
)

const SENTENCES: Record<Conditions['state'], string | null> = {
  clear: null,
  throttled: 'GitLab limits how often it may be asked.',
  incident: 'GitLab refuses many connections at once.',
  failing: 'GitLab failed too often in a row; it is asked again in a moment.',
  banned: 'GitLab has banned the address of this service for a while.',
}

const sentenceOfEnd = (caCertificate: string | null, now: Date): string | null => {
  const end = certificateEnd(caCertificate, now)
  if (!end || end.state === 'valid') return null
  const verb = end.state === 'expired' ? 'ended' : 'ends'
  return `The ca_certificate of the instance ${verb} ${isoTime(end.expiresAt)}: an admin gives the next one.`
}

/** @param baseUrls of instances that the caller may see. */
export const readShortConditions = async (
  deps: { db: Database } & Pick<Deps, 'instanceClients' | 'forecast' | 'clock'>,
  baseUrls: string[],
): Promise<Static<typeof ShortConditions>[]> => {
  const now = new Date(deps.clock())
  if (baseUrls.length === 0) return []
  const instances = await findInstanceByBaseUrls(deps.db, baseUrls)
  return Promise.all(
    instances.map(async ({ id, base_url, ca_certificate }) => {
      const { state } = await readWeather(deps, id)
      return { base_url, state, detail: SENTENCES[state] ?? sentenceOfEnd(ca_certificate, now) }
    }),
  )
}
