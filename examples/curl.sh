#!/bin/sh
# One lookup with curl: a token that lives half an hour, a call to GitLab's API, and the lease given back.
# BROKER, SCANNER_KEY, ORGANIZATION and REPOSITORY are in the environment.
set -eu

# The key goes in by standard input: no list of processes shows it.
broker() { printf 'Authorization: Bearer %s' "$SCANNER_KEY" | curl -sS -H @- "$@"; }
field() { printf %s "$answer" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; } # or jq

answer=$(broker --fail-with-body --get "$BROKER/v1/credentials" --data-urlencode "url=$REPOSITORY" \
  -d "organization=$ORGANIZATION" -d min_ttl=1800 -d purpose=example) ||
  { echo "No token: $(field code). $(field detail)" >&2; exit 1; }
# Done, or failed: from then on others may have the token renewed without breaking this job.
trap 'broker -X DELETE "$BROKER/v1/leases/$(field lease_id)"' EXIT

# No -L: a key or token goes where it was meant to go, and to no other host.
status=$(printf '%s: %s' "$(field header)" "$(field value)" |
  curl -sS -o /dev/null -w '%{http_code}' -H @- "$(field base_url)/api/v4/projects?membership=true&per_page=1")
[ "$status" = 200 ] || { echo "GitLab answers $status" >&2; exit 1; }
until=$(field expires_at)
echo "The token works until ${until:-somebody ends it}."
