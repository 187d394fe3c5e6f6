#!/usr/bin/env bash
# Installs the contract as a front end does: `npm install file:…/schema`, once as the link that npm
# makes of a folder and once as the tarball of `npm pack`, in a new folder with nothing else around.
# There tsc must see the types (with every way to resolve modules, and with the strictest options)
# and must find what is wrong; a type that had become `any` would hide it.
#
#   tests/types/install.sh       prints `N passed, N failed`; fails if any failed
set -uo pipefail
cd "$(dirname "$0")"
here=$PWD
schema=$(cd ../../schema && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

passed=0
failed=0

# result NAME STATUS OUTPUT
result() {
  if [ "$2" -eq 0 ]; then
    echo "ok   $1"
    passed=$((passed + 1))
  else
    printf 'FAIL %s\n%s\n' "$1" "$3"
    failed=$((failed + 1))
  fi
}

tarball=$(cd "$schema" && npm pack --silent --pack-destination "$work")

# front_end NAME SOURCE TRPC
front_end() {
  local name=$1 folder=$work/$1 source=$2 trpc=$3 output resolution
  mkdir -p "$folder"
  cp "$here/install/$4" "$folder/front-end.ts"
  echo '{ "name": "front-end", "private": true, "type": "module" }' >"$folder/package.json"
  if ! output=$(cd "$folder" && npm install --no-audit --no-fund --loglevel=error "$source" \
    "@trpc/client@$trpc" "@trpc/server@$trpc" superjson@2.2.6 typescript@5.9.3 2>&1); then
    result "$name: npm install" 1 "$output"
    return
  fi
  for resolution in "ESNext Bundler" "Node16 Node16" "NodeNext NodeNext" "ESNext Node10"; do
    set -- $resolution
    output=$(cd "$folder" && node_modules/.bin/tsc --noEmit --strict --target ES2022 \
      --module "$1" --moduleResolution "$2" --exactOptionalPropertyTypes --noUnusedLocals \
      --noUnusedParameters --noUncheckedIndexedAccess --skipLibCheck --lib ES2022,DOM front-end.ts 2>&1)
    result "$name, moduleResolution $2" $? "$output"
  done
}

front_end link-11 "file:$schema" 11.25.2 v11.ts
front_end tarball-11 "$work/$tarball" 11.25.2 v11.ts
front_end link-11-first "file:$schema" 11.0.0 v11.ts
front_end link-10 "file:$schema" 10.45.4 v10.ts
front_end tarball-10 "$work/$tarball" 10.45.4 v10.ts

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
