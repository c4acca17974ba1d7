import { createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey } from 'jose'
import type { Logger } from 'pino'
import type { Clock } from '../clock/clock.ts'
import type { TrustedIssuerRow } from '../db/tables.ts'
import { Problem } from '../errors/problem.ts'
import { createHttpClient, type GitLabClientOptions, type GitLabHttpClient } from '../gitlab/http-client.ts'

/** A key set is loaded anew from this age on, beside its use. */
const FRESH_MS = 10 * 60_000
/** The keys of an issuer that cannot be reached keep working for so long after they were loaded. */
const KEPT_MS = 6 * 60 * 60_000
/** An issuer is asked no more often than this, however many unknown keys somebody names. */
const PAUSE_MS = 30_000
/** The same while there are no keys of it at all. */
const FIRST_PAUSE_MS = 5_000

export type KeySetState = {
  /** undefined = never; so is triedAt, when an attempt to load last began. */
  loadedAt: number | undefined
  triedAt: number | undefined
  /** An attempt is under way. */
  isLoading: boolean
}

export type KeySetDecision =
  | { action: 'use'; reason: 'fresh' | 'asked_a_moment_ago' }
  /** Use what there is, and load it anew beside that. */
  | { action: 'refresh'; reason: 'aged' }
  /** What there is does not do: load first, or wait for the attempt that is under way. */
  | { action: 'load'; reason: 'never_loaded' | 'too_old' | 'unknown_key' | 'under_way' }
  | { action: 'refuse'; reason: 'unavailable' }

/** @param isUnknown the token names a key that is not in the set. */
export const decideKeySet = (
  { loadedAt, triedAt, isLoading }: KeySetState,
  { isUnknown }: { isUnknown: boolean },
  now: number,
): KeySetDecision => {
  const sinceTried = triedAt === undefined ? Number.POSITIVE_INFINITY : now - triedAt
  const age = loadedAt === undefined ? Number.POSITIVE_INFINITY : now - loadedAt
  const isUsable = loadedAt !== undefined && age < KEPT_MS
  if (isLoading && (isUnknown || !isUsable)) return { action: 'load', reason: 'under_way' }
  if (!isUsable) {
    const reason = loadedAt === undefined ? 'never_loaded' : 'too_old'
    return sinceTried < FIRST_PAUSE_MS
      ? { action: 'refuse', reason: 'unavailable' }
      : { action: 'load', reason }
  }
  const paused = sinceTried < PAUSE_MS
  if (isUnknown) {
    if (!paused) return { action: 'load', reason: 'unknown_key' }
    // The last attempt failed: the key may be one that could not be fetched.
    const failed = triedAt !== undefined && triedAt > loadedAt
    return failed
      ? { action: 'refuse', reason: 'unavailable' }
      : { action: 'use', reason: 'asked_a_moment_ago' }
  }
  return age < FRESH_MS || paused ? { action: 'use', reason: 'fresh' } : { action: 'refresh', reason: 'aged' }
}

const unavailable = (): Problem =>
  new Problem('issuer_unavailable', 'The keys of the issuer of this token cannot be fetched right now.', {
    retryAfterSeconds: FIRST_PAUSE_MS / 1000,
  })

export type IssuerKeySets = {
  /** The keys with which a trusted issuer signs. @throws {Problem} issuer_unavailable */
  for(issuer: TrustedIssuerRow): JWTVerifyGetKey
  close(): void
}

type Deps = { clock: Clock; logger: Logger; http: GitLabClientOptions }

export const createIssuerKeySets = ({ clock, logger, http }: Deps): IssuerKeySets => {
  const kept = new Map<string, { getKey: JWTVerifyGetKey; close(): void }>()
  return {
    for(issuer) {
      const known = kept.get(issuer.id)
      if (known) return known.getKey
      const source = createKeySource(issuer, http)
      const getKey = createKeySet(source.fetch, (cause) =>
        logger.warn({ issuer: issuer.issuer, cause }, 'the keys of a trusted issuer cannot be fetched'),
      )
      kept.set(issuer.id, { getKey, close: source.close })
      return getKey
    },
    close() {
      for (const { close } of kept.values()) close()
      kept.clear()
    },
  }

  function createKeySet(fetch: () => Promise<Response>, report: (cause: string) => void): JWTVerifyGetKey {
    // jose fetches, checks and holds the keys; when it does so is decided here.
    const set = createRemoteJWKSet(new URL('https://key-set.invalid'), {
      cooldownDuration: Number.POSITIVE_INFINITY,
      cacheMaxAge: Number.POSITIVE_INFINITY,
      [customFetch]: fetch,
    })
    const age: Omit<KeySetState, 'isLoading'> = { loadedAt: undefined, triedAt: undefined }
    /** @returns whether the keys are those of now. */
    const load = async (): Promise<boolean> => {
      if (!set.reloading) age.triedAt = clock()
      try {
        await set.reload()
        age.loadedAt = age.triedAt
        return true
      } catch (error) {
        report(error instanceof Error ? error.message : 'unknown')
        return false
      }
    }
    const prepare = async (isUnknown: boolean): Promise<void> => {
      const { action } = decideKeySet({ ...age, isLoading: set.reloading }, { isUnknown }, clock())
      if (action === 'refuse') throw unavailable()
      if (action === 'refresh') void load()
      if (action === 'load' && !(await load())) throw unavailable()
    }
    return async (header, token) => {
      await prepare(false)
      try {
        return await set(header, token)
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
        await prepare(true)
        return set(header, token)
      }
    }
  }
}

/** Fetches the key set of an issuer, through one guarded client for each server. */
const createKeySource = (
  { issuer, jwks_uri, allow_private_network, ca_certificate }: TrustedIssuerRow,
  options: GitLabClientOptions,
) => {
  const clients = new Map<string, GitLabHttpClient>()
  const clientFor = (origin: string): GitLabHttpClient => {
    const known = clients.get(origin)
    if (known) return known
    const profile = {
      baseUrl: origin,
      allowPrivateNetwork: allow_private_network,
      caCertificate: ca_certificate,
    }
    const client = createHttpClient(profile, options)
    clients.set(origin, client)
    return client
  }
  const get = async (address: string): Promise<{ status: number; body: unknown; text: string }> => {
    const { origin, pathname, search } = new URL(address)
    const answer = await clientFor(origin).send({ path: pathname + search })
    if (answer.kind === 'failure') throw new Error(`no answer: ${answer.reason}`)
    return answer
  }
  /** OpenID Connect Discovery 1.0, section 4. */
  const discover = async (): Promise<string> => {
    const { status, body } = await get(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)
    const found = (body ?? {}) as { issuer?: unknown; jwks_uri?: unknown }
    if (status !== 200 || found.issuer !== issuer)
      throw new Error('its discovery document is of another issuer')
    if (typeof found.jwks_uri !== 'string' || !URL.canParse(found.jwks_uri))
      throw new Error('its discovery document names no key set')
    return found.jwks_uri
  }
  return {
    async fetch(): Promise<Response> {
      const { status, text } = await get(jwks_uri ?? (await discover()))
      return new Response(status === 200 ? text : null, { status: status === 200 ? 200 : 502 })
    },
    close() {
      for (const client of clients.values()) client.close()
    },
  }
}
