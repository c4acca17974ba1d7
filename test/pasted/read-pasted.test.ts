import fc from 'fast-check'
import t from 'tap'
import { PASTED_FAULT_NAMES } from '../../src/pasted/faults.ts'
import { readPasted, readStoredSecret } from '../../src/pasted/read-pasted.ts'
import { CUSTOM, HEX, JWT, NAMED, OTHER, ROUTABLE, TAKEN, TOKEN } from './values.ts'

t.test('what comes along with a token is taken off', async (t) => {
  for (const [what, text, value] of TAKEN) t.match(readPasted(text), { value }, what)
})

t.test('what leaves the token open is named', async (t) => {
  for (const [what, text, fault] of NAMED) t.same(readPasted(text), { fault }, what)
  const forApps = ['other_server', 'client_secret', 'not_a_client_secret']
  const named = new Set<string>([...NAMED.map(([, , fault]) => fault), ...forApps])
  t.same(
    PASTED_FAULT_NAMES.filter((name) => !named.has(name)),
    [],
    'every reason has an example',
  )
})

t.test('the servers in the text are told', async (t) => {
  const hosts = (text: string) => {
    const reading = readPasted(text)
    return 'hosts' in reading ? reading.hosts : undefined
  }
  t.same(hosts(TOKEN), [])
  t.same(hosts(`https://oauth2:${TOKEN}@Git.Example.com:8443/acme/x.git`), ['git.example.com'])
  t.same(hosts(`git clone http://oauth2:${TOKEN}@git.example.com/x.git`), ['git.example.com'])
})

t.test('the id and the secret of an app are read alike', async (t) => {
  const secret = `gloas-${HEX}`
  for (const text of [`${secret}\n`, `"${secret}"`, `Secret: ${secret}`, `GITLAB_CLIENT_SECRET='${secret}'`])
    t.match(readPasted(text, 'client_secret'), { value: secret }, text)
  for (const text of [
    HEX,
    ` ${HEX}\r\n`,
    `Application ID: ${HEX}`,
    `client_id=${HEX}`,
    `"client_id": "${HEX}",`,
  ])
    t.match(readPasted(text, 'client_id'), { value: HEX }, text)
  t.match(readPasted('x', 'client_id'), { value: 'x' }, 'any length')
  t.same(readPasted(secret, 'client_id'), { fault: 'client_secret' })
  t.same(readPasted(TOKEN, 'client_secret'), { fault: 'not_a_client_secret' })
  t.same(readPasted('two words', 'client_secret'), { fault: 'has_spaces' })
})

t.test('a stored secret loses what nobody sees, and nothing else', async (t) => {
  t.equal(readStoredSecret('FAKE secret\r\n'), 'FAKE secret')
  t.equal(readStoredSecret('\ufeff"FAKE"'), '"FAKE"')
  for (const text of ['', '\n', 'FAKE\nsecret', 'FAKE–secret', 'FAKE\u0000'])
    t.equal(readStoredSecret(text), undefined, JSON.stringify(text))
})

const token = fc.constantFrom(TOKEN, ROUTABLE, HEX, JWT, CUSTOM)
const blank = fc.stringMatching(/^[ \t\r\n\u00a0\u200b\ufeff\u00ad\u2028]{0,6}$/)
const quote = fc.constantFrom('', '"', "'", '`')

t.test('a token in blanks and quotes is that token, and reading it again changes nothing', async () => {
  fc.assert(
    fc.property(token, blank, blank, quote, (value, before, after, mark) => {
      const reading = readPasted(`${before}${mark}${value}${mark}${after}`)
      return 'value' in reading && reading.value === value
    }),
  )
})

t.test('one word of the letters that GitLab allows in tokens and prefixes is never changed', async () => {
  const letters = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_+/@-]{7,60}[A-Za-z0-9]$/)
  fc.assert(
    fc.property(letters, (text) => {
      const reading = readPasted(text)
      return 'fault' in reading
        ? reading.fault === 'placeholder' || reading.fault === 'masked'
        : reading.value === text
    }),
    { numRuns: 2_000 },
  )
})

t.test('whatever is pasted, what is read can be sent, and reading takes no time', async (t) => {
  const piece = fc.constantFrom(
    TOKEN,
    OTHER,
    '"',
    "'",
    '`',
    '```',
    ' ',
    '\n',
    '=',
    ':',
    '://',
    '@',
    '<',
    '{',
    'token',
    '\u0000',
    '–',
    'ü',
    '$',
    '\\',
    ',',
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(piece, { maxLength: 30 }).map((all) => all.join('')),
        fc.string({ unit: 'binary' }),
      ),
      (text) => {
        const reading = readPasted(text)
        return 'fault' in reading || /^[\x21-\x7e]{8,}$/.test(reading.value)
      },
    ),
    { numRuns: 3_000 },
  )
  for (const part of [
    '\n',
    ' ',
    '"',
    '`',
    '`\n',
    ';',
    '-----BEGIN ',
    'gliamat-',
    'glpat-',
    'a:',
    'token=',
    '<',
    '\\n',
    'a ',
    '://',
    'https://',
    '*',
  ]) {
    const before = performance.now()
    readPasted(part.repeat(4_096 / part.length))
    readPasted(`\`\`\`${part.repeat(4_090 / part.length)}`)
    t.ok(performance.now() - before < 500, `${JSON.stringify(part)}: ${performance.now() - before} ms`)
  }
})
