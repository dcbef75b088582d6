#!/usr/bin/env bash
# slurm-up.sh DIR: a real Slurm on this one host, of N virtual nodes n1..nN, without systemd and without cgroups.
# Debian. Installs the packages as root; another user unpacks them into DIR. Everything runs as the caller, with ports,
# munge socket, key and state of its own: several such clusters, and one of the host's, can run side by side.
# Clients need the variables of DIR/environment. Running it again brings back what has stopped.
#   SLURM_LAB_NODES  virtual nodes (4)          SLURM_LAB_CPUS  CPUs declared for each (4)
#   SLURM_LAB_DBD    1: with accounting (0)     SLURM_LAB_PORT  first of 10 + N free ports (16817)
set -euo pipefail
DIR=$1 NODES=${SLURM_LAB_NODES:-4} CPUS=${SLURM_LAB_CPUS:-4} DBD=${SLURM_LAB_DBD:-0} PORT=${SLURM_LAB_PORT:-16817}
USERNAME=$(id -un) HOST=$(hostname -s) PREFIX=
die() { printf 'slurm-up: %s\n' "$*" >&2; exit 1; }
until_ok() { local n=$(($1 * 20)); shift; until "$@" >/dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || return 1; sleep 0.05; done; }
# runs NAME: the pid in run/NAME.pid is alive, no zombie, and works on our files
runs() {
  local pid state
  pid=$(cat "$DIR/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] && state=$(cut -d')' -f2 "/proc/$pid/stat" 2>/dev/null) || return 1
  case $state in ' Z'*) return 1 ;; esac
  tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF "$DIR/" || tr '\0' '\n' <"/proc/$pid/environ" | grep -qxF "SLURM_CONF=$DIR/slurm.conf"
}
umask 022
mkdir -p "$DIR"/{run,log,spool,state,tmp}
chmod 755 "$DIR"
DIR=$(cd "$DIR" && pwd -P)

# ---- packages ---------------------------------------------------------------------------------
want=(munge slurmctld slurmd slurm-client)
[ "$DBD" != 1 ] || want+=(slurmdbd mariadb-server-core mariadb-client-core)
missing=()
for package in "${want[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
quiet() { "$@" </dev/null >"$DIR/log/packages.log" 2>&1 || { tail -n 5 "$DIR/log/packages.log" >&2; die "$* failed"; }; }
if [ ${#missing[@]} -gt 0 ] || [ "${SLURM_LAB_UNPACK:-0}" = 1 ]; then
  command -v apt-get >/dev/null || die "needs the packages ${missing[*]}, and there is no apt-get here"
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Acquire::http::Timeout=15 -o Acquire::Retries=1 -q)
  if [ "$(id -u)" = 0 ] && [ "${SLURM_LAB_UNPACK:-0}" != 1 ]; then
    exec 9>/run/batch-lab.lock # one lab at a time installs; closed below, for daemons would inherit it
    flock -w 120 9 || die "another lab has been installing packages for 2 minutes"
    apt-cache policy slurmctld 2>/dev/null | grep -q 'Candidate: [0-9]' || quiet timeout 60 "${apt[@]}" update
    quiet timeout 120 "${apt[@]}" install -y --no-install-recommends --download-only "${missing[@]}"
    made=; if [ ! -e /usr/sbin/policy-rc.d ]; then # the packages must not start their services
      made=1; printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    quiet "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
    [ -z "$made" ] || { rm -f /usr/sbin/policy-rc.d; trap - EXIT; }
    exec 9>&-
  else
    PREFIX=$DIR/root
    if [ ! -e "$PREFIX/done" ]; then
      mkdir -p "$PREFIX" "$DIR"/apt/{lists,archives}/partial
      apt+=(-o Dir::Cache="$DIR/apt")
      apt-cache policy slurmctld 2>/dev/null | grep -q 'Candidate: [0-9]' || { apt+=(-o Dir::State::Lists="$DIR/apt/lists"); quiet timeout 60 "${apt[@]}" update; }
      mapfile -t all < <("${apt[@]}" -s install --no-install-recommends "${want[@]}" 2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
      [ ${#all[@]} -gt 0 ] || die "apt-get does not know the packages ${want[*]}"
      (cd "$DIR/apt" && quiet timeout 120 "${apt[@]}" download "${all[@]}" && for file in *.deb; do dpkg -x "$file" "$PREFIX"; done)
      # what the packages' installation would link
      for file in "$PREFIX"/usr/bin/*-wlm "$PREFIX"/usr/sbin/*-wlm; do [ ! -e "$file" ] || ln -sf "${file##*/}" "${file%-wlm}"; done
      touch "$PREFIX/done"
    fi
  fi
fi
export PATH=${PREFIX:+$PREFIX/usr/bin:$PREFIX/usr/sbin:}$PATH:/usr/sbin:/sbin
LIB=/usr/lib/$(uname -m)-linux-gnu
[ -z "$PREFIX" ] || export LD_LIBRARY_PATH=$PREFIX$LIB:$PREFIX$LIB/slurm-wlm:$PREFIX$LIB/slurm${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export SLURM_CONF=$DIR/slurm.conf
{ echo "SLURM_CONF=$SLURM_CONF"; [ -z "$PREFIX" ] || printf '%s\n' "PATH=$PATH" "LD_LIBRARY_PATH=$LD_LIBRARY_PATH"; } >"$DIR/environment"

# ---- munged -----------------------------------------------------------------------------------
SOCKET=$DIR/run/munge.socket
if ! munge -S "$SOCKET" -n </dev/null 2>/dev/null | unmunge -S "$SOCKET" >/dev/null 2>&1; then
  [ -s "$DIR/munge.key" ] || (umask 077; head -c 128 /dev/urandom >"$DIR/munge.key")
  munged --force --key-file="$DIR/munge.key" --socket="$SOCKET" --pid-file="$DIR/run/munged.pid" \
    --log-file="$DIR/log/munged.log" --seed-file="$DIR/munge.seed" --num-threads=2 </dev/null >"$DIR/log/munged.out" 2>&1 ||
    { tail -n 3 "$DIR/log/munged.out" "$DIR/log/munged.log" >&2; die "munged does not start"; }
  until_ok 10 sh -c "munge -S '$SOCKET' -n </dev/null | unmunge -S '$SOCKET'" || die "munged does not answer"
fi

# ---- configuration ----------------------------------------------------------------------------
{
  cat <<EOF
ClusterName=lab$PORT
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=$USERNAME
SlurmdUser=$USERNAME
AuthType=auth/munge
# a requeued job waits for cred_expire before it starts again
AuthInfo=socket=$SOCKET,cred_expire=5
CredType=cred/munge
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
TmpFS=$DIR/tmp/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd-%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
# a lost node and a killed job are to be noticed soon
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=2
InactiveLimit=0
MinJobAge=300
MaxArraySize=10001
MaxJobCount=20000
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=1,bf_continue,default_queue_depth=200
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
GresTypes=gpu
EOF
  [ -z "$PREFIX" ] || echo "PluginDir=$PREFIX$LIB/slurm-wlm"
  [ "$DBD" != 1 ] || printf '%s\n' AccountingStorageType=accounting_storage/slurmdbd AccountingStorageHost=127.0.0.1 "AccountingStoragePort=$((PORT + 1))" "AccountingStoragePass=$SOCKET"
  for i in $(seq "$NODES"); do
    echo "NodeName=n$i NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + 9 + i)) CPUs=$CPUS RealMemory=4000 $([ "$i" -lt $((NODES - 1)) ] || echo Gres=gpu:2 Feature=gpu)"
  done
  cat <<EOF
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=100 PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=60 DefMemPerCPU=100 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL MaxTime=60 DefMemPerCPU=100 PriorityTier=10 PreemptMode=OFF
EOF
} >"$DIR/slurm.conf"
# a GPU needs the file of a device, whatever that is
for i in $((NODES - 1)) "$NODES"; do [ "$i" -lt 1 ] || echo "NodeName=n$i Name=gpu File=/dev/null"; [ "$i" -lt 1 ] || echo "NodeName=n$i Name=gpu File=/dev/zero"; done >"$DIR/gres.conf"
# slurmd loads a cgroup plug-in even when nothing uses it; v1 does nothing by itself
echo CgroupPlugin=cgroup/v1 >"$DIR/cgroup.conf"

# ---- accounting -------------------------------------------------------------------------------
if [ "$DBD" = 1 ] && ! runs slurmdbd; then
  SQL=$DIR/run/mysql.socket
  if ! runs mariadbd; then
    [ -d "$DIR/mysql/mysql" ] || mariadb-install-db --no-defaults --datadir="$DIR/mysql" --user="$USERNAME" --skip-test-db \
      --auth-root-authentication-method=normal >"$DIR/log/mariadb-install.log" 2>&1 || die "mariadb-install-db failed: $(tail -n 3 "$DIR/log/mariadb-install.log")"
    setsid mariadbd --no-defaults --datadir="$DIR/mysql" --user="$USERNAME" --socket="$SQL" --bind-address=127.0.0.1 --port=$((PORT + 2)) \
      --pid-file="$DIR/run/mariadbd.own" --innodb-flush-log-at-trx-commit=0 --innodb-flush-method=nosync --innodb-buffer-pool-size=64M \
      --innodb-log-file-size=32M --innodb-lock-wait-timeout=900 --max-allowed-packet=16M --skip-log-bin </dev/null >"$DIR/log/mariadbd.log" 2>&1 &
    echo $! >"$DIR/run/mariadbd.pid"
    sql() { mariadb --no-defaults --user=root --socket="$SQL" -e "$1"; }
    until_ok 30 sql 'select 1' || { tail -n 3 "$DIR/log/mariadbd.log" >&2; die "mariadbd does not start"; }
    sql "create database if not exists slurm_acct_db; create user if not exists slurm@'%' identified by 'lab'; grant all on slurm_acct_db.* to slurm@'%'"
    sql "create user if not exists slurm@localhost identified by 'lab'; grant all on slurm_acct_db.* to slurm@localhost"
  fi
  (umask 077; printf '%s\n' AuthType=auth/munge "AuthInfo=socket=$SOCKET" DbdHost=localhost DbdAddr=127.0.0.1 "DbdPort=$((PORT + 1))" \
    "SlurmUser=$USERNAME" "LogFile=$DIR/log/slurmdbd.log" "PidFile=$DIR/run/slurmdbd.pid" StorageType=accounting_storage/mysql \
    StorageHost=127.0.0.1 "StoragePort=$((PORT + 2))" StorageLoc=slurm_acct_db StorageUser=slurm StoragePass=lab \
    ${PREFIX:+"PluginDir=$PREFIX$LIB/slurm-wlm"} >"$DIR/slurmdbd.conf")
  slurmdbd </dev/null >"$DIR/log/slurmdbd.out" 2>&1 || { cat "$DIR/log/slurmdbd.out" >&2; die "slurmdbd does not start"; }
  until_ok 30 sacctmgr -nP show cluster || { tail -n 3 "$DIR/log/slurmdbd.log" >&2; die "slurmdbd does not answer"; }
  sacctmgr -nP show cluster format=cluster | grep -qx "lab$PORT" || sacctmgr -i -Q add cluster "lab$PORT" >/dev/null
fi

# ---- slurmctld and the slurmds ----------------------------------------------------------------
if ! runs slurmctld; then
  (cd "$DIR/log" && slurmctld -f "$SLURM_CONF" </dev/null >"$DIR/log/slurmctld.out" 2>&1) || { cat "$DIR/log/slurmctld.out" >&2; die "slurmctld does not start"; }
  until_ok 20 sh -c 'scontrol ping | grep -q "is UP"' || { tail -n 5 "$DIR/log/slurmctld.log" >&2; die "slurmctld does not answer"; }
fi
for i in $(seq "$NODES"); do
  runs "slurmd-n$i" && continue
  mkdir -p "$DIR/spool/n$i" "$DIR/tmp/n$i"
  slurmd -N "n$i" -f "$SLURM_CONF" ${PREFIX:+-d "$PREFIX/usr/sbin/slurmstepd"} </dev/null >"$DIR/log/slurmd-n$i.out" 2>&1 ||
    { tail -n 5 "$DIR/log/slurmd-n$i.out" "$DIR/log/slurmd-n$i.log" >&2; die "slurmd n$i does not start"; }
done
for i in $(seq "$NODES"); do # slurmd removes its pid file as it begins to stop, and may then hang: keep a copy
  until_ok 10 runs "slurmd-n$i" || die "slurmd n$i does not start"
  cp "$DIR/run/slurmd-n$i.pid" "$DIR/run/slurmd-n$i.own"
done
all_up() { [ "$(sinfo -h -N -p debug -o '%N %T' | grep -cE ' (idle|mixed|allocated|completing)$')" = "$NODES" ]; }
until_ok 30 all_up || { sinfo -N -l >&2; tail -n 3 "$DIR"/log/slurmd-n*.log >&2; die "not every node came up"; }
