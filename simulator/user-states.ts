/** Why GitLab refuses an account, in its own words (lib/gitlab/auth/user_access_denied_reason.rb). */
export type UserState =
  | 'active'
  | 'blocked'
  | 'blocked_pending_approval'
  | 'deactivated'
  | 'internal'
  | 'password_expired'
  | 'terms_not_accepted'
  | 'unconfirmed'

const SENTENCES: Record<Exclude<UserState, 'active'>, (username: string, url: string) => string> = {
  internal: () => 'This action cannot be performed by internal users',
  blocked_pending_approval: () =>
    'Your account is pending approval from your administrator and hence blocked.',
  terms_not_accepted: (username, url) =>
    `You (@${username}) must accept the Terms of Service in order to perform this action. To accept these terms, please access GitLab from a web browser at ${url}.`,
  deactivated: (_, url) =>
    `Your account has been deactivated by your administrator. Please log back in from a web browser to reactivate your account at ${url}`,
  unconfirmed: (_, url) =>
    `Your primary email address is not confirmed. Please check your inbox for the confirmation instructions. In case the link is expired, you can request a new confirmation email at ${url}/users/confirmation/new`,
  blocked: () => 'Your account has been blocked.',
  password_expired: () =>
    'Your password expired. Please access GitLab from a web browser to update your password.',
}

/** The sentence behind `403 Forbidden - `; undefined = the account is let in. */
export const refusedBecause = ({
  state,
  username,
}: {
  state: UserState
  username: string
}): string | undefined =>
  state === 'active' ? undefined : SENTENCES[state](username, 'https://gitlab.example.com')
