/** What a sentence may need to know. */
export type AdviceFacts = {
  /** Host and path of the instance, as people write it. */
  instance: string
  missing: string
  group: string
}

export type Advice = { title: string; explanation: string; remedy: string }

/**
 * Every word of the page. A translation is a second file of this shape. Sentences take their facts as arguments, so
 * that each language orders them in its own way; nothing here is HTML.
 */
export const texts = {
  locale: 'en',
  /** How dates are written: the day before the month, without doubt which is which. */
  dateLocale: 'en-GB',
  brand: 'Token Broker',
  title: 'GitLab Integration',
  lead: 'Connect GitLab, so that your scans can read its repositories.',
  skip: 'Skip to the content',
  and: ', ',

  visitor: {
    member: (name: string, role: string) => `Signed in as ${name} (${role})`,
    signOut: 'Sign out',
    guestLead: (organization: string) => `You are connecting GitLab for ${organization}.`,
    guestHint: (until: string) => `This link works once, until ${until}.`,
    leave: 'Leave this link',
  },

  signIn: {
    heading: 'Sign in',
    lead: 'With an access key of the role manager or admin. Somebody sent you a connect link? Open that instead: it takes no key.',
    key: 'Access key',
    keyHint: 'It starts with gtb_',
    button: 'Sign in',
    refused: {
      title: 'That key does not work',
      explanation: 'It is mistyped, deleted or past its end.',
      remedy: 'Copy all of it once more, or ask an admin for a new one.',
    },
    tooWeak: {
      title: 'This key belongs to a scanner',
      explanation: 'Keys of the role scanner fetch credentials; they cannot connect accounts.',
      remedy: 'Sign in with a key of the role manager or admin.',
    },
  },

  organization: {
    label: 'Organization',
    all: 'All organizations',
    show: 'Switch',
    chooseHint: 'What you connect belongs to one organization. Choose it first.',
    continue: 'Continue',
    unknown: {
      title: 'That is not one of your organizations',
      explanation:
        'An organization is named by its slug, such as acme, and your access key decides which are yours.',
      remedy: 'Check the spelling, or ask an admin for a key that includes it.',
    },
  },

  connect: {
    heading: 'Connect an account',
    headingFor: (organization: string) => `Connect an account to ${organization}`,
    oauth: {
      heading: 'Connect using OAuth v2',
      lead: 'The easy way: sign in at GitLab and allow access. Tokens renew themselves, and nothing has to be copied.',
      button: (instance: string) => `Connect with ${instance}`,
      appHint: (slug: string) => `through the app ${slug}`,
      noApps: 'No OAuth app is set up yet. An admin can add one; until then use a token.',
      notAllowed: 'This link does not allow it.',
      tokenDisclosure: 'I have an OAuth access token already',
      tokenHint:
        'Only with its refresh token can it be renewed; without one it works until its end, two hours as a rule.',
      token: 'OAuth access token',
      refreshToken: 'Refresh token (optional)',
      app: 'Issued to the app',
      otherApp: 'another app',
      tokenButton: 'Connect this token',
    },
    token: {
      heading: 'Connect using a personal access token',
      note: 'A personal access token reaches only a single organization: connect each organization with a token of its own.',
      token: 'Personal access token',
      tokenHint: 'Stored encrypted, never shown again. Tokens of a group or a project work too.',
      replacementHint: 'Stored encrypted, never shown again.',
      create: 'Create one with the right scopes',
      baseUrl: 'GitLab base URL',
      group: 'Group (optional)',
      groupHint: 'Limits the connection to a group or project, such as acme/platform.',
      button: 'Connect',
      notAllowed: 'This link does not allow it.',
    },
    show: 'Show',
    opensElsewhere: 'opens GitLab in a new tab',
  },

  report: {
    waiting: 'Paste the token, and it is checked at once.',
    checking: 'Asking GitLab …',
    works: 'This token works',
    worksSoon: 'This token works, but not for long',
    owner: 'Belongs to',
    unnamedOwner: (id: string) => `GitLab user number ${id}`,
    kind: 'Kind',
    scopes: 'Scopes',
    expiry: 'Ends',
    never: 'Never',
    group: 'Group',
    groupReached: (group: string) => `${group} is reached`,
    tooBroad: (scopes: string) =>
      `${scopes} allows more than scanning needs. A token with fewer scopes is the safer one.`,
    recommended: (scopes: string) =>
      `Without ${scopes} it can clone, but names, groups and projects stay unknown.`,
    signedOut: {
      title: 'You are no longer signed in',
      explanation: 'The link or the sign-in has come to its end, so nothing was checked.',
      remedy: 'Open this page once more.',
    },
  },

  kinds: {
    oauth_access_token: 'OAuth',
    personal_access_token: 'Personal access token',
    group_access_token: 'Group access token',
    project_access_token: 'Project access token',
  },

  connected: {
    heading: 'Connected accounts',
    needYou: (count: number) => (count === 1 ? 'One account needs you' : `${count} accounts need you`),
    empty: 'Nothing is connected yet. Connect the first account below.',
    emptyFor: (organization: string) =>
      `Nothing is connected to ${organization} yet. Connect the first account below.`,
    more: 'Show more',
    first: 'Back to the start',
    unnamed: (id: string) => `GitLab user ${id}`,
    organization: 'Organization',
    instance: 'GitLab',
    kind: 'Kind',
    group: 'Limited to',
    expiry: 'Token ends',
    renewed: (when: string) => `${when}, renewed by itself`,
    rotated: (when: string) => `${when}, rotated by itself`,
    never: 'Never',
    checked: 'Last check',
    used: 'Last use',
    usedBy: (when: string, names: string) => `${when} by ${names}`,
    notUsed: 'Not in the last 30 days',
    usedNow: (names: string) => `Now, by ${names}`,
    deletedKey: 'a deleted key',
    others: (count: number) => (count === 1 ? 'one more' : `${count} more`),
    verify: 'Verify',
    reconnect: 'Reconnect',
    replace: 'Replace token',
    rotate: 'Rotate',
    disconnect: 'Disconnect',
  },

  status: {
    active: 'Working',
    troubled: 'Working, with trouble',
    ending: 'Ends soon',
    needs_reauthorization: 'Needs you',
    revoked: 'Revoked',
    expired: 'Expired',
  },

  /** Why a connection needs a person, by status reason. */
  reasons: {
    token_expired: 'Its token has come to its end.',
    token_revoked: 'Its token was revoked at GitLab.',
    token_unknown: 'GitLab no longer knows its token.',
    user_blocked: 'The GitLab account that it belongs to is blocked.',
    missing_scopes: 'Its token no longer has the scopes that scanning needs.',
    dpop_required: 'The owner has switched on DPoP at GitLab, which rules out stored tokens.',
    refresh_token_refused:
      'GitLab refuses to renew it: access was taken back, or the renewal was used elsewhere.',
    refresh_answer_lost: 'Its renewal was lost on the way, and GitLab refuses the token before it.',
    rotation_answer_lost: 'Its new token was lost on the way, and GitLab has revoked the one before it.',
    gitlab_unavailable: 'GitLab does not answer. It is tried again by itself.',
    oauth_app_rejected:
      'GitLab refuses the OAuth app, so tokens cannot be renewed. An admin has to correct its secret.',
    ending: 'Nothing renews this token. Replace it before it ends, or scans will fail.',
  } as Record<string, string>,
  remedies: {
    reconnect: 'Reconnect it: sign in at GitLab once more as the same user.',
    replace: 'Create a new token at GitLab and replace this one by it.',
  },

  confirm: {
    cancel: 'Back',
    disconnect: {
      heading: (who: string, organization: string) => `Disconnect ${who} from ${organization}?`,
      effects: [
        'Scans can no longer fetch its token, from this moment on.',
        'The token is revoked at GitLab: scans that hold it now stop working too.',
        'The stored secrets are deleted. You can connect the account again at any time.',
      ],
      inUse: (names: string) => `In use right now by ${names}.`,
      keep: 'Leave the token valid at GitLab',
      keepHint: 'For a token that something else uses too.',
      button: 'Disconnect',
    },
    replace: {
      heading: (who: string) => `Replace the token of ${who}`,
      lead: 'The new token must belong to the same GitLab user. Scans that hold the old one keep it.',
      token: 'New token',
      button: 'Replace token',
    },
    rotate: {
      heading: (who: string) => `Rotate the token of ${who}?`,
      effects: [
        'GitLab issues a new token with the same scopes, and revokes the old one at that moment.',
        'Whatever else uses the old token stops working.',
      ],
      inUse: (names: string) => `In use right now by ${names}. Rotation waits for them.`,
      button: 'Rotate',
    },
  },

  done: {
    verified: (who: string) => `GitLab confirms ${who}: the token works.`,
    refreshed: (who: string) => `The token of ${who} was renewed.`,
    rotated: (who: string) => `The token of ${who} was rotated. The old one no longer works.`,
    replaced: (who: string) => `The token of ${who} was replaced.`,
    disconnected: 'Disconnected. The token was revoked at GitLab, and the stored secrets are deleted.',
    kept: 'Disconnected. The stored secrets are deleted; the token is still valid at GitLab.',
    notRevoked:
      'Disconnected here, and the stored secrets are deleted. GitLab did not answer, so the token may still be valid there: revoke it at GitLab.',
    undone: 'Disconnected. Nothing of that account is left here.',
    signedOut: 'You are signed out.',
  },

  identity: {
    heading: 'GitLab is connected',
    sentence: (who: string, organization: string) => `You connected GitLab user ${who} to ${organization}.`,
    known: (who: string, organization: string) =>
      `GitLab user ${who} was connected to ${organization} already. The connection has a fresh token now.`,
    at: (instance: string, kind: string) => `${kind} at ${instance}`,
    question: (who: string) => `Not ${who}?`,
    undoHint:
      'Then somebody else is signed in to GitLab in this browser, or the link was meant for another person.',
    undo: 'Not me: disconnect',
    proceed: (where: string) => `Continue to ${where}`,
    close: 'You can close this page.',
    elsewhere: {
      title: 'Nothing to show here',
      explanation: 'A result is shown in the browser that connected the account, for a quarter of an hour.',
      remedy: 'Sign in to see what is connected.',
    },
    afterUndo:
      'Sign out at GitLab, sign in there as the right user, and connect again: your link still works.',
  },

  tips: {
    heading: 'Tips',
    items: [
      [
        'Prefer OAuth',
        'Its tokens live two hours and renew themselves. A personal access token ends on a fixed day, and somebody has to think of it.',
      ],
      [
        'Use a service account',
        'A GitLab user of its own, a member of the groups to be scanned, keeps working when a colleague leaves.',
      ],
      [
        'Give few scopes',
        'read_repository clones; read_api and read_user name groups, projects and people. api and write_repository are more than scanning needs.',
      ],
      [
        'One group, one token',
        'A group access token reaches that group alone: the smallest loss, should it ever leak.',
      ],
      [
        'Self-managed GitLab',
        'Enter the address at which you open it in the browser, with its path, such as https://git.example.com/gitlab.',
      ],
    ] as [string, string][],
  },

  troubleshooting: {
    heading: 'Troubleshooting',
    lead: 'What the page may say, and what helps.',
    codes: [
      'token_unknown',
      'token_expired',
      'missing_scopes',
      'group_out_of_reach',
      'not_a_gitlab',
      'tls_not_trusted',
      'address_not_allowed',
      'access_denied',
      'invalid_state',
      'refresh_token_refused',
    ],
  },

  links: {
    newToken: (scopes: string) => `Create a token with ${scopes}`,
    applications: 'See the applications you authorized',
    open: (host: string) => `Open ${host}`,
    gitlabStatus: 'See the status of GitLab.com',
  },

  ended: {
    used: {
      title: 'This link was used',
      explanation: 'A connect link works once, and this one has done its work.',
      remedy: 'To connect another account, ask for a new link where you got this one.',
    },
    expired: {
      title: 'This link has expired',
      explanation: 'Connect links live for a short time only.',
      remedy: 'Ask for a new one where you got this one.',
    },
    unknown: {
      title: 'This link does not work',
      explanation: 'It is incomplete, or was made somewhere else.',
      remedy: 'Copy all of it once more, or ask for a new one.',
    },
  },

  problem: {
    requestId: 'Request',
    back: 'Back to GitLab Integration',
    crossSite: {
      title: 'That came from another site',
      explanation: 'Nothing was done, because no page of ours asked for it.',
      remedy: 'Open this page and press the button here.',
    },
  },

  /** Each refusal that a person may meet, by problem code: what it means, and what to do. */
  advice: {
    token_unknown: ({ instance }) => ({
      title: 'GitLab does not know this token',
      explanation: `${instance} has never issued it, or has deleted it.`,
      remedy: 'Copy all of it once more. Was it made on another GitLab? Then correct the base URL.',
    }),
    token_expired: () => ({
      title: 'The token has expired',
      explanation: 'It has come to the end that was chosen when it was made.',
      remedy: 'Create a new one, with a later end.',
    }),
    token_revoked: () => ({
      title: 'The token was revoked',
      explanation: 'Somebody, or GitLab itself, has taken it back.',
      remedy: 'Create a new one.',
    }),
    user_blocked: ({ instance }) => ({
      title: 'The account is blocked',
      explanation: `GitLab refuses the owner of the token: the account is blocked or deactivated.`,
      remedy: `Ask an administrator of ${instance} to unblock it, or use another account.`,
    }),
    missing_scopes: ({ missing }) => ({
      title: missing ? `The token lacks ${missing}` : 'The token lacks scopes',
      explanation: 'The scopes of a token are fixed when it is made; they cannot be added later.',
      remedy: 'Create a new one with the scopes that are missing.',
    }),
    group_out_of_reach: ({ group }) => ({
      title: group ? `The token does not reach ${group}` : 'The token does not reach the group',
      explanation: 'The group is misspelt, or the owner of the token is not a member of it.',
      remedy:
        'Write the path as it stands in the address bar of GitLab, or ask an owner of the group for access.',
    }),
    wrong_token_kind: () => ({
      title: 'This kind of token belongs elsewhere',
      explanation:
        'OAuth access tokens, and tokens of a person, group or project, are connected in different places.',
      remedy: 'Paste it into the other form of this page.',
    }),
    dpop_required: () => ({
      title: 'The account requires DPoP',
      explanation: 'Its owner has switched on DPoP for API calls, which rules out stored tokens.',
      remedy: 'Switch it off in the GitLab preferences of that account, or use another account.',
    }),
    not_a_gitlab: ({ instance }) => ({
      title: 'There is no GitLab at this address',
      explanation: `${instance} answers, but not as a GitLab does.`,
      remedy: 'Enter the address at which you open GitLab in the browser, with its path and https.',
    }),
    tls_not_trusted: ({ instance }) => ({
      title: 'The certificate is not trusted',
      explanation: `The TLS certificate of ${instance} is for another name, out of date, or signed by a private authority.`,
      remedy: 'An admin can add the authority to this instance (ca_certificate).',
    }),
    address_not_allowed: ({ instance }) => ({
      title: 'This address is not allowed',
      explanation: `${instance} is in a private network or uses plain http, and no admin has allowed that.`,
      remedy: 'An admin can allow it for this instance (allow_private_network).',
    }),
    invalid_base_url: () => ({
      title: 'That is not the address of a server',
      explanation: 'The GitLab base URL is what stands in the address bar when you open GitLab.',
      remedy: 'Write it in full, such as https://gitlab.com.',
    }),
    invalid_token: () => ({
      title: 'That is not a whole token',
      explanation:
        'A token is one word of letters, digits, dots, dashes and underscores, 8 characters or longer.',
      remedy: 'Copy it once more, without anything around it.',
    }),
    invalid_oauth_app: () => ({
      title: 'The token belongs to another app',
      explanation: 'Only the app that a token was issued to can renew it.',
      remedy: 'Choose that app, or leave the refresh token out.',
    }),
    gitlab_unavailable: ({ instance }) => ({
      title: 'GitLab does not answer',
      explanation: `${instance} cannot be reached right now, or asks us to slow down. Nothing was changed.`,
      remedy: 'Try again in a minute.',
    }),
    rate_limited: () => ({
      title: 'Too many attempts',
      explanation: 'This was tried too often in the last minute, from here or with this link.',
      remedy: 'Wait a minute, then try again.',
    }),
    overloaded: () => ({
      title: 'Too much is asked of this service right now',
      explanation: 'Nothing was changed.',
      remedy: 'Try again in some seconds.',
    }),
    refresh_refused: () => ({
      title: 'GitLab refused the refresh token',
      explanation: 'It was used before, taken back, or belongs to another app.',
      remedy: 'Connect with the OAuth button instead.',
    }),
    refresh_token_refused: () => ({
      title: 'A connected account stopped working',
      explanation:
        'Access was taken back at GitLab, the user was blocked, or the same grant is used by another service.',
      remedy: 'Press Reconnect, and sign in as the same GitLab user.',
    }),
    session_expired: () => ({
      title: 'This link has expired or was used',
      explanation: 'A connect link works once, and for a short time only.',
      remedy: 'Ask for a new one where you got this one.',
    }),
    access_denied: () => ({
      title: 'Access was not granted',
      explanation: 'At GitLab somebody pressed Deny, so nothing was connected.',
      remedy: 'Connect again and press Authorize.',
    }),
    invalid_state: () => ({
      title: 'The answer belongs to another browser',
      explanation:
        'Connecting began in another browser or at another address of this page, or longer than 10 minutes ago.',
      remedy: 'Begin again here, and stay in this window.',
    }),
    callback_replayed: () => ({
      title: 'This answer was used already',
      explanation: 'Each answer of GitLab counts once. A reload or the back button sends it again.',
      remedy: 'See whether the account is connected. If not, begin again.',
    }),
    code_refused: () => ({
      title: 'GitLab took back its answer',
      explanation: 'The code that GitLab had sent was no longer valid, perhaps because it took too long.',
      remedy: 'Begin again.',
    }),
    authorization_failed: () => ({
      title: 'GitLab did not authorize',
      explanation: 'It reported a fault of the OAuth app or of the request, and nothing was connected.',
      remedy: 'An admin should compare the scopes of the OAuth app here and at GitLab.',
    }),
    oauth_app_rejected: () => ({
      title: 'GitLab refuses the OAuth app',
      explanation: 'Its client id or secret is not what GitLab has on record.',
      remedy: 'An admin has to renew the secret of the OAuth app here.',
    }),
    different_identity: () => ({
      title: 'That token belongs to somebody else',
      explanation: 'A replacement must belong to the same GitLab user, and be of the same kind.',
      remedy:
        'Create it while signed in to GitLab as that user. For another user, connect an account of its own.',
    }),
    rotation_refused: () => ({
      title: 'GitLab did not rotate the token',
      explanation: 'Its settings, or those of its group, do not allow it.',
      remedy: 'Create a new token at GitLab and replace this one by it.',
    }),
    not_refreshable: () => ({
      title: 'This token cannot be renewed',
      explanation: 'It came without a refresh token, or without the app that it was issued to.',
      remedy: 'Connect the account with the OAuth button.',
    }),
    needs_reauthorization: () => ({
      title: 'A person has to reconnect it',
      explanation: 'GitLab no longer accepts what is stored.',
      remedy: 'Press Reconnect, or replace the token.',
    }),
    token_in_use: () => ({
      title: 'The token is in use',
      explanation: 'A scan holds it right now and would break.',
      remedy: 'Try again when the scan has ended.',
    }),
    forbidden: () => ({
      title: 'This is not allowed here',
      explanation: 'The link, or the access key, does not include it.',
      remedy: 'Ask for one that does.',
    }),
    not_found: () => ({
      title: 'There is nothing here',
      explanation: 'It was deleted, or belongs to an organization that is not yours.',
      remedy: 'Go back and choose from the list.',
    }),
    unauthorized: () => ({
      title: 'You are not signed in',
      explanation: 'The sign-in has come to its end, or the access key was deleted.',
      remedy: 'Sign in again.',
    }),
    database_unavailable: () => ({
      title: 'The service is not ready',
      explanation: 'Its database does not answer right now.',
      remedy: 'Try again in a minute.',
    }),
    internal_error: () => ({
      title: 'Something went wrong here',
      explanation: 'It is our fault, not yours. The log of the service has it.',
      remedy: 'Try again. If it stays, tell an admin the request below.',
    }),
  } as Partial<Record<string, (facts: AdviceFacts) => Advice>>,
}

export type Texts = typeof texts
