import type { FastifyReply, FastifyRequest } from 'fastify'

const DEFAULT_PER_PAGE = 20
/** Above this GitLab does not count: no totals, no last page. */
const COUNTED_RESULTS = 10_000

const positive = (text: unknown, fallback: number): number => {
  const number = Number(text)
  return Number.isInteger(number) && number > 0 ? number : fallback
}

/** What a gateway in front of GitLab leaves of the headers, and the largest page that it lets through. */
export type Paging = { headers: 'all' | 'link' | 'number' | 'none'; mostPerPage: number }

const perPageOf = (query: Record<string, string>, { mostPerPage }: Pick<Paging, 'mostPerPage'>): number =>
  Math.min(positive(query.per_page, DEFAULT_PER_PAGE), mostPerPage)

export type Pager = {
  request: FastifyRequest
  reply: FastifyReply
  baseUrl: string
  basePath: string
  paging: Paging
}

const linkTo = (
  { request, baseUrl, basePath }: Pager,
  changes: Record<string, number>,
  rel: string,
): string => {
  const url = new URL(baseUrl + request.url.slice(basePath.length))
  for (const [name, value] of Object.entries(changes)) url.searchParams.set(name, String(value))
  return `<${url.href}>; rel="${rel}"`
}

/** One page by offset, with the headers that go with it. */
export const pageByOffset = <T>(pager: Pager, all: T[]): T[] => {
  const query = pager.request.query as Record<string, string>
  const perPage = perPageOf(query, pager.paging)
  const page = positive(query.page, 1)
  const pages = Math.max(1, Math.ceil(all.length / perPage))
  const counted = all.length <= COUNTED_RESULTS
  const link = (number: number, rel: string) => linkTo(pager, { page: number, per_page: perPage }, rel)
  const links = [
    ...(page > 1 ? [link(page - 1, 'prev')] : []),
    ...(page < pages ? [link(page + 1, 'next')] : []),
    link(1, 'first'),
    ...(counted ? [link(pages, 'last')] : []),
  ]
  const { headers } = pager.paging
  if (headers === 'all' || headers === 'link') pager.reply.header('link', links.join(', '))
  const isNumbered = headers === 'all' || headers === 'number'
  if (!isNumbered) return all.slice((page - 1) * perPage, page * perPage)
  pager.reply.headers({
    'x-next-page': page < pages ? String(page + 1) : '',
    'x-page': String(page),
    'x-per-page': String(perPage),
    'x-prev-page': page > 1 ? String(page - 1) : '',
    ...(counted ? { 'x-total': String(all.length), 'x-total-pages': String(pages) } : {}),
  })
  return all.slice((page - 1) * perPage, page * perPage)
}

/**
 * One page by id; the only way on is the Link header. Each page has it, but the last one, which is empty
 * (lib/gitlab/pagination/keyset/pager.rb).
 * @param beyond the items by id, from beyond one on; no more are taken than the page needs.
 */
export const pageByKeyset = <T extends { id: number }>(
  pager: Pager,
  beyond: (id: number, order: { ascending: boolean }) => Iterable<T>,
): T[] => {
  const query = pager.request.query as Record<string, string>
  const perPage = perPageOf(query, pager.paging)
  const ascending = query.sort === 'asc'
  const after = Number(query.id_after ?? 0)
  const before = Number(query.id_before ?? Number.MAX_SAFE_INTEGER)
  const page: T[] = []
  for (const item of beyond(ascending ? after : before, { ascending })) {
    if (item.id <= after || item.id >= before) break
    page.push(item)
    if (page.length > perPage) break
  }
  const isLast = page.length <= perPage
  page.length = Math.min(page.length, perPage)
  const last = page.at(-1)
  const { headers } = pager.paging
  // As gateways write it that number the pages of everything.
  if (headers === 'number') pager.reply.header('x-next-page', isLast ? '' : '2')
  else if (last && headers !== 'none')
    pager.reply.header('link', linkTo(pager, { [ascending ? 'id_after' : 'id_before']: last.id }, 'next'))
  return page
}

/** GitLab serves no page that begins further back than this. */
const DEEPEST_OFFSET = 50_000

export const isTooDeep = (query: Record<string, string>): boolean =>
  (positive(query.page, 1) - 1) * perPageOf(query, { mostPerPage: 100 }) >= DEEPEST_OFFSET
