#!/usr/bin/env bash
# sge-down.sh DIR: stop what sge-up.sh DIR has started, and end its jobs; known by their SGE_ROOT.
set -uo pipefail
DIR=$(cd "$1" 2>/dev/null && pwd -P) || exit 0
[ -s "$DIR/environment" ] || exit 0
while IFS= read -r line; do export "${line?}"; done <"$DIR/environment"
ours() { tr '\0' '\n' <"/proc/$1/environ" | grep -qxF "SGE_ROOT=$DIR/root"; } 2>/dev/null
lives() { [ -e "/proc/$1" ] && [ "$(cut -d')' -f2 "/proc/$1/stat" 2>/dev/null | cut -c2)" != Z ]; }
# stop NAME: TERM to each process of ours of that name, wait for it, KILL
stop() {
  local path pid tries=200
  for path in $(grep -lxF "$1" /proc/[0-9]*/comm 2>/dev/null); do
    pid=$(basename "${path%/comm}")
    lives "$pid" && ours "$pid" && kill "$pid" 2>/dev/null || continue
    while lives "$pid"; do tries=$((tries - 1)); [ $tries -gt 0 ] || { kill -9 "$pid" 2>/dev/null; break; }; sleep 0.05; done
  done
}
# jobs outlive sge_execd by design
if timeout 5 qconf -sh >/dev/null 2>&1; then
  timeout 10 qdel -u '*' >/dev/null 2>&1
  for _ in $(seq 60); do [ -z "$(timeout 5 qstat -u '*' -s rs 2>/dev/null)" ] && break; sleep 0.1; done
fi
stop sge_execd
stop sge_qmaster
exit 0
