#!/usr/bin/env bash
# oar-down.sh DIR: stop what oar-up.sh DIR has started, by its pid files only, and end its jobs.
set -uo pipefail
DIR=$(cd "$1" 2>/dev/null && pwd -P) || exit 0
[ -d "$DIR/run" ] || exit 0
# stop FILE COMMAND SIGNAL
stop() {
  local pid tries=200
  pid=$(head -n1 "$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || return 0
  kill -s "$3" "$pid" 2>/dev/null
  while [ -e "/proc/$pid" ] && [ "$(cut -d')' -f2 "/proc/$pid/stat" 2>/dev/null | cut -c2)" != Z ]; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { kill -9 "$pid" 2>/dev/null; break; }
    sleep 0.05
  done
}
left() { timeout 10 oarstat -J 2>/dev/null | sed -n 's/^ *"Job_Id" : \([0-9]*\).*/\1/p'; }
if [ -s "$DIR/user" ]; then
  jobs=$(left)
  [ -z "$jobs" ] || timeout 20 oardel $jobs >/dev/null 2>&1
  for _ in $(seq 100); do [ -n "$(left)" ] || break; sleep 0.1; done
  stop /var/run/oar-server.pid Almighty TERM
  rm -f /var/run/oar-server.pid
fi
stop "$DIR/run/sshd.pid" sshd TERM
stop "$DIR/pg/postmaster.pid" postgres INT
exit 0
