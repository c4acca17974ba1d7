/** Walks GitLab's sign-in and consent pages over plain HTTP, as a browser in the hands of a person would. */

type Page = { url: string; html: string }

const FORM = /<form method="post" action="([^"]*)">([\s\S]*?)<\/form>/g
const FIELD = /<input type="hidden" name="([^"]*)" value="([^"]*)">/g
const META_REFRESH = /<meta http-equiv="refresh" content="0; url=([^"]*)">/
const MAXIMUM_STEPS = 10

const unescapeHtml = (text: string): string =>
  text.replace(
    /&(lt|gt|quot|#39|amp);/g,
    (_, name: string) => ({ lt: '<', gt: '>', quot: '"', '#39': "'", amp: '&' })[name] ?? '',
  )

type Form = { action: string; fields: URLSearchParams; html: string }

/** The forms of a page, with their hidden fields. */
export const formsOf = (html: string): Form[] =>
  [...html.matchAll(FORM)].map(([, action = '', content = '']) => ({
    action: unescapeHtml(action),
    html: content,
    fields: new URLSearchParams(
      [...content.matchAll(FIELD)].map(([, name = '', value = '']): [string, string] => [
        unescapeHtml(name),
        unescapeHtml(value),
      ]),
    ),
  }))

/** Answers the URL to which GitLab finally sends the person, at the client; it is not called. */
export const approve = async (
  authorizeUrl: string,
  { username, deny = false }: { username: string; deny?: boolean },
): Promise<string> => {
  const { origin } = new URL(authorizeUrl)
  const cookies = new Map<string, string>()

  /** Follows redirects inside GitLab; a URL elsewhere is the answer. */
  const visit = async (url: string, form?: URLSearchParams): Promise<Page | string> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, {
      ...(form ? { method: 'POST', body: form } : {}),
      headers: cookie ? { cookie } : {},
      redirect: 'manual',
    })
    for (const text of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(text) ?? []
      cookies.set(name, value)
    }
    const html = await response.text()
    const location = response.headers.get('location') ?? unescapeHtml(META_REFRESH.exec(html)?.[1] ?? '')
    if (location === '') return { url, html }
    const target = new URL(location, url)
    return target.origin === origin ? visit(target.href) : location
  }

  let page = await visit(authorizeUrl)
  for (let step = 0; step < MAXIMUM_STEPS; step += 1) {
    if (typeof page === 'string') return page
    const { html, url } = page
    const forms = formsOf(html)
    const signIn = forms.find(({ html }) => html.includes(`name="username" value="${username}"`))
    const alert = /role="alert">([^<]*)/.exec(html)?.[1]
    if (alert !== undefined) throw new Error(`GitLab refused the sign-in: ${alert}`)
    const choice =
      signIn ??
      forms.find(
        ({ action, fields }) => action.endsWith('/oauth/authorize') && fields.has('_method') === deny,
      )
    if (!choice)
      throw new Error(
        `GitLab shows no way on: ${unescapeHtml(/<pre>([^<]*)/.exec(html)?.[1] ?? 'unknown page')}`,
      )
    if (signIn) choice.fields.set('username', username)
    page = await visit(new URL(choice.action, url).href, choice.fields)
  }
  throw new Error('GitLab sends from page to page without an end')
}
