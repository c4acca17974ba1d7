import t from 'tap'
import type { CandidateRow } from '../../src/lookup/queries.ts'
import { chooseConnection } from '../../src/lookup/url-match.ts'

const NOW = new Date('2026-11-02T10:30:00Z')
const at = (seconds: number) => new Date(NOW.getTime() + seconds * 1000)

/** Lives for an hour, refreshable, free, verified now. */
const row = (id: string, changes: Partial<CandidateRow> = {}): CandidateRow => ({
  id,
  organization: 'acme',
  instance_id: 'gitlab-com',
  base_url: 'https://gitlab.com',
  path: '',
  match_path: '',
  name: null,
  status: 'active',
  status_detail: null,
  refreshable: true,
  attempt_id: null,
  unanswered_since: null,
  token_expires_at: at(3_600),
  leased: false,
  last_verified_at: NOW,
  project: 'acme/x/p',
  reaches: false,
  refused_at: null,
  rate_left: 4,
  ...changes,
})

type Expected = { kind: 'winner' | 'none'; order: string[]; reasons?: Record<string, string> }

const TABLE: [what: string, rows: CandidateRow[], expected: Expected][] = [
  ['nothing covers the URL', [], { kind: 'none', order: [] }],
  [
    'the longest group wins, whatever else speaks for another',
    [
      row('a'),
      row('b', { match_path: 'acme', last_verified_at: at(-9_999) }),
      row('c', { match_path: 'acme/x', leased: true, token_expires_at: at(10) }),
    ],
    {
      kind: 'winner',
      order: ['c', 'b', 'a'],
      reasons: { c: 'best match', b: 'another covers a longer part of the path' },
    },
  ],
  [
    'one that would have to break a lease stands back',
    [row('a', { token_expires_at: at(60), leased: true }), row('b', { last_verified_at: at(-60) })],
    { kind: 'winner', order: ['b', 'a'], reasons: { a: 'serving it would disturb a lease' } },
  ],
  [
    'a lease is no reason while the token lives long enough',
    [row('a', { leased: true }), row('b', { last_verified_at: at(-60) })],
    { kind: 'winner', order: ['a', 'b'] },
  ],
  [
    'one that may be dead since a refresh without an answer stands back while it is leased',
    [row('a', { unanswered_since: at(-5), leased: true }), row('b', { last_verified_at: null })],
    { kind: 'winner', order: ['b', 'a'] },
  ],
  [
    'the latest verified wins, one never verified comes last',
    [
      row('a', { last_verified_at: null }),
      row('b', { last_verified_at: at(-60) }),
      row('c', { last_verified_at: at(-30) }),
    ],
    { kind: 'winner', order: ['c', 'b', 'a'], reasons: { a: 'another was verified later' } },
  ],
  [
    'one that is known to reach the project wins, whatever else but the path speaks for another',
    [
      row('a', { match_path: 'acme', reaches: true, leased: true, token_expires_at: at(10), rate_left: 0 }),
      row('b', { match_path: 'acme' }),
      row('c', { match_path: 'acme/x' }),
      row('d', { reaches: true }),
    ],
    {
      kind: 'winner',
      order: ['c', 'a', 'b', 'd'],
      reasons: { b: 'another covers a longer part of the path' },
    },
  ],
  [
    'one that GitLab refused for the project is out, however close',
    [row('a', { match_path: 'acme/x', refused_at: at(-60) }), row('b'), row('c', { reaches: true })],
    {
      kind: 'winner',
      order: ['c', 'b', 'a'],
      reasons: {
        a: 'GitLab refused it for acme/x/p on 2026-11-02T10:29:00.000Z',
        b: 'another is known to reach acme/x/p',
        c: 'best match: is known to reach acme/x/p',
      },
    },
  ],
  [
    'only refused ones are none; one that is dead as well says that',
    [row('a', { refused_at: NOW, status: 'revoked' }), row('b', { refused_at: NOW })],
    { kind: 'none', order: ['a', 'b'], reasons: { a: 'its token was revoked' } },
  ],
  [
    'more of the rate limit goes before a later verification, and behind a lease',
    [
      row('a', { rate_left: 1 }),
      row('b', { rate_left: 3, last_verified_at: at(-60) }),
      row('c', { rate_left: 4, leased: true, token_expires_at: at(10) }),
    ],
    {
      kind: 'winner',
      order: ['b', 'a', 'c'],
      reasons: { a: 'another has more left of its rate limit at GitLab' },
    },
  ],
  ['the lower id decides at last', [row('b'), row('a')], { kind: 'winner', order: ['a', 'b'] }],
  [
    'dead ones come last, and say why',
    [
      row('a', { status: 'revoked', match_path: 'acme' }),
      row('b', { status: 'needs_reauthorization' }),
      row('c', { refreshable: false, token_expires_at: at(0) }),
      row('d'),
    ],
    {
      kind: 'winner',
      order: ['d', 'a', 'b', 'c'],
      reasons: {
        a: 'its token was revoked',
        b: 'a person has to reconnect it',
        c: 'its token has reached its end',
      },
    },
  ],
  ['only dead ones are none', [row('a', { status: 'expired' })], { kind: 'none', order: ['a'] }],
  [
    'a refreshable token past its end is no dead one',
    [row('a', { token_expires_at: at(-60) })],
    { kind: 'winner', order: ['a'] },
  ],
  [
    'a token without an end lives',
    [row('a', { refreshable: false, token_expires_at: null })],
    { kind: 'winner', order: ['a'] },
  ],
]

for (const [what, rows, { kind, order, reasons = {} }] of TABLE) {
  t.test(what, async (t) => {
    for (const given of [rows, rows.toReversed()]) {
      const choice = chooseConnection(given, 300, NOW)
      t.equal(choice.kind, kind)
      t.same(
        choice.ranked.map(({ id }) => id),
        order,
      )
      const won = choice.ranked.filter((candidate) => candidate.won).map(({ id }) => id)
      t.same(won, kind === 'winner' ? [order[0]] : [])
      for (const [id, reason] of Object.entries(reasons))
        t.equal(choice.ranked.find((candidate) => candidate.id === id)?.reason, reason)
    }
  })
}
