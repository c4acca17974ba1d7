import type { TokenAnswer } from '../oauth-apps/token-answer.ts'
import type { RefreshFailure } from './refresh-decision.ts'

/** What an answer to a refresh tells, when it brings no token. Pure. */
export const toFailure = (answer: Exclude<TokenAnswer, { kind: 'issued' }>): RefreshFailure => {
  switch (answer.kind) {
    case 'rate_limited':
      return unavailable('GitLab limits how often it may be asked.', false, answer.retryAfterSeconds)
    case 'banned':
      return unavailable(
        'GitLab has banned the address of this service for a while.',
        false,
        answer.retryAfterSeconds,
      )
    case 'server_error':
      // 503 is GitLab's maintenance mode or a full queue. Any other 5xx may come from a proxy while GitLab works on.
      return unavailable(
        `GitLab answered a refresh with ${answer.status}.`,
        answer.status !== 503,
        answer.retryAfterSeconds,
      )
    case 'unreadable':
      return unavailable(
        'GitLab answered a refresh with something that is no token.',
        (answer.status ?? 200) < 300,
      )
    case 'failure':
      return unavailable(
        `GitLab gave no answer to a refresh (${answer.reason}).`,
        answer.mayHaveActed,
        answer.retryAfterSeconds,
      )
    case 'invalid_state':
      throw new Error('A refresh has no state')
    case 'refused':
      if (answer.error === 'invalid_grant') {
        return {
          code: 'refresh_token_refused',
          detail:
            'GitLab refuses the refresh token: the authorization was revoked, or the token was used elsewhere.',
          mayHaveActed: false,
        }
      }
      return {
        code: 'oauth_app_rejected',
        detail: `GitLab rejects the OAuth app (${answer.error}): an admin has to correct its client id or secret.`,
        mayHaveActed: false,
      }
  }
}

const unavailable = (
  detail: string,
  mayHaveActed: boolean,
  retryAfterSeconds?: number | undefined,
): RefreshFailure => ({
  code: mayHaveActed ? 'refresh_answer_lost' : 'gitlab_unavailable',
  detail,
  mayHaveActed,
  retryAfterSeconds,
})
