#!/usr/bin/env bash
# Type-checks front ends of every kind against the generated types: each package has its own
# versions of tRPC; the contract in schema/ and the sample lie in its node_modules, as npm would
# put them there.
#
#   tests/types/run.sh [package…]      prints `N passed, N failed`; fails if any failed
set -uo pipefail
cd "$(dirname "$0")"

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

if [ $# -eq 0 ]; then
  set -- client react v10 merge
fi
if [ ! -f ../../schema/app-router.ts ]; then
  result schema/app-router.ts 1 'is missing; `modelramp schema` writes it'
fi

for package in "$@"; do
  # npm writes this last.
  if [ ! "$package/node_modules/.package-lock.json" -nt "$package/package-lock.json" ] &&
    ! output=$(cd "$package" && npm ci --no-audit --no-fund --loglevel=error 2>&1); then
    result "$package: npm ci" 1 "$output"
    continue
  fi
  rm -rf "$package"/node_modules/modelramp-{sample,schema}
  cp -R sample "$package/node_modules/modelramp-sample"
  if [ -d ../../schema ]; then
    cp -R ../../schema "$package/node_modules/modelramp-schema"
  fi
  for project in "$package"/tsconfig.*.json; do
    output=$("$package/node_modules/.bin/tsc" --noEmit --project "$project" 2>&1)
    result "$project" $? "$output"
  done
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
