import type { Hyperlink, ShownAdvice } from './advice.ts'
import type { IdentityNotice } from './connect/identity.ts'
import type { Advice } from './texts.en.ts'

/** What a page says first: what was done, why something was refused, or whose account was connected. */
export type Notice =
  | { kind: 'done'; text: string; remedy?: string | undefined; link?: Hyperlink | undefined }
  | { kind: 'advice'; advice: Advice & Partial<Pick<ShownAdvice, 'link' | 'detail'>> }
  | ({ kind: 'identity' } & IdentityNotice)
