#!/usr/bin/env node
// A credential helper of Git for machines without curl. Plain JavaScript: it also runs from node_modules.
//
//   git config credential.https://gitlab.com.helper 'gitlab-token-broker --url https://broker.example.com --key-file /run/secrets/broker'
//   git config credential.https://gitlab.com.useHttpPath true
//
// --url           or GITLAB_TOKEN_BROKER_URL           where the broker is
// --key-file      or GITLAB_TOKEN_BROKER_KEY_FILE      a file that holds the access key, or the JWT of a workload
//                    GITLAB_TOKEN_BROKER_KEY           the same in the environment; no option, since every list of processes shows options
// --organization  or GITLAB_TOKEN_BROKER_ORGANIZATION  for a key of more than one
// --min-ttl       or GITLAB_TOKEN_BROKER_MIN_TTL       seconds that the token has to live
// --purpose       or GITLAB_TOKEN_BROKER_PURPOSE       what the record shows
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'

const TIMEOUT_MS = 60_000
const ACTIONS = ['get', 'store', 'erase']
const OPTIONS = ['url', 'key-file', 'organization', 'min-ttl', 'purpose']

const readSettings = () => {
  const { values, positionals } = parseArgs({
    options: Object.fromEntries(OPTIONS.map((name) => [name, { type: 'string' }])),
    allowPositionals: true,
  })
  const settings = Object.fromEntries(
    OPTIONS.map((name) => [
      name,
      values[name] ?? process.env[`GITLAB_TOKEN_BROKER_${name.toUpperCase().replace('-', '_')}`],
    ]),
  )
  return { action: positionals.at(-1), settings }
}

const readKey = async (file) => {
  const key = file === undefined ? process.env.GITLAB_TOKEN_BROKER_KEY : await readFile(file, 'utf8')
  if (!key?.trim()) throw new Error('set GITLAB_TOKEN_BROKER_KEY_FILE or GITLAB_TOKEN_BROKER_KEY')
  // Errors of fetch would show the whole key.
  if (!/^[\x21-\x7e]+$/.test(key.trim()))
    throw new Error('the key has characters that no key has, such as a line end or a quotation mark')
  return key.trim()
}

const readInput = async () => {
  let text = ''
  for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk
  return text
}

const ask = async (action, settings) => {
  if (!settings.url) throw new Error('set --url or GITLAB_TOKEN_BROKER_URL')
  const url = URL.canParse(settings.url) ? new URL(settings.url) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new Error('--url has to be the http(s) URL of the broker, without user and password')
  const query = new URLSearchParams()
  for (const name of ['organization', 'min-ttl', 'purpose'])
    if (settings[name] !== undefined) query.set(name.replace('-', '_'), settings[name])
  const response = await fetch(`${settings.url.replace(/\/+$/, '')}/v1/git-credential/${action}?${query}`, {
    method: 'POST',
    redirect: 'error',
    signal: AbortSignal.timeout(TIMEOUT_MS),
    headers: {
      authorization: `Bearer ${await readKey(settings['key-file'])}`,
      'content-type': 'text/plain; charset=utf-8',
    },
    body: await readInput(),
  })
  const text = await response.text()
  // Git reads one key=value a line; a page of something else would be taken for an answer.
  if (
    !text.split('\n').every((line) => line === '' || line.includes('=')) ||
    (text === '' && action === 'get')
  )
    throw new Error(`${settings.url} answers ${response.status}, and not as a broker does`)
  return text
}

/** Git ends at `quit`, and asks neither another helper nor a person. */
const refuse = (action, error) => {
  const cause = error.cause?.code ?? error.cause?.message
  console.error(`gitlab-token-broker: ${error.message}${cause ? ` (${cause})` : ''}`)
  if (action === 'get') console.log('quit=true')
}

const main = async () => {
  let action = 'get'
  try {
    const read = readSettings()
    action = read.action
    // Git may learn further actions, and expects helpers to ignore them. Nothing is stored anywhere.
    if (!ACTIONS.includes(action) || action === 'store') return
    for (const line of (await ask(action, read.settings)).split('\n')) {
      if (line.startsWith('reason=')) console.error(line.slice('reason='.length))
      else if (line !== '' && action === 'get') console.log(line)
    }
  } catch (error) {
    refuse(action, error)
  }
}

await main()
