# What every job script does. It reports by the names of files in $psij_news, which needs no room on a full disk:
#   ID.STATE.ATTEMPT.TIME             the job has reached a state
#   ID.E.ATTEMPT.TIME.CODE.PHASE      it has ended, in that phase of the script
psij_phase=start psij_ended= psij_marker=
psij_mark() {
  local name
  printf -v name '%s/%s.%s.%s.%(%s)T' "$psij_news" "$psij_id" "$1" "$psij_attempt" -1
  name+=${2-}
  if [ -n "$psij_marker" ] && mv -f -- "$psij_marker" "$name" 2>/dev/null || : 2>/dev/null >"$name"; then psij_marker=$name; fi
}
psij_end() {
  trap - EXIT
  psij_mark E ".$1.$psij_phase"
  exit "$1"
}
psij_fail() {
  printf 'harmony: %s\n' "$2"
  psij_end "$1"
}
psij_nodefile() {
  local node index
  export PSIJ_NODEFILE=$psij_dir/$psij_id.nodes
  if ! declare -F psij_nodes >/dev/null; then psij_nodes() { printf '%s\n' "${HOSTNAME:-localhost}"; }; fi
  psij_nodes | while read -r node; do
    for ((index = 0; index < $1; index++)); do printf '%s\n' "$node"; done
  done >"$PSIJ_NODEFILE"
}
psij_stage() { # MODE SOURCE TARGET FLAG: bring one file or directory
  [ "$4" = present ] && [ ! -e "$2" ] && return 0
  [ -e "$2" ] || psij_fail 121 "$psij_phase: there is no $2"
  case $3 in */*) mkdir -p -- "${3%/*}" || psij_fail 121 "$psij_phase: cannot make the directory of $3" ;; esac
  case $1 in
    COPY) cp -R -T -- "$2" "$3" ;;
    LINK) ln -s -f -n -- "$2" "$3" ;;
    MOVE) mv -T -f -- "$2" "$3" ;;
  esac || psij_fail 121 "$psij_phase: cannot bring $2 to $3"
}
psij_wait() { # the program runs in the background, so that this shell can pass a signal on to it
  local code clock=
  if [ -n "$psij_limit" ]; then sleep "$psij_limit" & clock=$!; fi
  while :; do
    psij_signal=
    wait ${clock:+-n} "$psij_pid" $clock; code=$?
    [ -n "$psij_signal" ] || break
  done
  [ -z "$clock" ] || kill "$clock" 2>/dev/null || psij_time_is_up
  return "$code"
}
psij_time_is_up() { # only where no scheduler does this: the whole process group is ours
  psij_phase=walltime
  trap '' TERM
  kill -s TERM 0
  sleep 5 & wait -n "$psij_pid" $!
  trap - EXIT
  psij_mark E ".143.walltime"
  kill -s KILL 0
}
psij_multiple() { # COUNT COMMAND...: so many copies on this node; the first failure is the status of all
  local count=$1 code=0 each index
  local -a copies=()
  shift
  trap 'kill -s TERM "${copies[@]}" 2>/dev/null' TERM
  for ((index = 0; index < count; index++)); do _PSI_J_PROCESS_INDEX_=$index "$@" & copies+=("$!"); done
  for each in "${copies[@]}"; do wait "$each" || { each=$?; [ "$code" != 0 ] || code=$each; }; done
  return "$code"
}
psij_pass_on() { psij_signal=$1; [ -z "${psij_pid-}" ] || kill -s "$1" "$psij_pid" 2>/dev/null; }
psij_how() { # how the job has ended: SUCCESS, ERROR or CANCEL
  if [ -e "$psij_dir/$psij_id.cancel" ]; then echo CANCEL; elif [ "$1" = 0 ]; then echo SUCCESS; else echo ERROR; fi
}
psij_pid= psij_signal= psij_limit=
trap 'psij_end $?' EXIT
for psij_name in TERM INT HUP USR1 USR2 XCPU; do trap "psij_pass_on $psij_name" "$psij_name"; done
