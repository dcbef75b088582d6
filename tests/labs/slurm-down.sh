#!/usr/bin/env bash
# slurm-down.sh DIR: stop what slurm-up.sh DIR has started, by its pid files only, and end its jobs.
set -uo pipefail
DIR=$(cd "$1" 2>/dev/null && pwd -P) || exit 0
[ -s "$DIR/environment" ] || exit 0
while IFS= read -r line; do export "${line?}"; done <"$DIR/environment"
ours() { { tr '\0' '\n' <"/proc/$1/cmdline" | grep -qF "$DIR/" || tr '\0' '\n' <"/proc/$1/environ" | grep -qxF "SLURM_CONF=$DIR/slurm.conf"; } 2>/dev/null; }
lives() { [ -e "/proc/$1" ] && [ "$(cut -d')' -f2 "/proc/$1/stat" 2>/dev/null | cut -c2)" != Z ]; }
# stop FILE...: TERM to the processes that they name, wait for all, KILL
stop() {
  local file pid tries=200 pids=()
  for file; do
    pid=$(cat "$file" 2>/dev/null) && [ -n "$pid" ] && lives "$pid" && ours "$pid" && kill "$pid" 2>/dev/null && pids+=("$pid")
  done
  for pid in ${pids[@]+"${pids[@]}"}; do
    while lives "$pid"; do tries=$((tries - 1)); [ $tries -gt 0 ] || { kill -9 "$pid" 2>/dev/null; break; }; sleep 0.05; done
  done
  rm -f "$@"
}
# programs of jobs outlive slurmd by design
if timeout 5 scontrol ping 2>/dev/null | grep -q 'is UP'; then
  timeout 5 scancel --state=PENDING >/dev/null 2>&1
  timeout 5 scancel --state=RUNNING >/dev/null 2>&1
  timeout 5 scancel --state=SUSPENDED >/dev/null 2>&1
  for _ in $(seq 60); do [ -z "$(timeout 5 squeue -h -t running,completing,suspended -o %i 2>/dev/null)" ] && break; sleep 0.1; done
fi
shopt -s nullglob
stop "$DIR"/run/slurmd-*.pid "$DIR"/run/slurmd-*.own
stop "$DIR/run/slurmctld.pid"
stop "$DIR/run/slurmdbd.pid"
stop "$DIR/run/mariadbd.pid"
stop "$DIR/run/munged.pid"
exit 0
