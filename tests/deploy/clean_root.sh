#!/usr/bin/env bash
# Starts the program as its image does: in a folder that holds nothing but it and the libraries that it
# links, with the Dockerfile's own ENV, as its USER, and asks it by its HEALTHCHECK.
set -euo pipefail
program=$1

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
from_dockerfile() { sed -n "s/^$1 //p" Dockerfile; }

root=$(mktemp -d /tmp/modelramp-root.XXXXXX)
server=
trap '[ -z "$server" ] || as_root kill -KILL "$server" 2>/dev/null || true; as_root rm -rf "$root"' EXIT
chmod 755 "$root"
install -D "$program" "$root/usr/local/bin/modelramp"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
  install -D "$library" "$root$library"
done
# Of `ca-certificates`, which the image installs.
install -D /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
install -d -m 1777 "$root/tmp"
user=$(from_dockerfile USER)
as_root install -d -o "${user%:*}" -g "${user#*:}" "$root/data"

# `ENV` and the lines that go on from it, each NAME=VALUE.
mapfile -t settings < <(sed -n '/^ENV /,/[^\\]$/p' Dockerfile | grep -o '[A-Z_]*=[^ \\]*')
# A port of its own; the secrets that production asks for.
inside() {
  as_root env -i PATH=/usr/local/bin "${settings[@]}" PORT=39417 \
    JWT_SECRET=0123456789abcdef0123456789abcdef0123456789abcdef OPENROUTER_API_KEY=sk-or-v1-none \
    "$(command -v chroot)" --userspec="$user" "$root" "$@"
}
inside modelramp >"$root.log" 2>&1 &
for _ in $(seq 100); do
  if inside modelramp health >/dev/null 2>&1; then
    server=$(pgrep -n -x -U "${user%:*}" modelramp) && break
  fi
  sleep 0.2
done
if [ -z "$server" ]; then
  echo "it does not answer:" >&2
  cat "$root.log" >&2
  exit 1
fi
[ -f "$root/data/modelramp.db" ] || { echo "it keeps its database elsewhere" >&2; exit 1; }
as_root kill -TERM "$server"
wait %1 || { echo "it did not stop in order:" >&2; cat "$root.log" >&2; exit 1; }
server=
rm -f "$root.log"
echo "the image's program starts as user $user, answers and stops"
