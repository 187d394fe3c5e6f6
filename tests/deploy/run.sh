#!/usr/bin/env bash
# Holds what deploy/ and the Dockerfile say against the rules of those who read them. No engine of
# containers is needed: what the image holds is put into a folder and started there.
#
#   tests/deploy/run.sh PYTHON_BIN      the folder of hadolint, kubernetes-validate and check-jsonschema
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$1
program=${2:-target/debug/modelramp}

"$tools/hadolint" Dockerfile
"$tools/kubernetes-validate" --strict --quiet deploy/kubernetes/*.yaml
"$tools/check-jsonschema" --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
haproxy -c -q -f deploy/haproxy.cfg
promtool check config --syntax-only deploy/prometheus.yml >/dev/null

folder=$(mktemp -d /tmp/modelramp-deploy.XXXXXX)
trap 'rm -rf "$folder"' EXIT
# The program is not installed where the unit says.
sed "s#/usr/local/bin/modelramp#$PWD/$program#" deploy/modelramp.service >"$folder/modelramp.service"
systemd-analyze verify "$folder/modelramp.service"
# 0 is closed, 10 open; a service without any hardening has 9.6.
systemd-analyze security --offline=yes --threshold=20 "$folder/modelramp.service" >/dev/null

tests/deploy/clean_root.sh "$program"
echo "the files of deployment hold"
