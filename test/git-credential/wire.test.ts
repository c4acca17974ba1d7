import t from 'tap'
import { Problem } from '../../src/errors/problem.ts'
import { urlOf } from '../../src/git-credential/target.ts'
import { readGitRequest, writeCredential, writeReason, writeRefusal } from '../../src/git-credential/wire.ts'
import type { LeasedToken } from '../../src/leases/lease-token.ts'

const LEASE = '019ab1c0-5a2e-7c3b-9b1e-0d4c1f2a3b4c'
const leased = (expires: Date | null): LeasedToken => ({
  row: { lease_id: LEASE, token_expires_at: expires } as LeasedToken['row'],
  token: 'glpat-FAKE',
})
const ASKED = 'protocol=https\nhost=gitlab.com\n'

t.test('reads what every Git sends', (t) => {
  t.match(readGitRequest(`${ASKED}path=acme/web-shop.git\n\n`), {
    protocol: 'https',
    host: 'gitlab.com',
    path: 'acme/web-shop.git',
    password: undefined,
    leaseId: undefined,
    challenges: [],
  })
  t.match(readGitRequest('protocol=https\nhost=GitLab.com:8443'), {
    host: 'gitlab.com:8443',
    path: undefined,
  })
  t.match(readGitRequest('protocol=http\nhost=[::1]:80\npath=\n'), { host: '[::1]:80', path: undefined })
  t.match(readGitRequest(`${ASKED}password=a=b\n`), { password: 'a=b' }, 'a value holds what it likes')
  t.match(readGitRequest(`${ASKED}path=one\npath=two\n`), { path: 'two' }, 'the last counts')
  t.match(readGitRequest(`${ASKED}\npath=behind\n`), { path: undefined }, 'a blank line ends the list')
  const onWindows = `${ASKED}path=acme/web-shop.git\npassword=a\n\n`.replaceAll('\n', '\r\n')
  t.match(readGitRequest(onWindows), { host: 'gitlab.com', path: 'acme/web-shop.git', password: 'a' })
  t.match(readGitRequest(`${ASKED}new-in-2030=x\n`), { host: 'gitlab.com' }, 'further keys are ignored')
  t.end()
})

t.test('reads what newer ones announce', (t) => {
  const request = readGitRequest(
    `capability[]=authtype\ncapability[]=state\n${ASKED}wwwauth[]=Negotiate\nwwwauth[]=Basic realm="GitLab"\nstate[]=other:1\nstate[]=gitlab-token-broker:${LEASE}\n`,
  )
  t.same([...request.capabilities], ['authtype', 'state'])
  t.same(request.challenges, ['Negotiate', 'Basic realm="GitLab"'])
  t.equal(request.leaseId, LEASE)
  t.same(readGitRequest(`${ASKED}wwwauth[]=Negotiate\nwwwauth[]=\nwwwauth[]=Basic\n`).challenges, ['Basic'])
  const credential = Buffer.from('oauth2:glpat-FAKE:x').toString('base64')
  t.match(readGitRequest(`${ASKED}authtype=Basic\ncredential=${credential}\n`), { password: 'glpat-FAKE:x' })
  t.match(readGitRequest(`${ASKED}authtype=Bearer\ncredential=x\n`), { password: undefined })
  t.match(readGitRequest(`${ASKED}state[]=gitlab-token-broker:not-an-id\n`), { leaseId: undefined })
  t.end()
})

t.test('refuses what no Git sends, and repeats nothing of it', (t) => {
  for (const [text, field] of [
    ['', 'protocol'],
    ['host=gitlab.com\n', 'protocol'],
    ['protocol=https\n', 'host'],
    ['protocol=ssh\nhost=gitlab.com\n', 'protocol'],
    ['protocol=https\nhost=\n', 'host'],
    ['protocol=https\nhost=a/b\n', 'host'],
    ['protocol=https\nhost=user@a\n', 'host'],
    ['protocol=https\nhost=a?b\n', 'host'],
    ['protocol=https\nhost=a\r\n', 'host'],
    ['protocol=https\r\nhost=a\r\r\n', 'host'],
    ['protocol=https\r\nhost=a\rhost=b\r\n', 'host'],
    ['FAKE-secret\n', 'body'],
    ['=FAKE-secret\n', 'body'],
  ] as const) {
    try {
      readGitRequest(text)
      t.fail(JSON.stringify(text))
    } catch (error) {
      t.match(error, { code: 'invalid_request', extras: { errors: [{ field }] } }, JSON.stringify(text))
      t.notMatch((error as Problem).message, /FAKE/)
    }
  }
  t.end()
})

t.test('writes a credential, and what takes a capability only to who announced it', (t) => {
  const end = new Date('2026-11-02T12:30:00.900Z')
  const plain = readGitRequest(ASKED)
  t.equal(
    writeCredential(leased(end), plain),
    'username=oauth2\npassword=glpat-FAKE\npassword_expiry_utc=1793622600\n',
  )
  t.equal(writeCredential(leased(null), plain), 'username=oauth2\npassword=glpat-FAKE\n')
  const both = readGitRequest(`capability[]=authtype\ncapability[]=state\n${ASKED}`)
  t.equal(
    writeCredential(leased(null), both),
    `capability[]=authtype\ncapability[]=state\nusername=oauth2\npassword=glpat-FAKE\nephemeral=1\nstate[]=gitlab-token-broker:${LEASE}\n`,
  )
  t.end()
})

t.test('writes a refusal in lines, whatever its text', (t) => {
  const problem = new Problem('token_in_use', 'In\nuse:\r\nusername=x', { retryAfterSeconds: 1.5 })
  const reason =
    'code=token_in_use\nreason=gitlab-token-broker: In use: username=x (token_in_use)\nretry_after=2\n'
  t.equal(writeReason(problem), reason)
  t.equal(writeRefusal(problem), `quit=true\n${reason}`)
  t.end()
})

t.test('makes the URL of a repository, and of a wiki that of its project', (t) => {
  const at = { protocol: 'https', host: 'gitlab.com' }
  for (const [path, url] of [
    ['acme/web-shop.git', 'acme/web-shop.git'],
    ['/acme/web-shop.git/', 'acme/web-shop.git/'],
    ['acme/web-shop.wiki.git', 'acme/web-shop.git'],
    ['acme/a b?c#d.git', 'acme/a%20b%3Fc%23d.git'],
    ['../x', '../x'],
  ] as const)
    t.equal(urlOf(at, path), `https://gitlab.com/${url}`)
  t.end()
})
