#!/bin/sh
# Makes the secrets that docker-compose.yml hands to the containers, in secrets/. Those that are there stay.
# Compose mounts each file as it is, and the users in the containers are not you: so the files can be read by all,
# and the folder entered by you alone.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
chmod 700 secrets

# 32 random bytes in base64url: nothing in it needs escaping in a URL or a header.
random() {
  head -c 32 /dev/urandom | base64 | tr -d '=\n' | tr '+/' '-_'
}

keep_or_make() {
  if [ -e "secrets/$1" ]; then
    echo "secrets/$1 is there already"
  else
    printf '%s\n' "$2" >"secrets/$1"
    echo "secrets/$1 made"
  fi
  chmod 444 "secrets/$1"
}

# The database of an earlier version was used as its superuser: from now on as a role that only serves.
if grep -qs '//broker:' secrets/database_url; then
  rm -f secrets/database_url
fi

url_of() {
  echo "postgresql://$1:$(cat "secrets/$2")@database:5432/broker"
}

keep_or_make database_password "$(random)"
keep_or_make migrate_password "$(random)"
keep_or_make serve_password "$(random)"
keep_or_make audit_password "$(random)"
keep_or_make database_admin_url "$(url_of broker database_password)"
keep_or_make database_migrate_url "$(url_of broker_migrate migrate_password)"
keep_or_make database_url "$(url_of broker_serve serve_password)"
keep_or_make master_key "$(random)"
keep_or_make bootstrap_admin_key "$(random)"
