#!/usr/bin/env bash
# oar-up.sh DIR: a real OAR (Debian's 2.5.9) on this one host, without systemd and without cgroups: a PostgreSQL of its
# own, OAR's sshd on port 6667, and the server. Needs Debian and root. Only one can run on a host, for OAR's
# configuration, its ports 6666 and 6667 and its pid file are the host's. OAR runs no jobs of root: they are submitted by
# the account in DIR/user, which is made for it. Running it again brings back what has stopped.
#   OAR_LAB_SLOTS  resources of the host (4)     OAR_LAB_PORT  PostgreSQL's port (25432)
set -euo pipefail
DIR=$1 SLOTS=${OAR_LAB_SLOTS:-4} PORT=${OAR_LAB_PORT:-25432} ACCOUNT=harmony-oar
die() { printf 'oar-up: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "OAR's server must be started by root"
HOST=$(hostname)
until_ok() { local n=$(($1 * 20)); shift; until "$@" >/dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || return 1; sleep 0.05; done; }
# runs FILE COMMAND: the pid in the file is of that command, and no zombie
runs() {
  local pid stat
  pid=$(head -n1 "$1" 2>/dev/null) && [ -n "$pid" ] && stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
  case $stat in *"($2) Z "*) return 1 ;; *"($2) "*) return 0 ;; esac
  return 1
}
umask 022
mkdir -p "$DIR"/{run,log,server}
chmod 755 "$DIR"
DIR=$(cd "$DIR" && pwd -P)

# ---- packages ---------------------------------------------------------------------------------
want=(oar-server oar-server-pgsql oar-user oar-user-pgsql oar-node openssh-server cron)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || want+=(postgresql)
missing=()
for package in "${want[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
quiet() { "$@" </dev/null >"$DIR/log/packages.log" 2>&1 || { tail -n 5 "$DIR/log/packages.log" >&2; die "$* failed"; }; }
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "needs the packages ${missing[*]}, and there is no apt-get here"
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Acquire::http::Timeout=15 -o Acquire::Retries=1 -q)
  exec 9>/run/batch-lab.lock # one lab at a time installs; closed below, for daemons would inherit it
  flock -w 120 9 || die "another lab has been installing packages for 2 minutes"
  apt-cache policy oar-server 2>/dev/null | grep -q 'Candidate: [0-9]' || quiet timeout 60 "${apt[@]}" update
  quiet timeout 120 "${apt[@]}" install -y --no-install-recommends --download-only "${missing[@]}"
  made=; if [ ! -e /usr/sbin/policy-rc.d ]; then # the packages must not start their services
    made=1; printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  quiet "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
  [ -z "$made" ] || { rm -f /usr/sbin/policy-rc.d; trap - EXIT; }
  exec 9>&-
fi
runs /var/run/oar-server.pid Almighty && [ ! -s "$DIR/user" ] && die "an OAR of somebody else runs on this host"
id "$ACCOUNT" >/dev/null 2>&1 || useradd --no-create-home --home-dir / --shell /bin/bash "$ACCOUNT"

# ---- PostgreSQL -------------------------------------------------------------------------------
for PG in /usr/lib/postgresql/*/bin; do :; done
database() { (cd / && setpriv --reuid=postgres --regid=postgres --clear-groups "$PG/$1" "${@:2}" </dev/null); }
sql() { PGPASSWORD=oar "$PG/psql" -h 127.0.0.1 -p "$PORT" -qAt -v ON_ERROR_STOP=1 "$@" >/dev/null 2>"$DIR/log/sql.log"; }
install -d -m 700 -o postgres -g postgres "$DIR/pg"
install -d -m 755 -o postgres -g postgres "$DIR/socket"
[ -e "$DIR/pg/PG_VERSION" ] || database initdb -D "$DIR/pg" -A trust -N >"$DIR/log/initdb.log" 2>&1 || die "initdb failed"
runs "$DIR/pg/postmaster.pid" postgres || database pg_ctl -D "$DIR/pg" -w -l "$DIR/socket/log" -o "-p $PORT -k $DIR/socket \
  -c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_commit=off" start >/dev/null || die "PostgreSQL does not start"

# ---- OAR's configuration and tables -----------------------------------------------------------
# no cpusets; a check of the node that always says yes, for the usual one wants a fast sshd
sed -i -e "s/^DB_PORT=.*/DB_PORT=\"$PORT\"/" -e 's/^DB_BASE_PASSWD=.*/DB_BASE_PASSWD="oar"/' \
  -e 's/^DB_BASE_PASSWD_RO=.*/DB_BASE_PASSWD_RO="oar_ro"/' -e 's/^JOB_RESOURCE_MANAGER_PROPERTY_DB_FIELD/#&/' \
  -e 's/^JOB_RESOURCE_MANAGER_FILE/#&/' -e 's/^CPUSET_PATH/#&/' -e '/^PINGCHECKER/d' /etc/oar/oar.conf
echo 'PINGCHECKER_GENERIC_COMMAND="/bin/true"' >>/etc/oar/oar.conf
if [ ! -e "$DIR/user" ]; then
  sql -U postgres -d postgres -c "create role oar login password 'oar'" -c "create role oar_ro login password 'oar_ro'" \
    -c "create database oar owner oar" || die "the database cannot be made: $(tail -n 2 "$DIR/log/sql.log")"
  for table in pg_structure pg_default_admission_rules default_data; do
    sql -U oar -d oar -f "/usr/lib/oar/database/$table.sql" || die "$table.sql: $(tail -n 2 "$DIR/log/sql.log")"
  done
  sql -U postgres -d oar -c "grant select on all tables in schema public to oar_ro" || die "$(tail -n 2 "$DIR/log/sql.log")"
fi

# ---- the node's sshd, the server, resources ---------------------------------------------------
sed -i -e '/UsePrivilegeSeparation/d' -e '/KeepAlive/d' -e 's/^StrictModes.*/StrictModes no/' -e '/^ListenAddress/d' \
  -e '/^PidFile/d' /etc/oar/sshd_config
printf 'ListenAddress 127.0.0.1\nPidFile %s/run/sshd.pid\n' "$DIR" >>/etc/oar/sshd_config
install -d -m 755 /run/sshd
case $(getent shadow oar | cut -d: -f2) in '!'*) usermod -p '*' oar ;; esac # sshd refuses locked accounts
runs "$DIR/run/sshd.pid" sshd || /usr/sbin/sshd -f /etc/oar/sshd_config -E "$DIR/log/sshd.log" </dev/null || die "no sshd on port 6667"
until_ok 10 su -s /bin/bash oar -c "ssh -p 6667 -o StrictHostKeyChecking=no -o BatchMode=yes $HOST true" ||
  die "the account oar cannot ssh to $HOST:6667: $(tail -n 2 "$DIR/log/sshd.log")"
if ! runs /var/run/oar-server.pid Almighty; then
  rm -f /var/run/oar-server.pid
  (cd "$DIR/server" && /usr/sbin/oar-server </dev/null >"$DIR/log/server.log" 2>&1) || die "$(tail -n 2 "$DIR/log/server.log")"
  until_ok 10 bash -c 'exec 3<>/dev/tcp/127.0.0.1/6666' || die "OAR's server does not answer"
fi
if [ ! -e "$DIR/user" ]; then
  for ((slot = 0; slot < SLOTS; slot++)); do oarnodesetting -a -h "$HOST" >/dev/null; done
fi
oarnodesetting -s Alive -h "$HOST" >/dev/null 2>&1 || true
until_ok 20 bash -c "[ \"\$(oarnodes | grep -c '^state : Alive')\" -ge $SLOTS ]" || die "its resources are not alive"
printf '%s\n' "$ACCOUNT" >"$DIR/user"
