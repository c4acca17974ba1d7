/** What we caused of 400, 401 and 403 in a minute; all replicas together. */
export type InstanceRefusals = {
  instance_id: string
  minute: Date
  refusals: number
}

export type InstanceBans = {
  instance_id: string
  banned_until: Date
}

/** Many connections that GitLab refuses at once. */
export type IncidentsTable = {
  id: string
  instance_id: string
  /** null = pasted tokens. */
  oauth_app_id: string | null
  oauth_app_version: number | null
  cause: string
  connections: number
  /** The connection that is tried for all, and when it was last. */
  canary_id: string
  canary_at: Date
  opened_at: Date
  last_refused_at: Date
  /** GitLab has refused the canary for good. */
  told_at: Date | null
  closed_at: Date | null
}
