import type { Principal } from '../../src/callers/principal.ts'

/** Who a test calls a use case as, without HTTP. */
export const principalLike = (changes: Partial<Principal> & { id: string }): Principal => ({
  name: 'a caller',
  role: 'admin',
  organizations: ['*'],
  restrictions: { readOnly: false },
  encryptionKey: undefined,
  requiresSealed: false,
  subject: null,
  expiresAt: null,
  ...changes,
})
