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

keep_or_make database_password "$(random)"
keep_or_make database_url "postgresql://broker:$(cat secrets/database_password)@database:5432/broker"
keep_or_make master_key "$(random)"
keep_or_make bootstrap_admin_key "$(random)"
