import { STATUS_CODES } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Clock, secondsOf } from './clock.ts'
import type { FaultEffect, Faults } from './faults.ts'
import { lieAbout } from './lies.ts'
import { oauthRefusal } from './oauth.ts'
import { PROXIES } from './proxies.ts'
import { apiRefusal, Refusal } from './refusal.ts'
import { maskQuery, type RequestEntry, type RequestLog } from './requests.ts'
import { tooManyRequests } from './throttles.ts'

declare module 'fastify' {
  interface FastifyRequest {
    entry: RequestEntry
    /** A fault that strikes after the handler did its work. */
    lateEffect: FaultEffect | undefined
  }
}

type Watched = {
  clock: Clock
  basePath: string
  faults: Faults & { take(request: RequestEntry): FaultEffect | undefined }
  requests: RequestLog & { add(entry: RequestEntry): void }
  rateLimit: { requestsPerSecond: number } | undefined
}

const SECONDS_IN_MINUTE = 60
/** Counts all that comes from one address. */
const BY_ADDRESS = 'throttle_unauthenticated_api'
/** What gitlab.com grants a signed-in caller of its API. */
const USUAL_LIMIT_PER_MINUTE = 2000

const createThrottle = (clock: Clock, requestsPerSecond: number): (() => void) => {
  let second = 0
  let observed = 0
  return () => {
    const now = clock.now()
    if (secondsOf(now) !== second) observed = 0
    second = secondsOf(now)
    observed += 1
    if (observed > requestsPerSecond) {
      const limitPerMinute = requestsPerSecond * SECONDS_IN_MINUTE
      throw tooManyRequests(now, { name: BY_ADDRESS, limitPerMinute, observed, retryAfterSeconds: 1 })
    }
  }
}

/** Marks a request that the simulator sends to itself. */
const REPEATED = 'x-simulator-repeated'

/** Sends the same request again, past the faults. */
const repeat = ({ server, method, url, headers, body }: FastifyRequest) => {
  const isForm = headers['content-type']?.includes('urlencoded')
  const { 'content-length': _, ...kept } = headers
  return server.inject({
    method: method as 'POST',
    url,
    headers: { ...kept, [REPEATED]: 'yes' },
    payload: isForm ? new URLSearchParams(body as Record<string, string>).toString() : JSON.stringify(body),
  })
}

const applyEarly = async (
  effect: FaultEffect,
  request: FastifyRequest,
  reply: FastifyReply,
  clock: Clock,
) => {
  switch (effect.kind) {
    case 'delay':
      await setTimeout(effect.seconds * 1000, undefined, { ref: false })
      return
    case 'hold':
      await effect.until
      return
    case 'hang':
      reply.hijack()
      return
    case 'cut-before':
      reply.hijack()
      request.raw.socket.destroy()
      return
    case 'cut-after':
    case 'hold-after':
    case 'lie':
      request.lateEffect = effect
      return
    case 'status': {
      const message = `${effect.status} ${STATUS_CODES[effect.status] ?? ''}`.trim()
      const body = effect.body ?? JSON.stringify({ message })
      throw new Refusal(effect.status, body, { 'content-type': 'application/json', ...effect.headers })
    }
    case 'act-later':
      void effect.until.then(() => repeat(request))
      if (effect.answer !== 'cut')
        throw new Refusal(effect.answer, 'Bad gateway', { 'content-type': 'text/plain' })
      reply.hijack()
      request.raw.socket.destroy()
      return
    case 'html':
      throw new Refusal(
        200,
        '<!DOCTYPE html>\n<html><head><title>GitLab</title></head><body>Waiting for GitLab</body></html>',
        {
          'content-type': 'text/html; charset=utf-8',
        },
      )
    case 'rate-limit':
      throw tooManyRequests(clock.now(), {
        name: effect.name ?? BY_ADDRESS,
        limitPerMinute: USUAL_LIMIT_PER_MINUTE,
        observed: USUAL_LIMIT_PER_MINUTE + 1,
        retryAfterSeconds: effect.retryAfterSeconds,
      })
    case 'address-ban':
      throw new Refusal(403, 'Forbidden\n', { 'content-type': 'text/plain' })
    case 'proxy': {
      const { status, body, headers } = PROXIES[effect.proxy]
      throw new Refusal(status, body, headers)
    }
    case 'maintenance':
      throw apiRefusal(503, 'GitLab Maintenance: system is in maintenance mode')
    case 'invalid-grant':
      throw oauthRefusal('invalid_grant')
  }
}

/** Keeps the log of requests, limits their rate, and lets the faults strike. */
export const watchRequests = (app: FastifyInstance, watched: Watched): void => {
  const { clock, basePath, faults, requests, rateLimit } = watched
  const throttle = rateLimit && createThrottle(clock, rateLimit.requestsPerSecond)
  // The simulator's own pages are not GitLab: they are neither logged, nor limited, nor broken.
  const isControl = (path: string) => path === '/-/simulator' || path.startsWith('/-/simulator/')

  app.decorateRequest('entry')
  app.decorateRequest('lateEffect', undefined)

  app.addHook('onRequest', async (request) => {
    const path = request.url.slice(basePath.length).split('?', 1)[0] ?? ''
    const query = maskQuery(request.query as Record<string, unknown>)
    request.entry = { at: clock.now(), method: request.method, path, query }
    if (isControl(path) || request.headers[REPEATED] !== undefined) return
    requests.add(request.entry)
    throttle?.()
  })

  app.addHook('preHandler', async (request, reply) => {
    const { entry } = request
    if (isControl(entry.path)) return
    const grantType = (request.body as { grant_type?: unknown } | undefined)?.grant_type
    if (typeof grantType === 'string') entry.grantType = grantType
    if (request.headers[REPEATED] !== undefined) return
    const effect = faults.take(entry)
    if (effect) {
      entry.fault = effect.kind
      await applyEarly(effect, request, reply, clock)
    }
  })

  app.addHook('onSend', async (request, reply, payload) => {
    const effect = request.lateEffect
    if (effect?.kind === 'hold-after') await effect.until
    if (effect?.kind === 'cut-after') request.raw.socket.destroy()
    if (effect?.kind !== 'lie') return payload
    const { body, status, contentType, headers = {} } = lieAbout(effect.lie, payload)
    reply.removeHeader('content-length')
    reply.headers(headers)
    if (status !== undefined) reply.code(status)
    if (contentType !== undefined) reply.header('content-type', contentType)
    return body
  })

  app.addHook('onResponse', async (request, reply) => {
    if (request.lateEffect?.kind !== 'cut-after') request.entry.status = reply.statusCode
  })
}
