import type { Clock } from '../clock/clock.ts'
import type { Database } from '../db/database.ts'
import type { Vault } from '../vault/vault.ts'
import type { InstanceClients } from './instance-clients.ts'

/** What it takes to call GitLab with a stored token, and to write down what GitLab says. */
export type GitLabAccess = { db: Database; vault: Vault; clock: Clock; instanceClients: InstanceClients }
