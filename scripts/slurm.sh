#!/usr/bin/env bash
# A SLURM of one node and two processors on this machine, for the tests: everything of it lies in one folder.
#
#   scripts/slurm.sh install      slurm-wlm and munge from Debian, where they are missing
#   scripts/slurm.sh up DIR       start it, as root; then `SLURM_CONF=DIR/slurm.conf sbatch ...`
#   scripts/slurm.sh down DIR     end all of it, with its jobs
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"
found() { for name in slurmctld slurmd munged sbatch; do command -v "$name" >/dev/null || return 1; done; }

install() {
  found && return
  if command -v apt-get >/dev/null; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    export DEBIAN_FRONTEND=noninteractive
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends slurm-wlm munge; } >&2 || true
  fi
  found || { echo "the tests on SLURM need slurmctld, slurmd and munged: install slurm-wlm and munge with your package manager" >&2; exit 1; }
}

up() {
  found || { echo "SLURM is not installed: scripts/slurm.sh install" >&2; exit 1; }
  [ "$(id -u)" = 0 ] || { echo "only root can start jobs of SLURM's node" >&2; exit 1; }
  mkdir -p "$1"/{spool,state}
  dir=$(cd "$1" && pwd) host=$(hostname -s)
  chmod 755 "$dir"
  head -c 1024 /dev/urandom > "$dir/munge.key"
  chmod 400 "$dir/munge.key"
  port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
  cat > "$dir/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(port)
SlurmdPort=$(port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
JobRequeue=1
KillWait=2
ReturnToService=1
MpiDefault=none
NodeName=node NodeHostname=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=tests Nodes=node Default=YES MaxTime=60 OverSubscribe=NO State=UP
CONF
  munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munge.seed"
  export SLURM_CONF=$dir/slurm.conf
  slurmctld -c
  slurmd -N node
  for _ in $(seq 60); do
    [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && return
    sleep 0.5
  done
  echo "SLURM did not start: see $dir/slurmctld.log and slurmd.log" >&2
  down "$dir"
  exit 1
}

down() {
  dir=$(cd "$1" && pwd)
  SLURM_CONF=$dir/slurm.conf scancel --user="$(id -un)" --signal=KILL 2>/dev/null || true
  for name in slurmd slurmctld munged; do
    pid=$(cat "$dir/$name.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 60); do # until it is gone, or waits for nobody to ask how it ended
      grep -qs '^State:[[:space:]]*[^Z]' "/proc/$pid/status" || break
      sleep 0.25
    done
  done
}

case ${1:-} in
  install) install ;;
  up) up "${2:?a folder}" ;;
  down) down "${2:?a folder}" ;;
  *) sed -n '2,6p' "$0" >&2; exit 2 ;;
esac
