#!/usr/bin/env bash
# sge-up.sh DIR: a real Grid Engine on this one host (Debian's Son of Grid Engine 8.1.9), without systemd.
# Installs the packages as root; another user unpacks them into DIR. Both daemons run as the caller, with cell, ports and
# state of their own in DIR: several such clusters, and one of the host's, can run side by side.
# Clients need the variables of DIR/environment. Running it again brings back what has stopped.
#   SGE_LAB_SLOTS  slots of main.q (8)      SGE_LAB_PORT  first of 2 free ports (16444)
# Queues main.q and short.q (h_rt 10 s), parallel environments smp and mpi, 2 of a resource gpu.
set -euo pipefail
DIR=$1 SLOTS=${SGE_LAB_SLOTS:-8} PORT=${SGE_LAB_PORT:-16444}
USERNAME=$(id -un) HOST=$(hostname) PREFIX=
die() { printf 'sge-up: %s\n' "$*" >&2; exit 1; }
until_ok() { local n=$(($1 * 20)); shift; until "$@" >/dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || return 1; sleep 0.05; done; }
# runs FILE: the pid in it is alive, no zombie, and works on our cell
runs() {
  local pid state
  pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && state=$(cut -d')' -f2 "/proc/$pid/stat" 2>/dev/null) || return 1
  case $state in ' Z'*) return 1 ;; esac
  tr '\0' '\n' <"/proc/$pid/environ" | grep -qxF "SGE_ROOT=$DIR/root"
}
umask 022
mkdir -p "$DIR"/{run,log,qmaster/job_scripts,execd,spooldb,conf}
chmod 755 "$DIR"
DIR=$(cd "$DIR" && pwd -P)

# ---- packages ---------------------------------------------------------------------------------
want=(gridengine-master gridengine-exec gridengine-client)
missing=()
for package in "${want[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
quiet() { "$@" </dev/null >"$DIR/log/packages.log" 2>&1 || { tail -n 5 "$DIR/log/packages.log" >&2; die "$* failed"; }; }
if [ ${#missing[@]} -gt 0 ] || [ "${SGE_LAB_UNPACK:-0}" = 1 ]; then
  command -v apt-get >/dev/null || die "needs the packages ${missing[*]}, and there is no apt-get here"
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Acquire::http::Timeout=15 -o Acquire::Retries=1 -q)
  known() { apt-cache policy gridengine-master 2>/dev/null | grep -q 'Candidate: [0-9]'; }
  if [ "$(id -u)" = 0 ] && [ "${SGE_LAB_UNPACK:-0}" != 1 ]; then
    exec 9>/run/batch-lab.lock # one lab at a time installs; closed below, for daemons would inherit it
    flock -w 120 9 || die "another lab has been installing packages for 2 minutes"
    known || quiet timeout 60 "${apt[@]}" update
    # mailx, which gridengine-common wants, would bring a mail server: stand in for it
    if ! dpkg-query -W -f '${Provides} ${db:Status-Status}\n' 2>/dev/null | grep -q 'mailx.* installed'; then
      mkdir -p "$DIR/mailx/DEBIAN"
      printf '%s\n' 'Package: lab-mailx' 'Version: 1' 'Architecture: all' 'Maintainer: lab' 'Provides: mailx' \
        'Description: empty stand-in for mailx' >"$DIR/mailx/DEBIAN/control"
      quiet dpkg-deb -b "$DIR/mailx" "$DIR/lab-mailx.deb"
      missing+=("$DIR/lab-mailx.deb")
    fi
    quiet timeout 120 "${apt[@]}" install -y --no-install-recommends --download-only "${missing[@]}"
    printf 'gridengine-%s shared/gridengineconfig boolean false\n' common client exec master | debconf-set-selections
    made=; if [ ! -e /usr/sbin/policy-rc.d ]; then # the packages must not start their services
      made=1; printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    quiet "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
    [ -z "$made" ] || { rm -f /usr/sbin/policy-rc.d; trap - EXIT; }
    exec 9>&-
  else
    PREFIX=$DIR/packages
    if [ ! -e "$PREFIX/done" ]; then
      mkdir -p "$PREFIX" "$DIR"/apt/{lists,archives}/partial
      apt+=(-o Dir::Cache="$DIR/apt")
      known || { apt+=(-o Dir::State::Lists="$DIR/apt/lists"); quiet timeout 60 "${apt[@]}" update; }
      mapfile -t all < <("${apt[@]}" -s install --no-install-recommends "${want[@]}" gridengine-common 2>/dev/null |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p' | grep -E '^(gridengine-|lib)' || true)
      [ ${#all[@]} -gt 0 ] || all=("${want[@]}" gridengine-common)
      (cd "$DIR/apt" && quiet timeout 120 "${apt[@]}" download "${all[@]}" && for file in *.deb; do dpkg -x "$file" "$PREFIX"; done)
      touch "$PREFIX/done"
    fi
  fi
fi
BIN=$PREFIX/usr/lib/gridengine SHARE=$PREFIX/usr/share/gridengine LIB=$PREFIX/usr/lib/$(uname -m)-linux-gnu

# ---- the cell ---------------------------------------------------------------------------------
COMMON=$DIR/root/lab/common
mkdir -p "$DIR"/root/{bin,lib,utilbin} "$COMMON"
ln -sfn "$SHARE/util" "$DIR/root/util"
ARCH=$("$SHARE/util/arch")
for name in bin lib utilbin; do ln -sfn "$BIN" "$DIR/root/$name/$ARCH"; done
cat >"$DIR/environment" <<END
SGE_ROOT=$DIR/root
SGE_CELL=lab
SGE_QMASTER_PORT=$PORT
SGE_EXECD_PORT=$((PORT + 1))
PATH=$BIN:$PATH
END
[ -z "$PREFIX" ] || echo "LD_LIBRARY_PATH=$BIN:$LIB" >>"$DIR/environment"
while IFS= read -r line; do export "${line?}"; done <"$DIR/environment"
# daemons hand their environment on to jobs: it holds what they need, and nothing of whoever runs this
clean() { env -i HOME="$HOME" PATH="$BIN:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" LANG=C.UTF-8 SGE_ROOT="$SGE_ROOT" SGE_CELL=lab \
  SGE_QMASTER_PORT="$SGE_QMASTER_PORT" SGE_EXECD_PORT="$SGE_EXECD_PORT" LD_LIBRARY_PATH="$BIN:$LIB" "$@"; }
ADMIN=none; [ "$(id -u)" = 0 ] || ADMIN=$USERNAME # whom qmaster believes to be an execd, besides root
if [ ! -e "$DIR/spooldb/sge" ]; then
  sed -e "s|^admin_user.*|admin_user $ADMIN|" -e "s|^spooling_params.*|spooling_params $DIR/spooldb|" \
    -e "s|^binary_path.*|binary_path $DIR/root/bin|" -e "s|^qmaster_spool_dir.*|qmaster_spool_dir $DIR/qmaster|" "$SHARE/default-bootstrap" >"$COMMON/bootstrap"
  echo "$HOST" >"$COMMON/act_qmaster"
  echo "$HOST localhost" >"$COMMON/host_aliases" # 127.0.0.1 has the name localhost, and names have to agree
  echo lab >"$COMMON/cluster_name"
  # root may run jobs; quick load reports, a dead execd is noticed soon, and no login shell: what a user's profile does,
  # as taking a lock that a killed job leaves behind, is no concern of these tests
  sed -e '/^#/d' -e "s|^execd_spool_dir .*|execd_spool_dir $DIR/execd|" -e 's/^min_\([ug]\)id .*/min_\1id 0/' \
    -e 's/^load_report_time .*/load_report_time 00:00:02/' -e 's/^max_unheard .*/max_unheard 00:00:10/' \
    -e 's/^reschedule_unknown .*/reschedule_unknown 00:00:15/' -e 's/^shell_start_mode .*/shell_start_mode unix_behavior/' -e 's/^login_shells .*/login_shells none/' \
    -e 's/flush_time=[0-9:]*/flush_time=00:00:01 accounting_flush_time=00:00:00/' "$SHARE/default-configuration" >"$DIR/conf/global"
  spool() { LD_LIBRARY_PATH=$BIN:$LIB "$BIN/$1" "${@:2}" >>"$DIR/log/spool.log" 2>&1 || { tail -n 3 "$DIR/log/spool.log" >&2; die "$1 $2 failed"; }; }
  spool spoolinit berkeleydb libspoolb "$DIR/spooldb" init
  spool spooldefaults.bin configuration "$DIR/conf/global"
  spool spooldefaults.bin complexes "$SHARE/util/resources/centry"
  spool spooldefaults.bin usersets "$SHARE/util/resources/usersets"
  spool spooldefaults.bin managers "$USERNAME"
fi

# ---- the daemons ------------------------------------------------------------------------------
if ! runs "$DIR/qmaster/qmaster.pid"; then
  (cd "$DIR/log" && clean "$BIN/sge_qmaster" </dev/null >"$DIR/log/qmaster.out" 2>&1) ||
    { tail -n 3 "$DIR/log/qmaster.out" "$DIR/qmaster/messages" >&2; die "sge_qmaster does not start"; }
  until_ok 20 qconf -sh || { tail -n 3 "$DIR/log/qmaster.out" "$DIR/qmaster/messages" >&2; die "sge_qmaster does not answer"; }
fi
change() { "$@" >>"$DIR/log/conf.log" 2>&1; }
if [ ! -e "$DIR/conf/done" ]; then
  change qconf -ah "$HOST" || true
  change qconf -as "$HOST" || true
  # schedule every second, after each submission and after each end; the default is every 15 s
  qconf -ssconf | sed -e 's/^schedule_interval .*/schedule_interval 0:0:1/' -e 's/^flush_submit_sec .*/flush_submit_sec 1/' \
    -e 's/^flush_finish_sec .*/flush_finish_sec 1/' -e 's/^job_load_adjustments .*/job_load_adjustments NONE/' >"$DIR/conf/scheduler"
  change qconf -Msconf "$DIR/conf/scheduler"
  { qconf -sc | grep -v '^gpu '; echo 'gpu gpu INT <= YES YES 0 0'; } >"$DIR/conf/complexes"
  change qconf -Mc "$DIR/conf/complexes"
fi
if ! runs "$DIR/run/execd.pid"; then
  (cd "$DIR/log" && clean SGE_EXECD_PIDFILE="$DIR/run/execd.pid" "$BIN/sge_execd" </dev/null >"$DIR/log/execd.out" 2>&1) ||
    { tail -n 3 "$DIR/log/execd.out" >&2; die "sge_execd does not start"; }
fi
until_ok 20 sh -c "qconf -sel | grep -qx '$HOST'" || { tail -n 3 "$DIR/log/execd.out" "$DIR/qmaster/messages" >&2; die "sge_execd does not register"; }
if [ ! -e "$DIR/conf/done" ]; then
  change qconf -mattr exechost complex_values gpu=2 "$HOST"
  printf 'group_name @allhosts\nhostlist %s\n' "$HOST" >"$DIR/conf/hosts"
  change qconf -Ahgrp "$DIR/conf/hosts" || true
  for each in 'smp $pe_slots' 'mpi $fill_up'; do
    printf '%s\n' "pe_name ${each% *}" 'slots 999' 'user_lists NONE' 'xuser_lists NONE' 'start_proc_args NONE' 'stop_proc_args NONE' \
      "allocation_rule ${each#* }" 'control_slaves TRUE' 'job_is_first_task FALSE' 'urgency_slots min' 'accounting_summary FALSE' \
      'qsort_args NONE' >"$DIR/conf/pe"
    change qconf -Ap "$DIR/conf/pe"
  done
  # no load threshold: a busy host would start nothing
  for each in "main.q $SLOTS INFINITY 0" 'short.q 2 00:00:10 10'; do
    read -r queue slots limit order <<<"$each"
    qconf -sq | sed -e "s/^qname .*/qname $queue/" -e 's/^hostlist .*/hostlist @allhosts/' -e "s/^slots .*/slots $slots/" -e "s/^h_rt .*/h_rt $limit/" \
      -e 's/^load_thresholds .*/load_thresholds NONE/' -e 's/^pe_list .*/pe_list smp mpi/' -e 's|^shell .*|shell /bin/bash|' -e 's/^rerun .*/rerun TRUE/' \
      -e 's/^notify .*/notify 00:00:02/' -e "s/^seq_no .*/seq_no $order/" >"$DIR/conf/queue"
    change qconf -Aq "$DIR/conf/queue" || { tail -n 2 "$DIR/log/conf.log" >&2; die "the queue $queue was refused"; }
  done
  : >"$DIR/conf/done"
fi
up() { local line; line=$(qstat -f -q main.q | grep '^main.q@') && ! awk '{print $6}' <<<"$line" | grep -q '[auE]'; }
until_ok 30 up || { qstat -f >&2; die "main.q does not come up"; }
