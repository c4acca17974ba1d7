// @ts-nocheck -- generated from openapi.yaml by oazapfts: npm run fix writes it anew. Its types hold for whoever imports.
/**
 * gitlab-token-broker
 * DO NOT MODIFY - This file has been generated using oazapfts.
 * See https://www.npmjs.com/package/oazapfts
 */
import * as Oazapfts from "@oazapfts/runtime";
import * as QS from "@oazapfts/runtime/query";
export const defaults: Oazapfts.Defaults<Oazapfts.CustomHeaders> = {
    headers: {},
    baseUrl: ""
};
const oazapfts = Oazapfts.runtime(defaults);
export const servers = {
    server1: "/"
};
export type Credential = {
    /** Id of the lease: the promise that this version of the token stays usable. Release it when the scan is done. */
    lease_id: string;
    /** Id of the connection. */
    connection_id: string;
    /** Slug of an organization: a tenant of your platform. */
    organization: string;
    /** Base URL of the GitLab instance. */
    base_url: string;
    /** The token itself. */
    token: string;
    /** The kind of the token. A group or project token with neither read_user nor read_api looks like a personal one. */
    token_kind: "oauth_access_token" | "personal_access_token" | "group_access_token" | "project_access_token";
    /** Counts up each time the stored token changes. */
    token_version: number;
    /** Scopes of the token at GitLab. */
    scopes: string[];
    /** When the token ends; null: never (RFC 3339, UTC). */
    expires_at: string | null;
    /** Seconds until the token ends. null: never. */
    expires_in: number | null;
    /** User name and password for Git over HTTPS. */
    git: {
        username: string;
        password: string;
    };
    /** Name and value of the header for calls to the GitLab API. */
    api: {
        header: string;
        value: string;
    };
};
export type WrappedCredential = {
    /** Of the lease. */
    lease_id: string;
    /** Of the connection. */
    connection_id: string;
    /** Slug of an organization: a tenant of your platform. */
    organization: string;
    /** Of the GitLab instance. */
    base_url: string;
    /** Opens the lease once: POST /v1/leases/{id}/open. */
    handle: string;
    /** When the handle ends (RFC 3339, UTC). */
    expires_at: string;
};
export type Problem = {
    /** Always about:blank: the code says what the problem is. */
    "type": string;
    /** The code as a sentence. */
    title: string;
    /** The status of the answer. */
    status: number;
    /** For people. The text may change. */
    detail: string;
    /** Stable: programs branch on the code. */
    code: "invalid_request" | "organization_required" | "unauthorized" | "forbidden" | "not_found" | "payload_too_large" | "unknown_host" | "unsupported_media_type" | "issuer_unavailable" | "rate_limited" | "instance_exists" | "instance_in_use" | "oauth_app_exists" | "oauth_app_in_use" | "trusted_issuer_exists" | "token_unknown" | "token_expired" | "token_revoked" | "user_blocked" | "user_deactivated" | "user_pending_approval" | "user_terms_not_accepted" | "user_unconfirmed" | "user_password_expired" | "user_internal" | "user_refused" | "sso_required" | "ip_not_allowed" | "fine_grained_required" | "missing_scopes" | "clone_right_unproven" | "group_out_of_reach" | "group_required" | "wrong_token_kind" | "different_identity" | "rotation_refused" | "dpop_required" | "instance_not_registered" | "host_not_found" | "not_a_gitlab" | "tls_not_trusted" | "address_not_allowed" | "gitlab_unavailable" | "address_banned" | "no_connection_for_url" | "needs_reauthorization" | "connection_expired" | "connection_revoked" | "sync_disabled" | "token_in_use" | "sealed_answer_required" | "no_encryption_key" | "idempotency_key_reused" | "batch_in_progress" | "deadline_passed" | "already_opened" | "lease_ended" | "handle_expired" | "token_works" | "not_refreshable" | "min_ttl_unattainable" | "oauth_app_rejected" | "session_expired" | "access_denied" | "invalid_state" | "callback_replayed" | "code_refused" | "device_grant_unsupported" | "device_code_expired" | "authorization_failed" | "internal_error" | "database_unavailable" | "draining" | "not_ready" | "overloaded";
    /** The log of the service has this id, too. */
    request_id: string;
    /** `invalid_request`: which field is wrong, and how. */
    errors?: {
        /** Path of the field. It ends where the path would repeat what you sent. */
        field: string;
        /** For people. */
        message: string;
        /** Of a token or secret: what is wrong with the text, for programs. */
        reason?: "empty" | "too_short" | "quotes" | "has_spaces" | "broken_lines" | "several" | "dash" | "not_ascii" | "control" | "placeholder" | "masked" | "basic" | "base64" | "user_and_token" | "url" | "other_server" | "ssh_key" | "pem" | "session_cookie" | "access_key" | "client_secret" | "not_a_client_secret";
    }[];
    /** `token_in_use`: when the last lease on the token ends (RFC 3339, UTC). */
    leased_until?: string;
    /** `wrong_token_kind`: what a token that GitLab does not know looks like by its prefix, such as `deploy_token`. */
    looks_like?: string;
    /** `missing_scopes`: which scopes the token lacks. */
    missing_scopes?: string[];
    /** `no_connection_for_url`: the connections that cover the URL and cannot be used. */
    candidates?: {
        /** Id of the connection. */
        connection_id: string;
        /** Slug of an organization: a tenant of your platform. */
        organization: string;
        /** Group or project to which the connection is limited. */
        group: string | null;
        /** Only an `active` connection hands out tokens. */
        status: "active" | "needs_reauthorization" | "revoked" | "expired";
    }[];
    /** Base URL of the registered instance that may be meant, where `base_url` led to none. Of the codes that are about an address. */
    did_you_mean?: string;
    /** `no_connection_for_url`: a connection covers the path on the same host, with another scheme or port; or the host is the container registry of its instance. */
    hint?: {
        reason: "other_scheme" | "other_port" | "container_registry";
        /** Where the connection is that would cover the URL. */
        base_url: string;
    };
    /** Of `needs_reauthorization`, `connection_expired`, `connection_revoked`, `min_ttl_unattainable` and `token_works`: id of the connection. */
    connection_id?: string;
    /** `needs_reauthorization`, `connection_expired`, `connection_revoked`: why the connection is not active. */
    status_reason?: ("token_unknown" | "token_expired" | "token_revoked" | "user_blocked" | "user_deactivated" | "user_pending_approval" | "user_terms_not_accepted" | "user_unconfirmed" | "user_password_expired" | "user_internal" | "user_refused" | "sso_required" | "ip_not_allowed" | "fine_grained_required" | "refresh_token_refused" | "refresh_answer_lost" | "rotation_answer_lost" | "database_went_back" | "rotation_refused" | "missing_scopes" | null) | ("token_unknown" | "token_expired" | "token_revoked" | "user_blocked" | "user_deactivated" | "user_pending_approval" | "user_terms_not_accepted" | "user_unconfirmed" | "user_password_expired" | "user_internal" | "user_refused" | "sso_required" | "ip_not_allowed" | "fine_grained_required" | "refresh_token_refused" | "refresh_answer_lost" | "rotation_answer_lost" | "database_went_back" | "rotation_refused" | "missing_scopes" | null);
    /** `gitlab_unavailable`: a proxy on the way let nothing through, and why. */
    proxy_fault?: "proxy_unreachable" | "credentials_required" | "target_unreachable" | "refused" | "name_not_resolved";
    /** `tls_not_trusted`: what is wrong with the certificate or with TLS. */
    tls_fault?: "unknown_authority" | "intermediate_missing" | "self_signed" | "certificate_expired" | "certificate_not_yet_valid" | "certificate_revoked" | "wrong_host_name" | "certificate_invalid" | "client_certificate_required" | "tls_too_old" | "no_tls" | "handshake_failed";
    /** `min_ttl_unattainable`: when the token ends; null: never (RFC 3339, UTC). */
    expires_at?: string | null;
    /** `token_works`: scopes of the token. */
    scopes?: string[];
    /** Seconds after which to ask again: of a result of a batch, in place of the header. */
    retry_after?: number;
    [key: string]: any;
};
export type ReleasedLeases = {
    /** These leases are released. */
    released: string[];
    /** These leases do not exist for your key. */
    not_found: string[];
};
export type Candidate = {
    /** Id of the connection. */
    connection_id: string;
    /** Slug of an organization: a tenant of your platform. */
    organization: string;
    /** Base URL of the GitLab instance. */
    base_url: string;
    /** Group or project to which the connection is limited. null: everything that its token reaches. */
    group: string | null;
    /** Only an `active` connection hands out tokens. */
    status: "active" | "needs_reauthorization" | "revoked" | "expired";
    /** Whether a lookup gets the token of this connection. */
    won: boolean;
    /** Why it won or lost, as a sentence for people. */
    reason: string;
};
export type ShortConditions = {
    /** Base URL of the instance. */
    base_url: string;
    /** The worst of what follows. */
    state: "clear" | "throttled" | "incident" | "failing" | "banned";
    /** What keeps tokens from being renewed or checked there. null: nothing. */
    detail: string | null;
};
export type Explanation = {
    /** none: no connection covers the URL, or none that does can be used. */
    result: "winner" | "none";
    /** Best first. */
    candidates: Candidate[];
    /** The weather at the instances of the candidates. */
    conditions: ShortConditions[];
};
export type TokenExchange = {
    /** The GitLab token. */
    access_token: string;
    issued_token_type: "urn:ietf:params:oauth:token-type:access_token";
    token_type: "Bearer";
    /** Seconds; left out when the token never ends. */
    expires_in?: number;
    scope: string;
    /** Of the lease. Release it when done, with the JWT as the bearer. */
    lease_id: string;
};
export type OAuthError = {
    /** RFC 6749, section 5.2, and RFC 8707. */
    error: string;
    /** For people. */
    error_description: string;
    /** The code of the problem, as other operations answer it. */
    code?: string;
    /** Find it in the log of the service. */
    request_id: string;
};
export type CredentialBatch = {
    /** In the order of the requests. A credential has `lease_id`, a problem has `code`, and `retry_after` in seconds where asking again makes sense. */
    results: (Credential | Problem)[];
};
export type PreflightCheck = {
    /** `instance`: the GitLab is known. `connection`: one covers the URL, and why this one. `status`: it is active. `token`: a working one is at hand. `scopes`: they suffice to read code. `git`: GitLab serves the repository to the token. `project`: the API shows the project. `lifetime`: the token lives to the end of the scan. `url`: the URL cannot be checked. */
    name: "url" | "instance" | "connection" | "status" | "token" | "scopes" | "git" | "project" | "lifetime";
    /** fail: the scan cannot succeed. warn: it can, if you heed the cure. */
    outcome: "pass" | "warn" | "fail" | "skipped";
    /** What was found, for people. */
    detail: string;
    /** What to do about it. null: nothing. */
    cure: string | null;
};
export type Preflight = {
    /** As you sent it, without credentials. */
    url: string;
    /** No check fails. */
    ready: boolean;
    /** In the order in which a person would look. */
    checks: PreflightCheck[];
};
export type Preflights = {
    /** Every repository is ready. */
    ready: boolean;
    /** In the order of the URLs. */
    results: Preflight[];
};
export type AuthorizationServerMetadata = {
    issuer: string;
    token_endpoint: string;
    grant_types_supported: string[];
    response_types_supported: string[];
    token_endpoint_auth_methods_supported: string[];
    service_documentation: string;
};
/**
 * Get a working token of a connection
 */
export function getCredential(id: string, { minTtl, onConflict, purpose, wrap }: {
    minTtl?: number;
    onConflict?: "respect" | "preempt";
    purpose?: string;
    wrap?: boolean;
} = {}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: Credential | WrappedCredential;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 406;
        data: Problem;
    } | {
        status: 409;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 422;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>(`/v1/connections/${encodeURIComponent(id)}/credential${QS.query(QS.explode({
        min_ttl: minTtl,
        on_conflict: onConflict,
        purpose,
        wrap
    }))}`, {
        ...opts
    });
}
/**
 * Open a wrapped lease
 */
export function openLease(id: string, body: {
    handle: string;
}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: Credential;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 406;
        data: Problem;
    } | {
        status: 409;
        data: Problem;
    } | {
        status: 410;
        data: Problem;
    } | {
        status: 413;
        data: Problem;
    } | {
        status: 415;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 422;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>(`/v1/leases/${encodeURIComponent(id)}/open`, oazapfts.json({
        ...opts,
        method: "POST",
        body
    }));
}
/**
 * Release a lease
 */
export function releaseLease(id: string, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 204;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 413;
        data: Problem;
    } | {
        status: 415;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>(`/v1/leases/${encodeURIComponent(id)}`, {
        ...opts,
        method: "DELETE"
    });
}
/**
 * Release many leases
 */
export function releaseLeases(body: {
    /** Up to 1,000 ids. */
    ids: string[];
}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: ReleasedLeases;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 413;
        data: Problem;
    } | {
        status: 415;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>("/v1/leases", oazapfts.json({
        ...opts,
        method: "DELETE",
        body
    }));
}
/**
 * Keep a token for longer
 */
export function extendLease(id: string, body: {
    /** Seconds that the token has to live from now on. */
    min_ttl: number;
}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: Credential;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 406;
        data: Problem;
    } | {
        status: 409;
        data: Problem;
    } | {
        status: 413;
        data: Problem;
    } | {
        status: 415;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 422;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>(`/v1/leases/${encodeURIComponent(id)}/extend`, oazapfts.json({
        ...opts,
        method: "POST",
        body
    }));
}
/**
 * Report that GitLab refused the token
 */
export function rejectLease(id: string, { url }: {
    url?: string;
} = {}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: Credential;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 406;
        data: Problem;
    } | {
        status: 409;
        data: Problem;
    } | {
        status: 413;
        data: Problem;
    } | {
        status: 415;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 422;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>(`/v1/leases/${encodeURIComponent(id)}/rejection${QS.query(QS.explode({
        url
    }))}`, {
        ...opts,
        method: "POST"
    });
}
/**
 * Get a working token for a repository or group
 */
export function findCredential(url: string, { organization, minTtl, onConflict, purpose, wrap }: {
    organization?: string;
    minTtl?: number;
    onConflict?: "respect" | "preempt";
    purpose?: string;
    wrap?: boolean;
} = {}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: Credential | WrappedCredential;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 406;
        data: Problem;
    } | {
        status: 409;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 422;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>(`/v1/credentials${QS.query(QS.explode({
        url,
        organization,
        min_ttl: minTtl,
        on_conflict: onConflict,
        purpose,
        wrap
    }))}`, {
        ...opts
    });
}
/**
 * Explain which connection a URL would get
 */
export function explainCredential(url: string, { organization, minTtl }: {
    organization?: string;
    minTtl?: number;
} = {}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: Explanation;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>(`/v1/credentials/explain${QS.query(QS.explode({
        url,
        organization,
        min_ttl: minTtl
    }))}`, {
        ...opts
    });
}
/**
 * Exchange the token of a workload for a GitLab token
 */
export function exchangeToken(body: {
    grant_type: string;
    /** The JWT of a trusted issuer. */
    subject_token: string;
    subject_token_type: string;
    /** URL of a repository or group: https://host/group/project(.git), git@host:group/project.git, ssh://... */
    resource: string;
    requested_token_type?: string;
    /** Not supported. */
    actor_token?: string;
    /** Slug of an organization: a tenant of your platform. */
    organization?: string;
    /** Seconds that the token must live at least. */
    min_ttl?: string;
    /** For the record, such as a scan id. */
    purpose?: string;
}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: TokenExchange;
    } | {
        status: 400;
        data: OAuthError;
    } | {
        status: 401;
        data: OAuthError;
    } | {
        status: 413;
        data: OAuthError;
    } | {
        status: 415;
        data: OAuthError;
    } | {
        status: 429;
        data: OAuthError;
    } | {
        status: 500;
        data: OAuthError;
    } | {
        status: 503;
        data: OAuthError;
    }>("/v1/token", oazapfts.form({
        ...opts,
        method: "POST",
        body
    }));
}
/**
 * Get many working tokens at once
 */
export function getCredentials(body: {
    requests: {
        /** URL of a repository or group: https://host/group/project(.git), git@host:group/project.git, ssh://... */
        url?: string;
        /** Instead of the URL: id of the connection. */
        connection_id?: string;
        /** Slug of an organization: a tenant of your platform. */
        organization?: string;
        /** Seconds that the token has to live. When you leave it out, the service tries for 300 and gives less while others use the token. */
        min_ttl?: number;
        /** What happens when the token has to be refreshed and others hold leases. respect: the answer is 409 token_in_use. preempt: the service refreshes, and their token stops working. */
        on_conflict?: "respect" | "preempt";
        /** Why you ask, such as the id of a scan. The lease records it. */
        purpose?: string;
    }[];
}, { prefer, idempotencyKey }: {
    prefer?: string;
    idempotencyKey?: string;
} = {}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: CredentialBatch;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 406;
        data: Problem;
    } | {
        status: 409;
        data: Problem;
    } | {
        status: 413;
        data: Problem;
    } | {
        status: 415;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 422;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>("/v1/credentials/batch", oazapfts.json({
        ...opts,
        method: "POST",
        body,
        headers: oazapfts.mergeHeaders(opts?.headers, {
            prefer,
            "idempotency-key": idempotencyKey
        })
    }));
}
/**
 * Check whether repositories can be scanned
 */
export function preflightCredential(body: {
    /** URL of a repository or group: https://host/group/project(.git), git@host:group/project.git, ssh://... */
    url?: string;
    /** Instead of `url`. */
    urls?: string[];
    /** Slug of an organization: a tenant of your platform. */
    organization?: string;
    /** How long the scan takes. */
    scan_seconds?: number;
}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: Preflight | Preflights;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 401;
        data: Problem;
    } | {
        status: 403;
        data: Problem;
    } | {
        status: 404;
        data: Problem;
    } | {
        status: 413;
        data: Problem;
    } | {
        status: 415;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>("/v1/credentials/preflight", oazapfts.json({
        ...opts,
        method: "POST",
        body
    }));
}
/**
 * Answer Git's credential helper: get
 */
export function getGitCredential(body: string, { organization, minTtl, purpose }: {
    organization?: string;
    minTtl?: number;
    purpose?: string;
} = {}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchText(`/v1/git-credential/get${QS.query(QS.explode({
        organization,
        min_ttl: minTtl,
        purpose
    }))}`, {
        ...opts,
        method: "POST",
        body
    });
}
/**
 * Answer Git's credential helper: store
 */
export function storeGitCredential(body: string, { organization, minTtl, purpose }: {
    organization?: string;
    minTtl?: number;
    purpose?: string;
} = {}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchText(`/v1/git-credential/store${QS.query(QS.explode({
        organization,
        min_ttl: minTtl,
        purpose
    }))}`, {
        ...opts,
        method: "POST",
        body
    });
}
/**
 * Answer Git's credential helper: erase
 */
export function eraseGitCredential(body: string, { organization, minTtl, purpose }: {
    organization?: string;
    minTtl?: number;
    purpose?: string;
} = {}, opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchText(`/v1/git-credential/erase${QS.query(QS.explode({
        organization,
        min_ttl: minTtl,
        purpose
    }))}`, {
        ...opts,
        method: "POST",
        body
    });
}
/**
 * Where tokens are exchanged
 */
export function getAuthorizationServerMetadata(opts?: Oazapfts.RequestOpts) {
    return oazapfts.fetchJson<{
        status: 200;
        data: AuthorizationServerMetadata;
    } | {
        status: 400;
        data: Problem;
    } | {
        status: 421;
        data: Problem;
    } | {
        status: 429;
        data: Problem;
    } | {
        status: 500;
        data: Problem;
    } | {
        status: 503;
        data: Problem;
    }>("/.well-known/oauth-authorization-server", {
        ...opts
    });
}
