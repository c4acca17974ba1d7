import type { LooksLike } from '../gitlab/token-kinds.ts'
import type { PastedFault } from '../pasted/faults.ts'

const CREATE_ANOTHER = 'Create a personal, group or project access token with read_api and read_repository.'

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
 * that each language can order them in its own way. Nothing here is HTML.
 */
export const texts = {
  locale: 'en',
  /** How dates are written: the month by its name, so that nobody takes it for the day. */
  dateLocale: 'en-GB',
  brand: 'Token Broker',
  title: 'GitLab Integration',
  lead: 'Connect GitLab so that your scans can read your repositories.',
  skip: 'Skip to the content',
  and: ', ',

  visitor: {
    member: (name: string, role: string) => `Signed in as ${name} (${role})`,
    signOut: 'Sign out',
    guestLead: (organization: string) => `You are connecting GitLab for ${organization}.`,
    reconnectLead: (who: string, organization: string) =>
      `You are reconnecting the GitLab account of ${who} for ${organization}.`,
    guestAsker: (name: string) => `The access key “${name}” asks for this.`,
    guestHint: (until: string) => `This link works once, until ${until}.`,
    leave: 'Leave this link',
  },

  opening: {
    heading: (organization: string) => `Open the link for ${organization}?`,
    lead: (organization: string, maker: string) =>
      `You followed a link that connects a GitLab account to ${organization}. The access key “${maker}” made the link.`,
    member: (name: string, role: string) =>
      `You are signed in as ${name} (${role}). The page shows the link instead until you leave the link. You stay signed in.`,
    others: 'Links that are open in other tabs keep working.',
    doubt: 'If you did not expect this link, do not open it.',
    open: (organization: string) => `Open the link for ${organization}`,
    stay: 'Back, without opening the link',
  },

  question: {
    title: 'Connect this account?',
    heading: (who: string, organization: string) => `Connect GitLab user ${who} to ${organization}?`,
    explanation: (organization: string) =>
      `Another organization of this service has connected this GitLab account too. If you continue, scans of ${organization} can read every repository that the account can read.`,
    doubt: (organization: string) =>
      `Continue only if you want to connect this account to ${organization}. Nothing is connected yet.`,
    until: (time: string) =>
      `Without an answer by ${time}, nothing is connected and GitLab revokes the access.`,
    yes: (organization: string) => `Connect to ${organization}`,
    no: 'Do not connect',
    takeover: {
      heading: (who: string, before: string) => `Let GitLab user ${who} take the place of ${before}?`,
      explanation: (before: string, organization: string) =>
        `The connection that you reconnect for ${organization} belonged to GitLab user ${before}. If you continue, scans use the new account instead, and what only ${before} could read is no longer scanned.`,
      doubt: (who: string) => `Continue only if ${who} is the right account. Nothing is changed yet.`,
      yes: (who: string) => `Reconnect as ${who}`,
      again: 'The token was not kept: paste the token again, then press this button.',
    },
  },

  device: {
    button: (instance: string) => `Connect ${instance} with a code`,
    hint: 'For a GitLab that cannot send your browser back here.',
    lead: 'You enter a code at GitLab, in any browser, and allow access there. The tokens are renewed automatically.',
    title: 'Connect with a code',
    heading: (organization: string) => `Connect GitLab to ${organization} with a code`,
    open: (instance: string) => `Open ${instance}`,
    enter: 'Enter this code there:',
    allow: 'Allow access. Then come back to this page.',
    doubt: 'Enter the code only if you started this yourself. Do not give it to anybody.',
    waiting: (instance: string, until: string) => `Waiting for ${instance}. The code ends at ${until}.`,
    completing: (instance: string) =>
      `You have allowed access. Waiting for ${instance} to say whose account it is.`,
    refresh: 'Look again',
  },

  signIn: {
    heading: 'Sign in',
    lead: 'Sign in with an access key that has the role manager or admin. If somebody sent you a connect link, open that link instead: it needs no key.',
    key: 'Access key',
    keyHint: 'The key starts with gtb_',
    button: 'Sign in',
    refused: {
      title: 'That key does not work',
      explanation: 'The key is mistyped, deleted or expired.',
      remedy: 'Copy the whole key again, or ask an admin for a new one.',
    },
    tooWeak: {
      title: 'This key belongs to a scanner',
      explanation: 'A key with the role scanner fetches credentials. It cannot connect accounts.',
      remedy: 'Sign in with a key that has the role manager or admin.',
    },
    notForPages: {
      title: 'This key does not sign in here',
      explanation:
        'The page changes connections. A read-only key changes nothing, and the token of a workload ends within minutes.',
      remedy: 'Sign in with an access key of the role manager or admin that is not read-only.',
    },
  },

  organization: {
    label: 'Organization',
    all: 'All organizations',
    show: 'Switch',
    chooseHint: 'A connected account belongs to one organization. Choose the organization first.',
    continue: 'Continue',
    unknown: {
      title: 'That is not one of your organizations',
      explanation:
        'An organization has a short name, such as acme. Your access key lists the organizations that you may use.',
      remedy: 'Check the spelling, or ask an admin for a key that includes this organization.',
    },
  },

  connect: {
    heading: 'Connect an account',
    headingFor: (organization: string) => `Connect an account to ${organization}`,
    oauth: {
      heading: 'Connect using OAuth v2',
      lead: 'The easy way: sign in at GitLab and allow access. You copy nothing, and the tokens are renewed automatically.',
      button: (instance: string) => `Connect with ${instance}`,
      asks: (asker: string, organization: string) =>
        `${asker} asks for access to GitLab for ${organization}. GitLab is asked to allow:`,
      appHint: (slug: string) => `through the app ${slug}`,
      noApps: 'No OAuth app is set up yet. An admin can add one. Until then, use a token.',
      notAllowed: 'This link does not allow OAuth.',
      tokenDisclosure: 'I have an OAuth access token already',
      tokenHint:
        'With the refresh token, the access token is renewed automatically. Without one, the access token usually ends after two hours.',
      token: 'OAuth access token',
      refreshToken: 'Refresh token (optional)',
      app: 'Issued to the app',
      otherApp: 'another app',
      baseUrl: 'GitLab base URL (only for another app)',
      tokenButton: 'Connect this token',
    },
    token: {
      heading: 'Connect using a personal access token',
      note: 'A connected token serves one organization. Connect each organization with its own token.',
      token: 'Personal access token',
      tokenHint: 'The token is stored encrypted and never shown again. Group and project tokens work too.',
      replacementHint: 'The token is stored encrypted and never shown again.',
      create: 'Create one with the right scopes',
      baseUrl: 'GitLab base URL',
      baseUrlHint:
        'The address of the GitLab that issued the token, such as https://gitlab.com. Any page of it will do.',
      group: 'Group (optional)',
      groupHint: 'Limits the connection to one group or project, such as acme/platform, or its address.',
      button: 'Connect',
      notAllowed: 'This link does not allow tokens.',
    },
    show: 'Show',
    opensElsewhere: 'opens GitLab in a new tab',
  },

  /** What a scope allows, in words. */
  scopes: {
    read_user: 'Read your profile: name, user name and email address',
    read_api: 'Read everything that you can see in GitLab: groups, projects, issues and more',
    read_repository: 'Read (clone) the repositories that you can read',
    write_repository: 'Read and change the repositories that you can change',
    api: 'Read and change everything that you can change in GitLab',
    read_registry: 'Read container images',
    write_registry: 'Read and change container images',
    openid: 'Learn who you are',
    profile: 'Read your profile',
    email: 'Read your email address',
  } as Record<string, string>,

  report: {
    unnamed: 'Enter the GitLab base URL first. The token goes nowhere before that.',
    asks: {
      title: 'Is this your GitLab?',
      explanation: (host: string) =>
        `No admin has registered ${host} here. Nothing was sent there. The server that you name gets the token.`,
      button: (host: string) => `Ask ${host}`,
      again: 'The token was not kept: paste the token again, then press this button.',
    },
    offered: (group: string) => `The address names ${group}. The connection is not limited to it yet.`,
    offeredButton: (group: string) => `Limit it to ${group}`,
    meant: (baseUrl: string) => `Did you mean ${baseUrl}?`,
    meantButton: (baseUrl: string) => `Use ${baseUrl}`,
    waiting: 'Paste the token. GitLab checks it at once.',
    checking: 'Asking GitLab …',
    works: 'This token works',
    worksSoon: 'This token works, but not for long',
    unnamedOwner: (id: string) => `GitLab user number ${id}`,
    kind: 'Kind',
    scopes: 'Scopes',
    expiry: 'Ends',
    never: 'Never',
    group: 'Group',
    groupReached: (group: string) => `The token reaches ${group}`,
    tooBroad: (scopes: string) =>
      `${scopes} allows more than scanning needs. A token with fewer scopes is safer.`,
    recommended: (scopes: string) =>
      `Without ${scopes} the token can clone repositories but cannot read the names of people, groups and projects.`,
  },

  kinds: {
    oauth_access_token: 'OAuth',
    fine_grained: 'Fine-grained personal access token',
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
    group: 'Limited to',
    certificate: {
      ending: (instance: string, date: string) =>
        `The certificate that was given for ${instance} ends ${date}: nothing works there after that. Ask an admin of this service to give the next one.`,
      expired: (instance: string, date: string) =>
        `The certificate that was given for ${instance} ended ${date}: nothing works there until an admin of this service gives the next one.`,
    },
    expiry: 'Token ends',
    renewed: (when: string) => `${when}, renewed automatically`,
    rotated: (when: string) => `${when}, rotated automatically`,
    never: 'Never',
    checked: 'Last check',
    used: 'Last use',
    usedBy: (when: string, names: string) => `${when} by ${names}`,
    notUsed: 'Not in the last 30 days',
    usedNow: (names: string) => `Now, by ${names}`,
    deletedKey: 'a deleted key',
    others: (count: number) => (count === 1 ? 'one more' : `${count} more`),
    projects: 'Projects',
    verify: 'Verify',
    reconnect: 'Reconnect',
    replace: 'Replace token',
    rotate: 'Rotate',
    disconnect: 'Disconnect',
  },

  projects: {
    heading: (who: string) => `What ${who} reaches`,
    back: 'Back to the accounts',
    counts: (projects: number, groups: number) =>
      `${projects} ${projects === 1 ? 'project' : 'projects'}, ${groups} ${groups === 1 ? 'group' : 'groups'}`,
    asOf: (when: string) => `Last read: ${when}.`,
    never: 'GitLab has not been asked yet. That begins by itself within minutes.',
    running: (projects: number) =>
      `GitLab is being asked: ${projects} ${projects === 1 ? 'project' : 'projects'} so far.`,
    refresh: 'Look again',
    waiting: (when: string) => `It goes on ${when}.`,
    notPermitted: 'This token may not list projects. A token with the scope read_api can.',
    off: 'Whoever runs this service has switched off the reading of projects. Scans work without it.',
    synchronise: 'Synchronise now',
    search: 'Find a project',
    searchHint: 'A part of its path, such as platform/api',
    find: 'Find',
    none: 'No project here.',
    noneFound: (search: string) => `No project has ${search} in its path.`,
    archived: 'archived',
    missing: 'GitLab no longer lists it',
    path: 'Project',
    activity: 'Last activity',
    more: 'Show more',
    first: 'Back to the start',
  },

  status: {
    active: 'Working',
    troubled: 'Working, with problems',
    ending: 'Ends soon',
    needs_reauthorization: 'Needs you',
    revoked: 'Revoked',
    expired: 'Expired',
  },

  /** Why a connection needs a person, by status reason. */
  reasons: {
    token_expired: 'The token has expired.',
    token_revoked: 'The token was revoked at GitLab.',
    token_unknown: 'GitLab no longer knows the token.',
    user_blocked: 'GitLab has blocked the owner of the token.',
    missing_scopes: 'The token no longer has the scopes that scanning needs.',
    dpop_required: 'The owner requires DPoP at GitLab. Stored tokens do not work with DPoP.',
    refresh_token_refused:
      'GitLab refuses to renew the token. Either somebody took the access back, or another service used the refresh token.',
    refresh_answer_lost:
      'The answer of GitLab with the new token was lost, and GitLab no longer accepts the old token.',
    rotation_answer_lost:
      'The answer of GitLab with the new token was lost, and GitLab has revoked the old token.',
    database_went_back:
      'The database of this service was restored to an earlier state. The token issued after that state is lost.',
    gitlab_unavailable: 'GitLab does not answer. The next try starts automatically.',
    oauth_app_rejected:
      'GitLab refuses the OAuth app, so the token cannot be renewed. An admin has to correct the secret of the app.',
    ending: 'Nothing renews this token. Replace the token before it ends, or scans will fail.',
  } as Record<string, string>,
  remedies: {
    owner: 'Do at GitLab what it asks for. The token is checked again automatically, or press Verify.',
    reconnect: 'Press Reconnect, and sign in at GitLab as the same user.',
    replace: 'Create a new token at GitLab, then press Replace token.',
  },

  confirm: {
    cancel: 'Back',
    disconnect: {
      heading: (who: string, organization: string) => `Disconnect ${who} from ${organization}?`,
      effects: [
        'Scans can no longer fetch the token.',
        'GitLab revokes the token. Scans that hold the token now stop working too.',
        'The stored secrets are deleted. You can connect the account again at any time.',
      ],
      inUse: (names: string) => `In use right now by ${names}.`,
      keep: 'Leave the token valid at GitLab',
      keepHint: 'Choose this when something else uses the token too.',
      button: 'Disconnect',
    },
    replace: {
      heading: (who: string) => `Replace the token of ${who}`,
      lead: 'The new token must belong to the same GitLab user. Scans that hold the old token keep it.',
      token: 'New token',
      button: 'Replace token',
    },
    rotate: {
      heading: (who: string) => `Rotate the token of ${who}?`,
      effects: [
        'GitLab issues a new token with the same scopes and revokes the old token at the same moment.',
        'Everything else that uses the old token stops working.',
      ],
      inUse: (names: string) => `In use right now by ${names}. The rotation waits until they finish.`,
      button: 'Rotate',
    },
  },

  done: {
    verified: (who: string) => `GitLab confirms ${who}: the token works.`,
    rotated: (who: string) => `The token of ${who} was rotated. The old token no longer works.`,
    replaced: (who: string) => `The token of ${who} was replaced.`,
    disconnected: 'Disconnected. The token was revoked at GitLab, and the stored secrets are deleted.',
    kept: 'Disconnected. The stored secrets are deleted; the token is still valid at GitLab.',
    notRevoked:
      'Disconnected here, and the stored secrets are deleted. The token may still be valid at GitLab: revoke it there.',
    undone: 'Disconnected. Nothing of that account is left here.',
    signedOut: 'You are signed out.',
  },

  identity: {
    heading: 'GitLab is connected',
    sentence: (who: string, organization: string) => `You connected GitLab user ${who} to ${organization}.`,
    known: (who: string, organization: string) =>
      `GitLab user ${who} was connected to ${organization} already. The connection now has a new token.`,
    at: (instance: string, kind: string) => `${kind} at ${instance}`,
    question: (who: string) => `Not ${who}?`,
    undoHint:
      'Another person is signed in to GitLab in this browser, or the link was meant for another person.',
    undo: 'Not me: disconnect',
    proceed: (where: string) => `Continue to ${where}`,
    close: 'You can close this page.',
    elsewhere: {
      title: 'Nothing to show here',
      explanation: 'Only the browser that connected the account shows the result, and only for 15 minutes.',
      remedy: 'Sign in to see the connected accounts.',
    },
    afterUndo:
      'Sign out at GitLab, sign in there as the right user, and connect again: your link still works.',
  },

  tips: {
    heading: 'Tips',
    items: [
      [
        'Prefer OAuth',
        'OAuth tokens are renewed automatically. A personal access token ends on a fixed day, and somebody has to replace it in time.',
      ],
      [
        'Use a service account',
        'Create a GitLab user for scanning, and add it to the groups that you scan. It keeps working when a colleague leaves.',
      ],
      [
        'Give few scopes',
        'read_repository allows cloning. read_api and read_user allow reading the names of groups, projects and people. Scanning needs neither api nor write_repository.',
      ],
      [
        'One group, one token',
        'A group access token reaches one group only. If it leaks, the damage is small.',
      ],
      [
        'Self-managed GitLab',
        'Enter the address that you use in the browser, including its path, such as https://git.example.com/gitlab.',
      ],
    ] as [string, string][],
  },

  troubleshooting: {
    heading: 'Troubleshooting',
    lead: 'The messages of this page, and what helps.',
    codes: [
      'token_unknown',
      'token_expired',
      'missing_scopes',
      'group_out_of_reach',
      'host_not_found',
      'group_required',
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
      explanation: 'A connect link works once. Somebody has already connected an account with this link.',
      remedy: 'To connect another account, ask the person who sent you this link for a new one.',
    },
    expired: {
      title: 'This link has expired',
      explanation: 'A connect link works for a short time only.',
      remedy: 'Ask the person who sent you this link for a new one.',
    },
    ended: {
      title: 'This link was ended',
      explanation: 'The platform that made this link has ended it.',
      remedy: 'If you still want to connect, ask the person who sent you this link for a new one.',
    },
    withdrawn: {
      title: 'This link was withdrawn',
      explanation:
        'A link ends with the access key that made the link. That key was deleted, has expired, or may no longer act for the organization.',
      remedy: 'Ask the person who sent you this link for a new one.',
    },
    tried_too_often: {
      title: 'This link was tried too often',
      explanation: 'One link may start 20 sign-ins at GitLab. This link has started all of them.',
      remedy: 'Ask the person who sent you this link for a new one.',
    },
    unknown: {
      title: 'This link does not work',
      explanation: 'The link is incomplete, or belongs to another service.',
      remedy: 'Copy the whole link again, or ask for a new one.',
    },
  },

  problem: {
    requestId: 'Request id',
    back: 'Back to GitLab Integration',
    crossSite: (publicUrl: string) => ({
      title: 'That came from another site',
      explanation: 'The request did not come from a page of this service, so nothing was done.',
      remedy: `Open ${publicUrl}/connect and press the button there.`,
    }),
    outdated: {
      title: 'This page is out of date',
      explanation:
        'Somebody has signed in or out in this browser since the page was loaded, or the page showed another organization. Nothing was done.',
      remedy: 'Open the page again, and check which organization the page names.',
    },
  },

  /** What is wrong with the text in a token field, by the reason of src/pasted/faults.ts. */
  pasted: {
    empty: {
      title: 'The field is empty',
      explanation: 'What was pasted has no visible character.',
      remedy: 'Copy the token again.',
    },
    too_short: {
      title: 'That is not a whole token',
      explanation: 'A token has 8 characters or more.',
      remedy: 'Copy the whole token again.',
    },
    quotes: {
      title: 'There is a quotation mark in the token',
      explanation: 'No token has one: the quotes came along from where the token was copied.',
      remedy: 'Remove the quotes.',
    },
    has_spaces: {
      title: 'There are spaces in the token',
      explanation: 'A token is one word. This looks like the name of a token, or like a sentence.',
      remedy: 'Paste the token alone.',
    },
    broken_lines: {
      title: 'The token is broken over several lines',
      explanation: 'The program from which the token was copied has wrapped it.',
      remedy: 'Copy the token again in one piece.',
    },
    several: {
      title: 'There is more than one token',
      explanation: 'The field takes one token.',
      remedy: 'Paste one of them.',
    },
    dash: {
      title: 'A dash in the token is no hyphen',
      explanation: 'A program for documents or chats has replaced the hyphen by a longer dash.',
      remedy: 'Copy the token again, from GitLab or from a program for plain text.',
    },
    not_ascii: {
      title: 'The token has a letter that no token has',
      explanation: 'One of the characters only looks like a letter or digit of a token.',
      remedy: 'Copy the token again from GitLab.',
    },
    control: {
      title: 'The token has a character that cannot be sent',
      explanation: 'A control character came along from where the token was copied.',
      remedy: 'Copy the token again.',
    },
    placeholder: {
      title: 'That is a placeholder',
      explanation: 'The text stands for a token: an example from a manual, or the name of a variable.',
      remedy: 'Paste the token itself.',
    },
    masked: {
      title: 'The token is masked',
      explanation: 'Most of its characters are hidden. GitLab shows a token once, when it is created.',
      remedy: 'Create a new token if nobody has kept this one.',
    },
    basic: {
      title: 'That is HTTP Basic authentication',
      explanation: 'The header holds a user name and a token in Base64.',
      remedy: 'Paste the token alone.',
    },
    base64: {
      title: 'That is Base64 of a user name and a token',
      explanation: 'Configuration files hold both in this form.',
      remedy: 'Paste the token alone.',
    },
    user_and_token: {
      title: 'That is a user name and a token',
      explanation: 'Only the part behind the colon is the token.',
      remedy: 'Paste what stands behind the colon.',
    },
    url: {
      title: 'That is a web address',
      explanation: 'There is no token in the address.',
      remedy: 'Paste the token here. The address of GitLab belongs into the field for the base URL.',
    },
    other_server: {
      title: 'The token belongs to another server',
      explanation: 'The text names another server than the base URL. The token was not sent.',
      remedy: 'Enter the base URL of the server that issued the token.',
    },
    ssh_key: {
      title: 'That is an SSH key',
      explanation: 'An SSH key opens no API, and this service does not use SSH.',
      remedy: 'Create an access token.',
    },
    pem: {
      title: 'That is a key or a certificate',
      explanation: 'A private key belongs nowhere but on your own machine.',
      remedy: 'Create an access token.',
    },
    session_cookie: {
      title: 'That is the cookie of a browser session',
      explanation: 'A session opens no API, and ends when you sign out.',
      remedy: 'Create an access token.',
    },
    access_key: {
      title: 'That is an access key of this service',
      explanation: 'GitLab does not know access keys. The key was sent nowhere.',
      remedy: 'Paste a token of GitLab here.',
    },
    client_secret: {
      title: 'That is the secret of an OAuth app',
      explanation: 'An admin enters the secret of an app where the app is registered.',
      remedy: 'Paste an access token here.',
    },
    not_a_client_secret: {
      title: 'That is an access token',
      explanation: 'The secret of an app stands beside its id at GitLab.',
      remedy: 'Copy the secret of the app.',
    },
  } satisfies Record<PastedFault, Advice>,

  /** What a token that GitLab does not know looks like by its prefix. */
  looksLike: {
    deploy_token: {
      title: 'This is a deploy token',
      explanation: 'A deploy token cannot call the API.',
      remedy: CREATE_ANOTHER,
    },
    job_token: {
      title: 'This is a CI/CD job token',
      explanation: 'A job token ends with its job.',
      remedy: CREATE_ANOTHER,
    },
    runner_token: {
      title: 'This is a runner token',
      explanation: 'A runner token registers runners and opens no repository.',
      remedy: CREATE_ANOTHER,
    },
    feed_token: {
      title: 'This is a feed token',
      explanation: 'A feed token opens feeds and calendars only.',
      remedy: CREATE_ANOTHER,
    },
    trigger_token: {
      title: 'This is a pipeline trigger token',
      explanation: 'A trigger token starts pipelines only.',
      remedy: CREATE_ANOTHER,
    },
    incoming_mail_token: {
      title: 'This is an incoming mail token',
      explanation: 'An incoming mail token is for e-mail only.',
      remedy: CREATE_ANOTHER,
    },
    agent_token: {
      title: 'This is a token of an agent for Kubernetes',
      explanation: 'The token of an agent cannot call the API.',
      remedy: CREATE_ANOTHER,
    },
    scim_token: {
      title: 'This is a SCIM token',
      explanation: 'A SCIM token provisions accounts only.',
      remedy: CREATE_ANOTHER,
    },
    feature_flags_client_token: {
      title: 'This is a token of a feature flags client',
      explanation: 'Such a token reads feature flags only.',
      remedy: CREATE_ANOTHER,
    },
    workspace_token: {
      title: 'This is a workspace token',
      explanation: 'A workspace token cannot call the API.',
      remedy: CREATE_ANOTHER,
    },
    oauth_app_secret: {
      title: 'This is the secret of an OAuth app',
      explanation: 'An admin enters the secret where the app is registered.',
      remedy: CREATE_ANOTHER,
    },
    oauth_refresh_token: {
      title: 'This is an OAuth refresh token',
      explanation: 'A refresh token renews an access token and opens nothing itself.',
      remedy: CREATE_ANOTHER,
    },
    oauth_code: {
      title: 'This is an OAuth authorization code',
      explanation: 'A code is no token yet.',
      remedy: CREATE_ANOTHER,
    },
    github_token: {
      title: 'This is a token of GitHub',
      explanation: 'GitLab does not know tokens of GitHub.',
      remedy: CREATE_ANOTHER,
    },
    bitbucket_token: {
      title: 'This is a token of Bitbucket',
      explanation: 'GitLab does not know tokens of Bitbucket.',
      remedy: CREATE_ANOTHER,
    },
  } satisfies Record<LooksLike, Advice>,

  /** Each refusal that a person may meet, by problem code: what it means, and what to do. */
  advice: {
    token_unknown: ({ instance }) => ({
      title: 'GitLab does not know this token',
      explanation: `${instance} never issued this token, or has deleted it.`,
      remedy: 'Copy the whole token again. If another GitLab issued it, correct the base URL.',
    }),
    token_expired: () => ({
      title: 'The token has expired',
      explanation: 'The expiry date of the token has passed.',
      remedy: 'Create a new token with a later expiry date.',
    }),
    token_revoked: () => ({
      title: 'The token was revoked',
      explanation: 'Somebody has revoked the token, or GitLab did.',
      remedy: 'Create a new token.',
    }),
    user_blocked: ({ instance }) => ({
      title: 'The account is blocked',
      explanation: 'GitLab refuses the owner of the token, because the account is blocked.',
      remedy: `Ask an administrator of ${instance} to unblock the account, or use another account.`,
    }),
    missing_scopes: ({ missing }) => ({
      title: missing ? `The token lacks ${missing}` : 'The token lacks scopes',
      explanation: 'GitLab fixes the scopes when a token is created. Nobody can add scopes later.',
      remedy: 'Create a new token with the missing scopes.',
    }),
    clone_right_unproven: () => ({
      title: 'Name a private project or group',
      explanation:
        'GitLab does not tell whether this fine-grained token may clone. A public project opens for everybody and proves nothing.',
      remedy:
        'Enter the path of a private project or group that the token is for: the right is proven there.',
    }),
    group_required: () => ({
      title: 'GitLab does not say what this token reaches',
      explanation:
        'The token can clone only, and this version of GitLab does not list the groups and projects of such a token.',
      remedy: 'Enter the path of its project in the field Group, or create a token with read_api as well.',
    }),
    group_out_of_reach: ({ group }) => ({
      title: group ? `The token does not reach ${group}` : 'The token does not reach the group',
      explanation:
        'The name of the group is misspelt, or the owner of the token is not a member of the group.',
      remedy: 'Copy the path from the address bar of GitLab, or ask an owner of the group for access.',
    }),
    wrong_token_kind: () => ({
      title: 'This kind of token belongs elsewhere',
      explanation:
        'This page has one form for OAuth access tokens and one form for personal, group and project access tokens.',
      remedy: 'Paste the token into the other form.',
    }),
    dpop_required: () => ({
      title: 'The account requires DPoP',
      explanation: 'The owner requires DPoP for API calls. Stored tokens do not work with DPoP.',
      remedy: 'Switch DPoP off in the GitLab preferences of the account, or use another account.',
    }),
    instance_not_registered: ({ instance }) => ({
      title: 'This GitLab is not registered here',
      explanation: `No admin has registered ${instance}, so no token is sent there.`,
      remedy: 'Check the address, or ask an admin to register this GitLab.',
    }),
    host_not_found: ({ instance }) => ({
      title: 'There is no server of this name',
      explanation: `DNS knows no host of the name in ${instance}.`,
      remedy:
        'Check the spelling. If the name is right, the GitLab is in a network that this service cannot see.',
    }),
    invalid_group: () => ({
      title: 'That is not a group or project',
      explanation: 'The group is its path, such as acme/platform, or its address on the same GitLab.',
      remedy: 'Copy the address of the group from the address bar, or leave the field empty.',
    }),
    not_a_gitlab: ({ instance }) => ({
      title: 'There is no GitLab at this address',
      explanation: `${instance} does not answer as a GitLab server does.`,
      remedy: 'Enter the address that you use for GitLab in the browser, including its path and https.',
    }),
    tls_not_trusted: ({ instance }) => ({
      title: 'The certificate is not trusted',
      explanation: `The TLS certificate of ${instance} names another server, has expired, comes without its intermediate certificate, or from a private authority.`,
      remedy:
        'An admin can add the certificate of the authority or of the server to the instance (ca_certificate).',
    }),
    address_not_allowed: ({ instance }) => ({
      title: 'This address is not allowed',
      explanation: `${instance} is in a private network or uses plain http. No admin has allowed that.`,
      remedy: 'An admin can allow the address for the instance (allow_private_network).',
    }),
    invalid_base_url: () => ({
      title: 'That is not the address of a server',
      explanation: 'The GitLab base URL is the address in the address bar when you open GitLab.',
      remedy: 'Enter the whole address, such as https://gitlab.com.',
    }),
    invalid_settled_server: () => ({
      title: 'This link is for another GitLab',
      explanation: 'The link works for one GitLab alone, and the token was meant for another one.',
      remedy: 'Open the page of the link again, and leave the base URL as it is.',
    }),
    invalid_named_server: () => ({
      title: 'The form names two servers',
      explanation: 'The chosen app belongs to one GitLab, and the base URL names another.',
      remedy: 'Leave the base URL empty, or choose “another app”.',
    }),
    invalid_token: () => ({
      title: 'That is not a whole token',
      explanation:
        'A token is one word of letters, digits, dots, dashes and underscores, 8 characters or longer.',
      remedy: 'Copy the token again, without anything before or after it.',
    }),
    invalid_oauth_app: () => ({
      title: 'The token belongs to another app',
      explanation: 'GitLab issued the token to another app. Only that app can renew the token.',
      remedy: 'Choose that app, or leave the refresh token empty.',
    }),
    gitlab_unavailable: ({ instance }) => ({
      title: 'GitLab does not answer',
      explanation: `${instance} does not answer right now, or limits our requests. Nothing was changed.`,
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
    refresh_token_refused: () => ({
      title: 'A connected account stopped working',
      explanation:
        'Somebody took the access back at GitLab, GitLab blocked the user, or another service used the refresh token.',
      remedy: 'Press Reconnect, and sign in as the same GitLab user.',
    }),
    session_expired: () => ({
      title: 'This link has expired or was used',
      explanation:
        'A connect link works once, for a short time only, and no longer than the access key that made the link.',
      remedy: 'Ask the person who sent you this link for a new one.',
    }),
    access_denied: () => ({
      title: 'Access was not granted',
      explanation: 'Somebody pressed Deny at GitLab, so nothing was connected.',
      remedy: 'Connect again and press Authorize.',
    }),
    invalid_state: () => ({
      title: 'The answer belongs to another browser',
      explanation:
        'You started in another browser, at another address of this page, or more than 10 minutes ago. Or you started again in another tab since.',
      remedy: 'Start again here, and stay in this tab.',
    }),
    callback_replayed: () => ({
      title: 'This answer was used already',
      explanation: 'Each answer of GitLab counts once. A reload or the back button sends the answer again.',
      remedy: 'Check whether the account is connected. If not, start again.',
    }),
    code_refused: () => ({
      title: 'GitLab refused its own code',
      explanation: 'The code from GitLab was no longer valid. Perhaps the answer took too long.',
      remedy: 'Start again.',
    }),
    device_grant_unsupported: () => ({
      title: 'This GitLab issues no codes',
      explanation:
        'GitLab has codes for devices since version 17.9. This one is older, or has them switched off.',
      remedy: 'Connect by OAuth or with a token instead.',
    }),
    device_code_expired: () => ({
      title: 'The code was not entered in time',
      explanation: 'A code lives for some minutes only. Nothing was connected.',
      remedy: 'Start again, and enter the new code.',
    }),
    authorization_failed: () => ({
      title: 'GitLab did not authorize',
      explanation: 'GitLab reported a fault in the OAuth app or in the request. Nothing was connected.',
      remedy: 'An admin should compare the scopes of the OAuth app here and at GitLab.',
    }),
    oauth_app_rejected: () => ({
      title: 'GitLab refuses the OAuth app',
      explanation: 'The client id or the secret of the app differs from the one at GitLab.',
      remedy: 'An admin has to correct the secret of the OAuth app here.',
    }),
    different_identity: () => ({
      title: 'That token belongs to somebody else',
      explanation: 'The new token must belong to the same GitLab user and be of the same kind.',
      remedy:
        'Sign in to GitLab as that user and create the token there. To let another user take over, ask for a link that reconnects this account.',
    }),
    rotation_refused: () => ({
      title: 'GitLab did not rotate the token',
      explanation: 'The settings of GitLab, or of the group, do not allow the rotation.',
      remedy: 'Create a new token at GitLab, then press Replace token.',
    }),
    needs_reauthorization: () => ({
      title: 'A person has to reconnect the account',
      explanation: 'GitLab no longer accepts the stored token.',
      remedy: 'Press Reconnect, or replace the token.',
    }),
    sync_disabled: () => ({
      title: 'The reading of projects is switched off',
      explanation: 'Whoever runs this service has switched it off. Scans work without it.',
      remedy: 'Ask an admin of this service to switch it on.',
    }),
    token_in_use: () => ({
      title: 'The token is in use',
      explanation: 'A scan uses the token right now and would fail.',
      remedy: 'Try again when the scan has ended.',
    }),
    forbidden: () => ({
      title: 'This is not allowed here',
      explanation: 'Your link or access key does not allow this.',
      remedy: 'Ask for a link or a key that does.',
    }),
    not_found: () => ({
      title: 'There is nothing here',
      explanation: 'Somebody deleted it, or it belongs to another organization.',
      remedy: 'Go back and choose from the list.',
    }),
    unauthorized: () => ({
      title: 'You are not signed in',
      explanation: 'The sign-in has ended, or the access key was deleted.',
      remedy: 'Sign in again.',
    }),
    database_unavailable: () => ({
      title: 'The service is not ready',
      explanation: 'The database of the service does not answer right now.',
      remedy: 'Try again in a minute.',
    }),
    internal_error: () => ({
      title: 'Something went wrong here',
      explanation: 'The fault is ours, not yours. The log of the service has the details.',
      remedy: 'Try again. If it keeps happening, give an admin the request id below.',
    }),
  } as Partial<Record<string, (facts: AdviceFacts) => Advice>>,
}

export type Texts = typeof texts
