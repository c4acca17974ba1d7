// One lookup with Node alone: a token, a call to GitLab's API, and the lease given back.
// BROKER, SCANNER_KEY, ORGANIZATION and REPOSITORY are in the environment. TypeScript: gitlab-token-broker/client does more.
const { BROKER, SCANNER_KEY, ORGANIZATION, REPOSITORY } = process.env

const broker = async (method, path) => {
  const headers = { authorization: `Bearer ${SCANNER_KEY}` }
  // A key or token goes where it was meant to go, and to no other host.
  const response = await fetch(BROKER + path, { method, headers, redirect: 'error' })
  const body = response.status === 204 ? undefined : await response.json()
  if (!response.ok) throw new Error(`${body.code}: ${body.detail}`)
  return body
}

const query = new URLSearchParams({
  url: REPOSITORY,
  organization: ORGANIZATION,
  min_ttl: '1800',
  purpose: 'example',
})
const credential = await broker('GET', `/v1/credentials?${query}`)
try {
  const { base_url, api, expires_at } = credential
  const response = await fetch(`${base_url}/api/v4/projects?membership=true&per_page=1`, {
    headers: { [api.header]: api.value },
    redirect: 'error',
  })
  if (response.status === 401) await broker('POST', `/v1/leases/${credential.lease_id}/rejection`)
  if (!response.ok) throw new Error(`GitLab answers ${response.status}`)
  console.log(`The token works until ${expires_at ?? 'somebody ends it'}.`)
} finally {
  // A lease that cannot be given back now ends by itself.
  await broker('DELETE', `/v1/leases/${credential.lease_id}`).catch(() => undefined)
}
