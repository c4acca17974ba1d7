import { execFile } from 'node:child_process'
import t from 'tap'
import { BrokerProblem, createBrokerClient, TokenRefused } from '../../src/client/index.ts'
import { setStage } from '../support/broker.ts'
import { connectToken } from '../support/connect.ts'
import { PROGRAM } from '../support/git-scanner.ts'

const HALVES = ['gtb_scn_FAKE1', 'FAKE2']

t.test('a job counts, whether or not its lease can be given back', async (t) => {
  const stage = await setStage(t)
  const { broker, simulator } = stage
  await connectToken(stage)
  let isAway = false
  const client = createBrokerClient({
    baseUrl: `${broker.url}/`,
    key: await broker.createKey('scanner', ['acme']),
    patienceSeconds: 0,
    fetch: (...args) =>
      isAway
        ? Promise.reject(new TypeError('fetch failed', { cause: { code: 'ECONNREFUSED' } }))
        : fetch(...args),
  })
  const url = `${simulator.url}/acme/web-shop`
  const done = await client.withCredential(url, async () => {
    isAway = true
    return 'hours of work'
  })
  t.equal(done, 'hours of work')

  isAway = false
  const failed = client.withCredential(url, async () => {
    isAway = true
    throw new Error('the job failed')
  })
  await t.rejects(failed, { message: 'the job failed' }, 'why the job failed is not hidden')

  isAway = false
  const lease = await client.lookUp(url)
  isAway = true
  await lease[Symbol.asyncDispose]()
  isAway = false
  const another = await client.lookUp(url)
  isAway = true
  await t.rejects(another.release(), { code: 'broker_unreachable' }, 'who asks for it is told')
  isAway = false

  let runs = 0
  const refusing = () => {
    runs += 1
    throw new TokenRefused()
  }
  await t.rejects(
    client.withCredential(url, refusing),
    { code: 'token_works' },
    'also of a job that is no promise',
  )
  t.equal(runs, 1)
})

t.test('a key that no header can carry is shown nowhere', async (t) => {
  for (const key of [HALVES.join('\n'), HALVES.join('\r\n'), HALVES.join('\0'), `“${HALVES.join('')}”`]) {
    const client = createBrokerClient({ baseUrl: 'http://127.0.0.1:1', key, patienceSeconds: 60 })
    const error = await client.lookUp('https://gitlab.com/a/b').catch((cause: unknown) => cause)
    t.ok(error instanceof BrokerProblem)
    t.match(error, { code: 'unusable_key', action: 'stop' }, 'and not tried again')
    t.notMatch(String((error as Error).stack), /FAKE/)
  }
  for (const key of ['', ' \n', undefined as unknown as string, () => undefined as unknown as string])
    await t.rejects(
      createBrokerClient({ baseUrl: 'http://127.0.0.1:1', key }).lookUp('https://gitlab.com/a/b'),
      {
        code: 'unusable_key',
        message: /There is no access key/,
      },
    )
})

t.test('an address that cannot be one is refused at once', async (t) => {
  for (const baseUrl of [
    '',
    '127.0.0.1:8080',
    'broker.example.com',
    'ftp://a',
    'https://u:FAKE@a',
    undefined as unknown as string,
  ])
    t.throws(() => createBrokerClient({ baseUrl, key: 'gtb_scn_FAKE' }), {
      name: 'TypeError',
      message: /^baseUrl has to be the http\(s\) URL of the broker, without user and password$/,
    })
})

t.test('the program shows neither key nor password', async (t) => {
  const run = (url: string, key: string) =>
    new Promise<{ stdout: string; stderr: string }>((resolve) => {
      const env = { PATH: process.env.PATH, GITLAB_TOKEN_BROKER_KEY: key }
      const child = execFile(
        process.execPath,
        [PROGRAM, '--url', url, 'get'],
        { env },
        (_error, stdout, stderr) => resolve({ stdout, stderr }),
      )
      child.stdin?.end('protocol=https\nhost=gitlab.com\n\n')
    })
  for (const [url, key, why] of [
    ['http://127.0.0.1:1', HALVES.join('\n'), /the key has characters/],
    ['http://127.0.0.1:1', `“${HALVES.join('')}”`, /the key has characters/],
    ['http://user:FAKE@127.0.0.1:1', 'gtb_scn_FAKE', /--url has to be/],
    ['127.0.0.1:1', 'gtb_scn_FAKE', /--url has to be/],
    ['http://127.0.0.1:1', 'gtb_scn_FAKE', /fetch failed|ECONNREFUSED/],
  ] as const) {
    const { stdout, stderr } = await run(url, key)
    t.equal(stdout, 'quit=true\n')
    t.match(stderr, why)
    t.notMatch(stderr, /FAKE/)
  }
})
