import type { FastifyReply, FastifyRequest } from 'fastify'

const DEFAULT_PER_PAGE = 20
const MAXIMUM_PER_PAGE = 100
/** Above this GitLab does not count: no totals, no last page. */
const COUNTED_RESULTS = 10_000

const positive = (text: unknown, fallback: number): number => {
  const number = Number(text)
  return Number.isInteger(number) && number > 0 ? number : fallback
}

const perPageOf = (query: Record<string, string>): number =>
  Math.min(positive(query.per_page, DEFAULT_PER_PAGE), MAXIMUM_PER_PAGE)

export type Pager = { request: FastifyRequest; reply: FastifyReply; baseUrl: string; basePath: string }

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
  const perPage = perPageOf(query)
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
  pager.reply.headers({
    link: links.join(', '),
    'x-next-page': page < pages ? String(page + 1) : '',
    'x-page': String(page),
    'x-per-page': String(perPage),
    'x-prev-page': page > 1 ? String(page - 1) : '',
    ...(counted ? { 'x-total': String(all.length), 'x-total-pages': String(pages) } : {}),
  })
  return all.slice((page - 1) * perPage, page * perPage)
}

/** One page by id; the only way on is the Link header, which is missing on the last page. */
export const pageByKeyset = <T extends { id: number }>(pager: Pager, all: T[]): T[] => {
  const query = pager.request.query as Record<string, string>
  const perPage = perPageOf(query)
  const ascending = query.sort === 'asc'
  const after = Number(query.id_after ?? -Infinity)
  const before = Number(query.id_before ?? Infinity)
  const rest = all
    .filter(({ id }) => id > after && id < before)
    .sort((left, right) => (ascending ? left.id - right.id : right.id - left.id))
  const page = rest.slice(0, perPage)
  const last = page.at(-1)
  if (last && rest.length > page.length) {
    pager.reply.header('link', linkTo(pager, { [ascending ? 'id_after' : 'id_before']: last.id }, 'next'))
  }
  return page
}
