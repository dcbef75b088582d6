# What every job script does. It reports by the names of files in $psij_news, which needs no room on a full disk:
#   ID.STATE.ATTEMPT.TIME             the job has reached a state
#   ID.E.ATTEMPT.TIME.CODE.PHASE      it has ended; PHASE is the part of the script that failed, or "done"
# A job that stages nothing and has no pre-launch script costs this shell and its program, and no other process.
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 403)); then
  echo "harmony: job scripts need bash 4.3 or later; /bin/bash here is $BASH_VERSION"
  : >"$psij_news/$psij_id.E.$psij_attempt.$(date +%s).121.start"
  exit 121
fi
psij_phase=start psij_code= psij_blamed=done psij_marker= psij_home= psij_theirs=
psij_pid= psij_signal= psij_limit= psij_program= psij_timer= psij_excused= psij_path=$PATH
HOME=${HOME-~}
psij_signals=(TERM INT HUP USR1 USR2 XCPU)
psij_mark() { # STATE ENDING: a new file, or where there is no room for one, the previous one renamed
  local name
  builtin printf -v name '%s/%s.%s.%s.%(%s)T%s' "$psij_news" "$psij_id" "$1" "$psij_attempt" -1 "${2-}"
  if builtin true 2>/dev/null >|"$name" || psij_do mv -f -- "${psij_marker:-/}" "$name" 2>/dev/null; then
    psij_marker=$name
  fi
}
psij_say() { builtin printf 'harmony: %s\n' "$1"; }
psij_do() { PATH=$psij_path command "$@"; } # the job's own PATH may lack our programs
psij_blame() { # CODE PHASE: the first failure is the job's
  if [ "${psij_code:-0}" = 0 ]; then psij_code=$1; [ "$1" = 0 ] || psij_blamed=$2; fi
}
psij_fail() { # CODE SENTENCE
  psij_say "$2"
  exit "$1"
}
psij_end() { # CODE: every way out leads through here
  [ "$BASHPID" = "$$" ] || return "$1" # bash may run the trap in a process that a signal ends as it is forked
  trap - EXIT
  trap '' "${psij_signals[@]}"
  psij_plain
  local code=$1 ended
  [ -n "$psij_code" ] || psij_excused=1
  if [ -n "$psij_excused" ] && [ "$code" = 0 ]; then
    psij_say "$psij_phase has ended the job script"
    code=121
  fi
  psij_blame "$code" "$psij_phase"
  if [ -n "$psij_home" ] && declare -F psij_finish >/dev/null && builtin cd -- "$psij_home"; then
    if [ "$psij_code" = 0 ]; then ended=SUCCESS; elif [ -e "$psij_dir/$psij_id.cancel" ]; then ended=CANCEL; else ended=ERROR; fi
    psij_finish "$ended"
  fi
  [ -z "$psij_theirs" ] || (eval "$psij_theirs")
  psij_mark E ".$psij_code.$psij_blamed"
  [ "$psij_blamed" != walltime ] || kill -s KILL -- "-$$" 2>/dev/null
  case " ${psij_orders-} " in *" $psij_code "*) exit 1 ;; esac # a status that the scheduler takes for an order
  exit "$psij_code"
}
psij_plain() { builtin set +e +a +f +u +C +o posix; } # whatever a sourced script has set
psij_sourced() { # after the user's script: our trap again; the one it has set runs at the end as well
  psij_plain
  local found
  found=$(trap -p EXIT)
  if [ "$found" != "$psij_trap" ]; then
    found=${found% EXIT}
    eval "psij_theirs=${found#trap -- }"
    trap 'psij_end $?' EXIT
  fi
}
psij_nodefile() { # PROCESSES: each node's name as often as it runs processes
  local node text= index
  local -a nodes=()
  export PSIJ_NODEFILE=$psij_dir/$psij_id.nodes
  if declare -F psij_nodes >/dev/null; then mapfile -t nodes < <(psij_nodes); fi
  [ "${#nodes[@]}" != 0 ] || nodes=("${HOSTNAME:-localhost}")
  for node in "${nodes[@]}"; do
    for ((index = 0; index < $1; index++)); do text+=$node$'\n'; done
  done
  { builtin printf %s "$text" >|"$PSIJ_NODEFILE"; } 2>/dev/null || psij_say "the nodefile $PSIJ_NODEFILE cannot be written"
}
psij_alone() { # the program sees no variable and no function of this shell's, which itself still does
  local -a names=()
  mapfile -t names < <(compgen -e)
  export -n "${names[@]}" OLDPWD # which the first cd would set, and export
  mapfile -t names < <(compgen -A function)
  export -nf "${names[@]}"
}
psij_enter() { # DIRECTORY
  { [ -d "$1" ] || psij_do mkdir -p -- "$1"; } && builtin cd -- "$1" || psij_fail 121 "cannot run in the directory $1"
  psij_home=$PWD
}
psij_bring() { # MODE SOURCE TARGET FLAG: one file or directory
  local source=$2 parent=${3%/*}
  if [ ! -e "$source" ] && [ ! -L "$source" ]; then
    [ "$4" != present ] && [ -z "$psij_excused" ] || return 0 # what never ran has no output
    psij_say "$psij_phase: there is no $source"
    return 1
  fi
  if [ "$parent" != "$3" ] && [ -n "$parent" ] && [ ! -d "$parent" ] && ! psij_do mkdir -p -- "$parent"; then
    psij_say "$psij_phase: cannot make the directory $parent"
    return 1
  fi
  case $1 in
    COPY) psij_do cp -R -H -T -- "$source" "$3" ;;
    LINK)
      case $source in /*) ;; *) source=$PWD/${source#./} ;; esac
      psij_do ln -s -f -T -- "$source" "$3"
      ;;
    MOVE) psij_do mv -f -T -- "$source" "$3" ;;
  esac || {
    psij_say "$psij_phase: cannot bring $source to $3"
    return 1
  }
}
psij_in() { psij_bring "$@" must || exit 121; }
psij_out() { # ENDED CONDITIONS MODE SOURCE TARGET FLAG
  case " $2 " in *" $1 "*) psij_bring "${@:3}" || psij_blame 121 stage_out ;; esac
}
psij_cleanup() { # ENDED CONDITIONS PATH...: only what lies in the job's directory, also behind symbolic links
  local path parent real
  case " $2 " in *" $1 "*) shift 2 ;; *) return 0 ;; esac
  if [ "$psij_blamed" = stage_out ]; then
    psij_say "cleanup: staging out has failed, so nothing is deleted"
    return 0
  fi
  builtin cd -P -- "$psij_home" || return
  real=${PWD%/}
  for path; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    if ! builtin cd -P -- "${path%/*}"; then
      psij_blame 121 cleanup
    elif [[ $PWD/ != "$real"/* ]]; then
      psij_say "cleanup: $path lies outside of the job's directory, so it stays"
      psij_blame 121 cleanup
    else
      psij_do rm -r -f -- "./${path##*/}" || psij_blame 121 cleanup
    fi
    builtin cd -- "$psij_home"
  done
}
psij_find() { # PROGRAM: sets psij_program to the file that is run under this name, never a builtin or a function
  psij_program=$1
  case $1 in
    */*)
      [ -e "$1" ] || psij_fail 127 "there is no program $1"
      [ -f "$1" ] && [ -x "$1" ] || psij_fail 126 "$1 is not a program that may be run"
      ;;
    *)
      builtin set -h
      builtin hash -- "$1" 2>/dev/null && psij_program=${BASH_CMDS[$1]-}
      [ -n "$psij_program" ] && [ "$psij_program" != "$1" ] || psij_program=$(type -P -- "$1") ||
        psij_fail 127 "there is no program $1 on the PATH, which is $PATH"
      ;;
  esac
}
psij_start() {
  # a signal is lost on a shell that has just been forked from one with a trap
  [ ! -e "$psij_dir/$psij_id.cancel" ] || exit 143
  exec -a "$1" -- "$psij_program" "${@:2}"
}
psij_multiple() { # COUNT COMMAND...: so many copies on this node; the first failure is the status of all
  local count=$1 code=0 status copy signal
  local -a copies=()
  shift
  for signal in "${psij_signals[@]}"; do
    trap "psij_signal=$signal; kill -s $signal \"\${copies[@]}\" 2>/dev/null" "$signal"
  done
  export _PSI_J_PROCESS_COUNT=$count _PSI_J_PROCESS_INDEX_
  for ((_PSI_J_PROCESS_INDEX_ = 1; _PSI_J_PROCESS_INDEX_ <= count; _PSI_J_PROCESS_INDEX_++)); do
    (psij_start "$@") </dev/stdin &
    copies+=("$!")
  done
  for copy in "${copies[@]}"; do
    psij_await "$copy"
    status=$?
    [ "$code" != 0 ] || code=$status
  done
  return "$code"
}
psij_mpirun() { # COMMAND...: on several nodes; it is told which where the batch system does not tell it
  if [ -z "${SLURM_JOB_ID-}" ]; then set -- "$1" -machinefile "$PSIJ_NODEFILE" "${@:2}"; fi
  exec "$@"
}
psij_await() { # PID: its exit status; a signal that was passed on interrupts the waiting, not the program
  local status caught=TERM
  while :; do
    psij_signal=
    wait "$1"
    status=$?
    # bash loses the status of a program that ends at the very moment of a signal
    [ "$status" != -1 ] || status=$((128 + $(kill -l "$caught")))
    [ -n "$psij_signal" ] || return "$status"
    caught=$psij_signal
  done
}
psij_wait() { # for the program, which runs in the background so that this shell can pass signals on to it
  if [ -n "$psij_limit" ]; then psij_clock; fi
  psij_await "$psij_pid"
  local status=$?
  psij_pid=
  [ -z "$psij_limit" ] || kill -s KILL "$psij_timer" 2>/dev/null
  psij_blame "$status" done
}
psij_clock() { # sends this shell ALRM after psij_limit seconds; one process without a trap, so that KILL ends it at once
  (
    trap '' "${psij_signals[@]}" ALRM
    builtin read -r -t "$psij_limit" <> <(:)
    kill -s ALRM "$$"
  ) &
  psij_timer=$!
  disown "$psij_timer"
}
psij_time_is_up() { # only where no scheduler does this: the process group is this script's
  psij_signal=ALRM
  [ -n "$psij_pid" ] || return
  if [ "$psij_blamed" = walltime ]; then
    kill -s KILL "$psij_pid" 2>/dev/null
    return
  fi
  psij_blame 143 walltime
  psij_limit=5
  trap '' TERM # also for the timer, from its first moment
  psij_clock
  kill -s TERM -- "-$$" 2>/dev/null || kill -s TERM "$psij_pid" 2>/dev/null
  trap 'psij_caught TERM' TERM
}
psij_pass_on() { [ -z "$psij_pid" ] || kill -s "$1" "$psij_pid" 2>/dev/null; }
psij_caught() { # SIGNAL
  psij_signal=$1
  if [ -n "$psij_pid" ]; then psij_pass_on "$1"
  elif [ "$psij_phase" != run ]; then exit "$((128 + $(kill -l "$1")))"; fi
}
trap 'psij_end $?' EXIT
psij_trap="trap -- 'psij_end \$?' EXIT"
for psij_name in "${psij_signals[@]}"; do trap "psij_caught $psij_name" "$psij_name"; done
trap psij_time_is_up ALRM
