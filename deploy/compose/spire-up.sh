#!/bin/sh
# Starts the Compose system with SPIRE, in the order in which trust comes about: the
# server; its agents, which get its bundle and a token each; who may be whom; the rest.
# Run it again after a change; "docker compose … down -v" forgets everything.
set -eu
cd "$(dirname "$0")"
COMPOSE_FILE=compose.yaml:spire.yaml
export COMPOSE_FILE
server=/opt/spire/bin/spire-server
socket="-socketPath /run/spire/server/private/api.sock"

docker compose build
docker compose up -d --wait spire-server
# shellcheck disable=SC2086 # two words
docker compose exec -T spire-server $server bundle show $socket > spire/bundle.pem

token() { # $1: the side, which is the node's ID too, the parent of the entries
  # shellcheck disable=SC2086
  docker compose exec -T spire-server $server token generate $socket \
    -spiffeID "spiffe://example.org/node/$1" | sed -n 's/^Token: *//p'
}
# An agent that was attested before has no use for another token.
if [ -z "$(docker compose ps -q spire-agent-outside)" ]; then
  SPIRE_TOKEN_OUTSIDE=$(token outside)
  SPIRE_TOKEN_INSIDE=$(token inside)
  export SPIRE_TOKEN_OUTSIDE SPIRE_TOKEN_INSIDE
fi
docker compose up -d spire-agent-outside spire-agent-inside
docker compose up spire-entries

# Prometheus gives its targets up where its certificate is not there when it starts.
docker compose up -d volumes
tries=0
until docker compose run --rm svid -config /etc/sallyport/helper.conf -daemon-mode=false; do
  tries=$((tries + 1))
  [ "$tries" -lt 15 ] || { echo "no SVID for Prometheus: see docker compose logs spire-agent-outside" >&2; exit 1; }
  sleep 2
done
docker compose up -d
