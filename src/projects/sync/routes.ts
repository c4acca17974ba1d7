import { type Static, Type } from 'typebox'
import type { Authenticator } from '../../callers/authenticator.ts'
import { ConnectionParams } from '../../connections/connection.ts'
import { requireOwnConnection } from '../../connections/routes.ts'
import type { ConnectionSyncRow } from '../../db/tables.ts'
import { problems } from '../../http/problem-schema.ts'
import { isoTimeOrNull, NullableInteger, NullableTime, refTo } from '../../http/schemas.ts'
import type { App } from '../../http/server.ts'
import { findSync } from './queries.ts'
import { type StartDeps, startSync } from './start-sync.ts'

const tags = ['Projects']

const SyncError = Type.Object(
  {
    code: Type.String({
      description: 'A code of the catalogue of problems.',
      examples: ['gitlab_unavailable'],
    }),
    detail: Type.String({ description: 'What happened, for people.' }),
  },
  { $id: 'SyncError', description: 'Why the projects of a connection are not read.' },
)

const Count = (description: string) => Type.Integer({ minimum: 0, description })

export const Sync = Type.Object(
  {
    state: Type.String({
      enum: ['never', 'waiting', 'running', 'done', 'not_permitted', 'off'],
      description:
        '`never`: not read yet. `waiting`: the next run begins, or an interrupted one goes on, at next_run_at. `running`: GitLab is being asked. `done`: the last run ended. `not_permitted`: the token may not list projects; another token is tried within a day, or when you begin a run. `off`: whoever runs the service has switched the reading off (SYNC_PROJECTS); what was read before stays as it was.',
    }),
    kind: Type.Unsafe<'full' | 'incremental' | null>({
      type: ['string', 'null'],
      enum: ['full', 'incremental', null],
      description:
        '`full`: everything is read, and what GitLab does not list any more is marked. `incremental`: what changed. null: not read yet.',
    }),
    pages_read: Count('Pages of GitLab that this run, or the last one, has read.'),
    projects_read: Count('Projects on these pages.'),
    groups_read: Count('Groups on these pages.'),
    projects: NullableInteger(
      'Projects that the connection reaches, as of the last run that ended. null: none has.',
    ),
    groups: NullableInteger('Groups, the same.'),
    started_at: NullableTime('When this run, or the last one, began'),
    finished_at: NullableTime('When the run ended; null: it goes on'),
    synced_to: NullableTime('The lists are as GitLab was at this time. null: no run has ended'),
    next_run_at: NullableTime(
      'When the next run is due, or an interrupted one goes on; in the past: as soon as there is room. null: a run is under way, none begins before there is another token, or the reading is switched off',
    ),
    error: Type.Unsafe<Static<typeof SyncError> | null>({
      anyOf: [{ $ref: 'SyncError#' }, { type: 'null' }],
      description: 'What stopped the run last. null: nothing.',
    }),
  },
  { $id: 'Sync', description: 'How far the reading of the projects of a connection is.' },
)

const read = {
  operationId: 'getConnectionSync',
  tags,
  summary: 'Show how far the reading of projects is',
  description:
    'The service reads what a connection reaches by itself: everything once a day, and what changed every hour while somebody uses the connection. A run that was interrupted goes on where it was.',
  params: ConnectionParams,
  response: { 200: refTo(Sync), ...problems('not_found') },
}

const start = {
  operationId: 'syncConnection',
  tags,
  summary: 'Read the projects now',
  description:
    'Begins a full run now, or lets an interrupted one go on. A full run that is under way goes on as it is; an incremental one ends first, and a full one follows it. The answer shows how far it is; ask again for the progress.',
  params: ConnectionParams,
  response: {
    202: refTo(Sync),
    ...problems(
      'not_found',
      'needs_reauthorization',
      'connection_expired',
      'connection_revoked',
      'sync_disabled',
    ),
  },
}

const NEVER: Static<typeof Sync> = {
  state: 'never',
  kind: null,
  pages_read: 0,
  projects_read: 0,
  groups_read: 0,
  projects: null,
  groups: null,
  started_at: null,
  finished_at: null,
  synced_to: null,
  next_run_at: null,
  error: null,
}

const HAS_NEXT: ReadonlySet<string> = new Set(['waiting', 'done'])

const isUntouched = ({ state, started_at, error_code }: ConnectionSyncRow): boolean =>
  state === 'waiting' && started_at === null && error_code === null

export const toSync = (row: ConnectionSyncRow | undefined, isOn: boolean): Static<typeof Sync> => ({
  ...describe(row),
  ...(isOn ? {} : { state: 'off', next_run_at: null }),
})

const describe = (row: ConnectionSyncRow | undefined): Static<typeof Sync> =>
  row === undefined || isUntouched(row)
    ? NEVER
    : {
        state: row.state,
        kind: row.kind,
        pages_read: row.pages,
        projects_read: row.projects,
        groups_read: row.groups,
        projects: row.reached_projects,
        groups: row.reached_groups,
        started_at: isoTimeOrNull(row.started_at),
        finished_at: isoTimeOrNull(row.finished_at),
        synced_to: isoTimeOrNull(row.synced_to),
        next_run_at: HAS_NEXT.has(row.state) ? isoTimeOrNull(row.due_at) : null,
        error: row.error_code === null ? null : { code: row.error_code, detail: row.error_detail ?? '' },
      }

export const registerSyncRoutes = (app: App, deps: StartDeps & { authenticator: Authenticator }): void => {
  const { db, authenticator, syncs } = deps
  const onRequest = authenticator.requireRole('manager')
  for (const schema of [SyncError, Sync]) app.addSchema(schema)

  app.get('/v1/connections/:id/sync', { onRequest, schema: read }, async (request) => {
    const { id } = await requireOwnConnection(db, request, request.params.id)
    return toSync(await findSync(db, id), syncs.isOn)
  })

  app.post('/v1/connections/:id/sync', { onRequest, schema: start }, async (request, reply) => {
    const connection = await requireOwnConnection(db, request, request.params.id)
    return reply.code(202).send(toSync(await startSync(deps, connection), syncs.isOn))
  })
}
