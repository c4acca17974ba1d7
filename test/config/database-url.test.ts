import t from 'tap'
import { parseDatabaseUrl } from '../../src/config/database-url.ts'

const urlsOf = (text: string): string[] => {
  const parsed = parseDatabaseUrl(text)
  return 'urls' in parsed ? parsed.urls : [parsed.fault]
}

t.test('one host stays as it is', async (t) => {
  for (const url of [
    'postgres://FAKE-user:FAKE-password@db.example.com/broker?sslmode=require',
    'postgresql://db:5433/broker',
    'postgresql:///broker?host=%2Fvar%2Frun%2Fpostgresql',
    'postgresql://user:FAKE%40%2F@[fd00::1]:5432/broker',
  ])
    t.same(urlsOf(url), [url])
})

t.test('several hosts become a URL each, in their order, with what is common to them', async (t) => {
  t.same(
    urlsOf(
      'postgresql://u:FAKE@one:5432,two,[fd00::3]:5434/broker?target_session_attrs=read-write&sslmode=verify-full',
    ),
    [
      'postgresql://u:FAKE@one:5432/broker?sslmode=verify-full',
      'postgresql://u:FAKE@two/broker?sslmode=verify-full',
      'postgresql://u:FAKE@[fd00::3]:5434/broker?sslmode=verify-full',
    ],
  )
  t.same(urlsOf('postgresql://u@/broker?host=one,two&port=5432,5433'), [
    'postgresql://u@localhost/broker?host=one&port=5432',
    'postgresql://u@localhost/broker?host=two&port=5433',
  ])
  t.same(urlsOf('postgresql:///broker?host=one,two&port=6000'), [
    'postgresql:///broker?host=one&port=6000',
    'postgresql:///broker?host=two&port=6000',
  ])
})

t.test('the target of a session is no setting for the driver', async (t) => {
  for (const target of ['read-write', 'primary', 'any'])
    t.same(urlsOf(`postgres://db/broker?target_session_attrs=${target}`), ['postgres://db/broker'])
})

t.test('what cannot be used is a fault that repeats nothing of the URL', async (t) => {
  for (const text of [
    'mysql://FAKE:FAKE@db/x',
    'FAKE',
    'postgresql://one,,FAKE/broker',
    'postgresql://one:FAKE,two/broker',
    'postgresql:///broker?host=one,FAKE,',
    'postgresql:///broker?host=one,two&port=1,2,3',
    'postgresql://FAKE/broker?target_session_attrs=read-only',
    'postgresql://FAKE/broker?target_session_attrs=standby',
    'postgresql://FAKE/broker?target_session_attrs=prefer-standby',
  ]) {
    const parsed = parseDatabaseUrl(text)
    if ('urls' in parsed) t.fail(text)
    else t.notMatch(parsed.fault, 'FAKE')
  }
})
