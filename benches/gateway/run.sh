#!/usr/bin/env bash
# Measures the gateway beside others: load and a model's server on core 0, one gateway at a time on core 1, rounds
# interleaved, medians. Ours has flags, a rollout with its evidence, metrics, a key and the log of calls switched on.
# Needs wrk, Node 20 and Python 3.11 with venv; a gateway that does not install or start is left out, and said so.
# Usage: benches/gateway/run.sh [ROUNDS [SECONDS]]
# BINARIES=folder takes modelramp and examples/gateway_upstream from there instead of building them; PEERS=folder has, or
# is given, what the others need; ONLY="ours vllm-router" leaves out the rest; SOAK=600 asks ours for ten minutes more, and says
# how much memory it holds meanwhile. What wrk cannot see is in scenes.mjs.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/benches/gateway
rounds=${1:-3} seconds=${2:-4}
work=$(mktemp -d)
declare -A pid=() url=() header=()
stop() { kill ${pid[$1]:-} 2>/dev/null || true; }
trap 'for it in "${!pid[@]}"; do stop "$it"; done; wait 2>/dev/null || true; rm -rf "$work"' EXIT

binaries=${BINARIES:-$PWD/target/release}
[ -n "${BINARIES:-}" ] || cargo build --release --locked --quiet --bin modelramp --example gateway_upstream
peers=${PEERS:-$PWD/target/bench-peers}
mkdir -p "$peers"
[ -d "$peers/v" ] || python3 -m venv "$peers/v"
while read -r package; do
  "$peers/v/bin/pip" install --quiet --disable-pip-version-check "$package" >&2 || echo "left out, as it does not install: $package" >&2
done <"$here/requirements.txt"
[ -d "$peers/node_modules" ] || { cp "$here/package.json" "$peers" && npm --prefix "$peers" install --no-audit --no-fund --loglevel=error >&2; } ||
  echo "left out, as it does not install: Portkey" >&2

wanted() { [[ " ${ONLY:-ours vllm-router tensorzero portkey litellm} " == *" $1 "* ]]; }
wait_for() { for _ in $(seq 300); do curl -sf -o /dev/null -m 2 "$@" && return; sleep 0.1; done; return 1; }
upstream=http://127.0.0.1:4700/v1
taskset -c 0 "$binaries/examples/gateway_upstream" 4700 & pid[upstream]=$!
wait_for "$upstream/models"
url[direct]=$upstream header[direct]=""

start() { # name, command …
  local name=$1; shift
  "$@" >"$work/$name.log" 2>&1 & pid[$name]=$!
}
answers() { # name: whether it answers a request; prints why not
  local headers=(-H 'content-type: application/json')
  while read -r line; do [ -z "$line" ] || headers+=(-H "$line"); done <<<"${header[$1]}"
  body "$1" mock false 50
  wait_for "${headers[@]}" -d @"$work/body" "${url[$1]}/chat/completions" && return
  echo "left out, as it does not answer: $1 ($(tail -n1 "$work/$1.log" | cut -c1-200))" >&2
  stop "$1"; unset "pid[$1]" "url[$1]"
}
model() { # name, model of the upstream: as this gateway calls it
  case $1 in ours) case $2 in mock) echo task/chat ;; down | nobody) echo "task/$2" ;; *) echo "$2" ;; esac ;; tensorzero) echo "tensorzero::model_name::$2" ;; *) echo "$2" ;; esac
}
body() { # name, model, whether it streams, bytes of the prompt
  printf '{"model":"%s","messages":[{"role":"user","content":"%s"}],"stream":%s}' "$(model "$1" "$2")" \
    "$(head -c "$4" /dev/zero | tr '\0' a)" "$3" >"$work/body"
}

if wanted ours; then
  mkdir "$work/ours"
  cat >"$work/catalog.toml" <<TOML
[providers.bench]
base_url = "$upstream"
[models.mock]
provider = "bench"
id = "mock"
context = 200000
[models.mock-2]
provider = "bench"
id = "mock-2"
context = 200000
[models.wait-50]
provider = "bench"
id = "wait-50"
context = 200000
[models.pace-10]
provider = "bench"
id = "pace-10"
context = 200000
[tasks.chat]
candidate = ["mock-2", "mock"]
control = ["mock", "mock-2"]
[models.down]
provider = "bench"
id = "down"
context = 200000
[tasks.down]
candidate = ["down", "mock"]
control = ["down", "mock"]
[providers.nobody]
base_url = "http://127.0.0.1:4709/v1"
[models.nobody]
provider = "nobody"
id = "nobody"
context = 200000
[tasks.nobody]
candidate = ["nobody", "mock"]
control = ["nobody", "mock"]
TOML
  cat >"$work/plan.toml" <<TOML
name = "bench"
tasks = ["chat"]
deadline = "30days"
[[stages]]
share = 50
soak = "1day"
TOML
  ours=(env APP_ENV=test DATABASE_URL="sqlite://$work/ours/bench.db" PORT=4710 MODEL_CATALOGUE="$work/catalog.toml"
    MODEL_ROUTING=true "$binaries/modelramp")
  start ours taskset -c 1 "${ours[@]}" serve
  wait_for http://127.0.0.1:4710/healthz
  MODELRAMP_TOKEN=$("${ours[@]}" token --user 1 --role admin 2>/dev/null) \
    "${ours[@]}" rollout --url http://127.0.0.1:4710 start "$work/plan.toml" --reason bench >"$work/rollout.log" 2>&1 ||
    { cat "$work/rollout.log" >&2; exit 1; }
  key=$("${ours[@]}" key create --name bench | tail -n1)
  url[ours]=http://127.0.0.1:4710/v1 header[ours]="authorization: Bearer $key"
  answers ours
fi
if wanted vllm-router && [ -x "$peers/v/bin/vllm-router" ]; then
  start vllm-router taskset -c 1 "$peers/v/bin/vllm-router" --worker-urls http://127.0.0.1:4700 --host 127.0.0.1 --port 4720 \
    --policy round_robin --prometheus-port 4721 --log-level warning
  url[vllm-router]=http://127.0.0.1:4720/v1 header[vllm-router]=""
  answers vllm-router || true
fi
if wanted tensorzero && "$peers/v/bin/python" -c 'import tensorzero, openai' 2>/dev/null; then
  { echo '[gateway]'; echo 'observability.enabled = false'
    for it in mock wait-50 pace-10; do
      printf '[models.%s]\nrouting = ["up"]\n[models.%s.providers.up]\ntype = "openai"\nmodel_name = "%s"\napi_base = "%s/"\napi_key_location = "none"\n' \
        "$it" "$it" "$it" "$upstream"
    done; } >"$work/tensorzero.toml"
  start tensorzero taskset -c 1 "$peers/v/bin/python" "$here/embedded.py" "$work/tensorzero.toml"
  for _ in $(seq 100); do grep -q '^http' "$work/tensorzero.log" && break; sleep 0.1; done
  address=$(grep -m1 '^http' "$work/tensorzero.log" || true)
  url[tensorzero]=${address%/} header[tensorzero]=""
  answers tensorzero || true
fi
if wanted portkey && [ -f "$peers/node_modules/@portkey-ai/gateway/build/start-server.js" ]; then
  TRUSTED_CUSTOM_HOSTS=127.0.0.1,localhost NODE_ENV=production start portkey taskset -c 1 node \
    "$peers/node_modules/@portkey-ai/gateway/build/start-server.js" --port=4730 --headless
  url[portkey]=http://127.0.0.1:4730/v1
  header[portkey]=$'authorization: Bearer none\nx-portkey-provider: openai\nx-portkey-custom-host: '"$upstream"
  answers portkey || true
fi
if wanted litellm && [ -x "$peers/v/bin/litellm" ]; then
  { echo 'model_list:'
    for it in mock wait-50 pace-10; do
      printf -- '- model_name: %s\n  litellm_params: {model: openai/%s, api_base: %s, api_key: none}\n' "$it" "$it" "$upstream"
    done; } >"$work/litellm.yaml"
  # It does not start without a key that is hard to guess.
  master=sk-$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
  LITELLM_MASTER_KEY=$master LITELLM_LOCAL_MODEL_COST_MAP=True start litellm taskset -c 1 "$peers/v/bin/litellm" --config "$work/litellm.yaml" \
    --host 127.0.0.1 --port 4740
  url[litellm]=http://127.0.0.1:4740/v1 header[litellm]="authorization: Bearer $master"
  answers litellm || true
fi
all=(direct)
for it in ours vllm-router tensorzero portkey litellm; do [ -z "${url[$it]:-}" ] || all+=("$it"); done

# What a process and those that it started take: milliseconds of processor time, and megabytes that are resident.
family() { echo "$1"; pgrep -P "$1" | while read -r child; do family "$child"; done; }
cpu() { local sum=0; for it in $(family "${pid[$1]}"); do sum=$((sum + $(awk '{print ($14+$15)*10}' "/proc/$it/stat" 2>/dev/null || echo 0))); done; echo "$sum"; }
resident() { local sum=0; for it in $(family "${pid[$1]}"); do sum=$((sum + $(awk '/VmRSS/ {print $2}' "/proc/$it/status" 2>/dev/null || echo 0))); done; echo $((sum / 1024)); }

run() { # name, connections: requests a second, p50 and p99 in ms, µs of processor time a request
  local before=0 after=0
  [ "$1" = direct ] || before=$(cpu "$1")
  BODY=$work/body HEADERS=${header[$1]} taskset -c 0 wrk -t1 -c"$2" -d"${seconds}s" --latency -s "$here/post.lua" \
    "${url[$1]}/chat/completions" >"$work/wrk"
  [ "$1" = direct ] || after=$(cpu "$1")
  awk -v cpu=$((after - before)) 'function ms(v) { if (v ~ /us$/) return v/1000; if (v ~ /ms$/) return v+0; return v*1000 }
    $1=="50%" {p50=ms($2)} $1=="99%" {p99=ms($2)} /requests in/ {n=$1} /Requests\/sec/ {rps=$2}
    /Non-2xx/ {bad=" ERRORS_" $NF} /Socket errors/ {bad=bad " " $0}
    END {printf "%.0f %.3f %.3f %.0f%s\n", rps, p50, p99, n ? cpu*1000/n : 0, bad}' "$work/wrk"
}
median() { sort -n | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
field() { cut -d' ' -f"$2" "$work/$1" | median; }
measure() { # title, model, whether it streams, bytes of the prompt, connections
  for _ in $(seq "$rounds"); do
    for name in "${all[@]}"; do
      body "$name" "$2" "$3" "$4"
      run "$name" "$5" >>"$work/$1.$name"
    done
  done
  for name in "${all[@]}"; do
    local it=$1.$name errors=""
    ! grep -qE 'ERRORS|Socket' "$work/$it" || errors=" $(grep -ohE 'ERRORS.*|Socket.*' "$work/$it" | head -n1)"
    printf '| %s | %s | %s | %s | %s | %s | %s |%s\n' "$1" "$name" "$(field "$it" 1)" "$(field "$it" 2)" "$(field "$it" 3)" \
      "$(awk -v a="$(field "$it" 2)" -v b="$(field "$1.direct" 2)" 'BEGIN {printf "%+.3f", a-b}')" "$(field "$it" 4)" "$errors"
  done
}

echo "$(date -u +%F\ %H:%M) UTC, $(nproc) processors, load $(cut -d' ' -f1-3 /proc/loadavg), $rounds rounds of $seconds s, $("$binaries/modelramp" --version)"
declare -A idle=()
for name in "${all[@]:1}"; do idle[$name]=$(resident "$name"); done
echo '| case | gateway | answers/s | p50 ms | p99 ms | added p50 ms | µs CPU |'
echo '|---|---|---|---|---|---|---|'
for connections in 1 16 64; do measure "plain, c=$connections" mock false 50 "$connections"; done
declare -A loaded=()
for name in "${all[@]:1}"; do loaded[$name]=$(resident "$name"); done
for connections in 1 16 64; do measure "stream of 20, c=$connections" mock true 50 "$connections"; done
for bytes in 4000 40000 400000; do measure "prompt of $bytes B, c=1" mock false "$bytes" 1; done
measure 'answer after 50 ms, c=64' wait-50 false 50 64
if [ -n "${url[ours]:-}" ]; then
  # Beside a flood of wrong keys from another process on core 0.
  all=(direct ours)
  measure 'no flood, c=1' mock false 50 1
  body ours mock false 50; cp "$work/body" "$work/flood"
  BODY=$work/flood HEADERS='authorization: Bearer mr_none' taskset -c 0 wrk -t1 -c16 -d$((seconds * rounds * 2 + 5))s -s "$here/post.lua" \
    "${url[ours]}/chat/completions" >"$work/flooded" & flood=$!
  sleep 1
  measure 'flood of wrong keys, c=1' mock false 50 1
  wait "$flood" || true
  echo "the flood: $(awk '/Requests\/sec/ {print $2}' "$work/flooded") wrong keys a second"
fi
echo
echo '| scene | gateway | p50 | p99 |'
echo '|---|---|---|---|'
EXPECTED=$(curl -sf -H 'content-type: application/json' -d '{"model":"mock","messages":[{"role":"user","content":"a"}],"stream":true}' "$upstream/chat/completions")
for name in direct ours vllm-router tensorzero portkey litellm; do
  [ -n "${url[$name]:-}" ] || continue
  falls=""
  [ "$name" != ours ] || falls=$(printf ',"down":"%s","nobody":"%s"' "$(model ours down)" "$(model ours nobody)")
  EXPECTED=$EXPECTED taskset -c 0 node "$here/scenes.mjs" "$name" "${url[$name]}" \
    "$(printf '{"mock":"%s","pace-10":"%s"%s}' "$(model "$name" mock)" "$(model "$name" pace-10)" "$falls")" "${header[$name]}" ||
    echo "left out, as a scene failed: $name" >&2
done
if [ -n "${SOAK:-}" ] && [ -n "${url[ours]:-}" ]; then
  body ours mock false 50
  BODY=$work/body HEADERS=${header[ours]} taskset -c 0 wrk -t1 -c64 -d"${SOAK}s" -s "$here/post.lua" "${url[ours]}/chat/completions" >"$work/soaked" & soak=$!
  held=""
  for _ in $(seq 10); do sleep $((SOAK / 10)); held+=" $(resident ours)"; done
  wait "$soak" || true
  echo
  echo "ours for $SOAK s with 64 connections, $(awk '/requests in/ {print $1}' "$work/soaked") answers: MB resident after each tenth:$held"
fi
echo
echo '| gateway | MB resident, idle | after c=64 | at the end |'
echo '|---|---|---|---|'
for name in ours vllm-router tensorzero portkey litellm; do
  [ -z "${url[$name]:-}" ] || echo "| $name | ${idle[$name]} | ${loaded[$name]} | $(resident "$name") |"
done
