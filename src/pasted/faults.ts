/** Pure: what may be wrong with a secret as somebody pasted it. No message ever repeats what was pasted. */

/** Each with the end of a sentence that begins with the name of the field, and says what to do. */
export const PASTED_FAULTS = {
  empty: 'is empty',
  too_short: 'is too short: copy the whole token',
  quotes: 'has a quotation mark in it: remove the quotes',
  has_spaces: 'has spaces in it: enter the token alone, and not its name or a sentence',
  broken_lines: 'is broken over several lines: copy it again in one piece',
  several: 'has more than one token in it: enter one',
  dash: 'has a dash in it that is no hyphen: a program for documents has changed it, so copy it again from GitLab',
  not_ascii:
    'has a letter or sign in it that no token has: it looks like another one, so copy it again from GitLab',
  control: 'has a control character in it: copy it again',
  placeholder: 'is a placeholder, or the name of a variable: enter the token itself',
  masked: 'is masked: GitLab shows a token once, so create a new one if nobody has kept it',
  basic: 'is HTTP Basic authentication: enter the token alone, which is its password',
  base64: 'is Base64 of a user name and a token: enter the token alone',
  user_and_token: 'is a user name and a token: enter what stands behind the colon',
  url: 'is a URL without a token in it: enter the token alone',
  other_server:
    'comes with the address of another server than base_url (https://gitlab.com when it is left out): enter the base URL of the server that issued the token',
  ssh_key: 'is an SSH key, which opens no API: create an access token at GitLab',
  pem: 'is a key or certificate in PEM: create an access token at GitLab',
  session_cookie: 'is the cookie of a browser session, which opens no API: create an access token at GitLab',
  access_key: 'is an access key of this service and no token of GitLab: it was sent nowhere',
  client_secret: 'is the secret of the app: it belongs into client_secret',
  not_a_client_secret: 'is an access token: the secret of the app stands beside its id at GitLab',
} as const satisfies Record<string, string>

export type PastedFault = keyof typeof PASTED_FAULTS
export const PASTED_FAULT_NAMES = Object.keys(PASTED_FAULTS) as PastedFault[]
