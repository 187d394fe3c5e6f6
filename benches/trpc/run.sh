#!/usr/bin/env bash
# Measures aiMetrics.getSummary on modelramp, on @trpc/server (Node), and on a bare axum handler that
# returns the same bytes: interleaved, load on core 0, the server alone on core 1.
# Needs wrk and Node 20. Usage: benches/trpc/run.sh [ROUNDS [SECONDS]]
# BINARIES=folder takes modelramp and examples/bare_axum from there instead of building them.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-5} seconds=${2:-4}
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

binaries=${BINARIES:-$PWD/target/release}
[ -n "${BINARIES:-}" ] || cargo build --release --quiet --bin modelramp --example bare_axum
(cd benches/trpc && npm ci --no-audit --no-fund --loglevel=error)
binary=$binaries/modelramp

export APP_ENV=test DATABASE_URL="sqlite://$work/bench.db" PORT=4600 TRPC_METHOD_OVERRIDE=false
token=$("$binary" token --user 1 --role admin)
taskset -c 1 "$binary" serve >"$work/serve.log" 2>&1 & pids+=($!)
wait_for() { for _ in $(seq 100); do curl -sf -o /dev/null -H "authorization: Bearer $token" "$1" && return; sleep 0.1; done; echo "no answer from $1" >&2; exit 1; }
query='/api/trpc/aiMetrics.getSummary?input=%7B%22json%22%3A%7B%22lastMinutes%22%3A60%7D%7D'
names=$(printf 'aiMetrics.getSummary,%.0s' $(seq 10)); names=${names%,}
batch="/api/trpc/$names?batch=1&input=%7B%7D"
wait_for "http://127.0.0.1:4600$query"
curl -s -H "authorization: Bearer $token" "http://127.0.0.1:4600$query" >"$work/one.json"
curl -s -H "authorization: Bearer $token" "http://127.0.0.1:4600$batch" >"$work/ten.json"
taskset -c 1 node benches/trpc/server.mjs 4601 "$work/one.json" & pids+=($!)
taskset -c 1 "$binaries/examples/bare_axum" 4602 "$work/one.json" & pids+=($!)
taskset -c 1 "$binaries/examples/bare_axum" 4603 "$work/ten.json" & pids+=($!)
for port in 4601 4602; do wait_for "http://127.0.0.1:$port$query"; done
wait_for "http://127.0.0.1:4603$batch"

# One line a run: requests per second, p50 and p99 in milliseconds.
run() { # port path connections
  taskset -c 0 wrk -t1 -c"$3" -d"${seconds}s" --latency -H "authorization: Bearer $token" "http://127.0.0.1:$1$2" |
    awk 'function ms(v) { if (v ~ /us$/) return v/1000; if (v ~ /ms$/) return v+0; return v*1000 }
         $1=="50%" {p50=ms($2)} $1=="99%" {p99=ms($2)} /Requests\/sec/ {rps=$2} /Non-2xx/ {bad=" ERRORS " $0}
         END {printf "%s %.3f %.3f%s\n", rps, p50, p99, bad}'
}
median() { sort -n | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }

printf '%-34s %12s %10s %10s\n' case 'requests/s' 'p50 ms' 'p99 ms'
measure() { # title path connections bare-port
  for _ in $(seq "$rounds"); do
    for server in ours:4600 node:4601 "bare:$4"; do run "${server#*:}" "$2" "$3" >>"$work/$1.${server%:*}"; done
  done
  for server in ours node bare; do
    file="$work/$1.$server"
    grep ERRORS "$file" || true
    printf '%-34s %12s %10s %10s\n' "$1 $server" "$(cut -d' ' -f1 "$file" | median)" "$(cut -d' ' -f2 "$file" | median)" "$(cut -d' ' -f3 "$file" | median)"
  done
  awk -v o="$(cut -d' ' -f1 "$work/$1.ours" | median)" -v n="$(cut -d' ' -f1 "$work/$1.node" | median)" -v b="$(cut -d' ' -f1 "$work/$1.bare" | median)" \
      -v op="$(cut -d' ' -f3 "$work/$1.ours" | median)" -v np="$(cut -d' ' -f3 "$work/$1.node" | median)" \
      'BEGIN {printf "  → %.1f × node, %.2f × bare axum, p99 %.3f of node\n", o/n, o/b, op/np}'
}
measure single-c1 "$query" 1 4602
measure single-c16 "$query" 16 4602
measure single-c64 "$query" 64 4602
measure batch10-c16 "$batch" 16 4603

echo "1,000 open subscriptions, one event a second each:"
cpu() { awk '{print ($14+$15)*10}' "/proc/$1/stat"; } # milliseconds at 100 ticks a second
for server in ours:4600:0 node:4601:1; do
  IFS=: read -r name port index <<<"$server"
  before=$(cpu "${pids[$index]}")
  line=$(taskset -c 0 node benches/trpc/subscriptions.mjs "http://127.0.0.1:$port/api/trpc/aiMetrics.onSummary" "$token" 1000 12)
  echo "  $name $line cpu_ms=$(( $(cpu "${pids[$index]}") - before ))"
done
