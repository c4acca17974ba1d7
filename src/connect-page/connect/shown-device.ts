import { instanceName } from '../advice.ts'
import type { Texts } from '../texts.en.ts'
import { longTime } from '../times.ts'

/** A device grant that a page shows: a person is to enter a code, or GitLab is still asked whose account it is. */
export type ShownDevice =
  | {
      kind: 'enter_code'
      userCode: string
      verificationUri: string
      baseUrl: string
      organization: string
      until: Date
      pollSeconds: number
    }
  | { kind: 'completing'; organization: string; baseUrl: string }

/** How often a page asks that waits for nothing but GitLab. */
const COMPLETING_SECONDS = 5

/** Pure. @param href where the page looks again */
export const describeDevice = (device: ShownDevice, href: string, texts: Texts) => {
  const { organization, baseUrl } = device
  const shown = { organization, instance: instanceName(baseUrl), href }
  if (device.kind === 'completing') return { ...shown, code: undefined, pollSeconds: COMPLETING_SECONDS }
  const { userCode, verificationUri, until, pollSeconds } = device
  return { ...shown, code: { userCode, verificationUri, until: longTime(until, texts) }, pollSeconds }
}
