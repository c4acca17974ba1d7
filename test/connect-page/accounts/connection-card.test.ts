import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { toCard } from '../../../src/connect-page/accounts/connection-card.ts'
import type { ListedConnection, Usage } from '../../../src/connect-page/accounts/queries.ts'
import { texts } from '../../../src/connect-page/texts.en.ts'
import { relativeTime } from '../../../src/connect-page/times.ts'
import { makeCertificate } from '../../support/certificate.ts'

const NOW = new Date('2026-11-02T10:30:00Z')
const DAY_MS = 86_400_000
const inDays = (days: number) => new Date(NOW.getTime() + days * DAY_MS)

const ROW: ListedConnection = {
  id: '019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c',
  organization: 'acme',
  name: null,
  method: 'token',
  token_kind: 'personal_access_token',
  places: '',
  gitlab_user_id: '7',
  gitlab_username: 'maria',
  gitlab_name: 'Maria Rossi',
  auto_rotate: false,
  status: 'active',
  status_reason: null,
  status_detail: null,
  failure_code: null,
  scopes: ['read_repository'],
  token_version: 1,
  token_expires_at: inDays(200),
  last_verified_at: NOW,
  base_url: 'https://git.example.com/gitlab',
  ca_certificate: null,
  oauth_app_slug: null,
  refreshable: false,
}

t.test('a certificate that was given for the server says when it ends, a month before', async (t) => {
  const { certificate } = makeCertificate({ validFor: 40 })
  const endsAt = Date.parse(new X509Certificate(certificate).validTo)
  const shown = (days: number) =>
    toCard({ ...ROW, ca_certificate: certificate }, [], new Date(endsAt - days * DAY_MS), texts).certificate
  t.equal(shown(31), undefined)
  t.match(shown(29), /git\.example\.com.* ends .*admin/)
  t.match(shown(-1), /git\.example\.com.* ended .*admin/)
  t.equal(toCard(ROW, [], NOW, texts).certificate, undefined)
})

t.test('the status says whether a person is needed, and why', async (t) => {
  const oauth = { method: 'oauth', oauth_app_slug: 'main', refreshable: true } as const
  const cases: [what: string, row: Partial<ListedConnection>, status: string, needsPerson: boolean][] = [
    ['a token with months to go', {}, 'active', false],
    ['a token without an end', { token_expires_at: null }, 'active', false],
    ['a token in its last fortnight', { token_expires_at: inDays(13) }, 'ending', true],
    ['the same, rotated by itself', { token_expires_at: inDays(13), auto_rotate: true }, 'active', false],
    ['a token at its end, the row still active', { token_expires_at: NOW }, 'expired', true],
    ['a revoked one', { status: 'revoked', status_reason: 'token_revoked' }, 'revoked', true],
    ['OAuth with an hour to go', { ...oauth, token_expires_at: inDays(1 / 24) }, 'active', false],
    ['OAuth past its end, to be renewed', { ...oauth, token_expires_at: inDays(-1) }, 'active', false],
    ['OAuth while GitLab is away', { ...oauth, failure_code: 'gitlab_unavailable' }, 'troubled', false],
    [
      'OAuth without a refresh token',
      { ...oauth, refreshable: false, token_expires_at: inDays(0.1) },
      'ending',
      true,
    ],
    [
      'OAuth that GitLab refuses',
      { ...oauth, status: 'needs_reauthorization', status_reason: 'refresh_token_refused' },
      'needs_reauthorization',
      true,
    ],
  ]
  for (const [what, row, status, needsPerson] of cases) {
    const card = toCard({ ...ROW, ...row }, [], NOW, texts)
    t.match(card, { status, needsPerson }, what)
    t.equal(card.reason === undefined, status === 'active', `${what}: ${card.reason}`)
    t.equal(card.remedy === undefined, !needsPerson, what)
  }
})

t.test('a reason that no text knows is told in the words that were stored', async (t) => {
  const row = { ...ROW, status: 'revoked', status_reason: 'constructor', status_detail: 'It broke.' } as const
  t.equal(toCard(row, [], NOW, texts).reason, 'It broke.')
})

t.test('who holds a token now goes before who used it once', async (t) => {
  const use = (key_name: string | null, in_use: boolean): Usage => ({
    connection_id: ROW.id,
    key_name,
    last_used_at: inDays(-1),
    in_use,
  })
  const usedBy = (...usage: Usage[]) => toCard(ROW, usage, NOW, texts).usedBy
  t.equal(usedBy(), undefined)
  t.equal(usedBy(use('nightly', false), use(null, false)), 'nightly, a deleted key')
  t.equal(usedBy(use('nightly', false), use('now', true)), 'now')
  t.equal(usedBy(use('a', false), use('b', false), use('c', false), use('d', false)), 'a, b, 2 more')
  t.equal(usedBy({ ...use('other', true), connection_id: 'another' }), undefined)
})

t.test('times are told as people say them, and rather a day too few', async (t) => {
  const cases: [seconds: number, words: string][] = [
    [12.9 * 86_400, 'in 12 days'],
    [-0.4 * 86_400, '10 hours ago'],
    [7_140, 'in 2 hours'],
    [20, 'now'],
    [-90, '1 minute ago'],
    [55 * 86_400, 'in 55 days'],
    [100 * 86_400, 'in 3 months'],
    [400 * 86_400, 'next year'],
  ]
  for (const [seconds, words] of cases)
    t.equal(relativeTime(new Date(NOW.getTime() + seconds * 1000), NOW, texts), words)
})
