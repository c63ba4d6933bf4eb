#!/bin/bash
# A real Slurm on this machine: four nodes n1..n4 of 8 CPUs, 4000 MB and gpu:h100:4 (null devices), partitions
# debug* (all) and gpu (n3, n4), accounting. It is the oracle for how Slurm behaves, and the infra under SkyPilot.
#
# Usage: slurm_up.sh          as root; may be run again at any time
# RIG_PRIVATE (default /srv/slurmsky): a folder that the nodes do not share with this machine. slurmd runs in a mount
# namespace with an empty file system there, so that a submit folder below it is as far away as on a cloud node.
set -Eeuo pipefail
trap 'echo "${BASH_SOURCE[0]}: line $LINENO failed: $BASH_COMMAND" >&2' ERR # no start of the rig fails without a word

# Our own commands are not the rig's Slurm.
PATH=$(IFS=:; for folder in $PATH; do [ -x "$folder/slurmsky" ] || printf '%s:' "$folder"; done)
conf=/etc/slurm
private=${RIG_PRIVATE:-/srv/slurmsky}
nodes="n1 n2 n3 n4"

have() { command -v "$1" >/dev/null 2>&1; }
running() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
wait_for() { # SECONDS COMMAND...
    local tries=$(($1 * 4)) i
    shift
    for ((i = 0; i < tries; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.25; done
    echo "slurm_up.sh: gave up waiting for: $*" >&2
    return 1
}
usable_nodes() { [ "$(sinfo -h -p debug -t idle,mix,alloc -o %D | awk '{n += $1} END {print n + 0}')" = 4 ]; }

install_slurm() {
    have slurmctld && have slurmdbd && have mysqld && have rsync && return
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq slurm-wlm slurmdbd munge mariadb-server openssh-server rsync >/dev/null
}

write_configuration() {
    mkdir -p $conf /var/spool/slurmctld /var/spool/slurmd /var/log/slurm /run/munge /run/mysqld /opt/rig-gpu "$private"
    local i
    for i in 0 1 2 3; do [ -c /opt/rig-gpu/gpu$i ] || mknod /opt/rig-gpu/gpu$i c 1 3; done
    # SkyPilot gives a job the addresses of its nodes' names; each node has one of its own.
    for i in 1 2 3 4; do grep -q " n$i\$" /etc/hosts || echo "127.0.1.$i n$i" >>/etc/hosts; done
    cat >$conf/slurm.conf <<CONF
ClusterName=oracle
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd/%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.%n.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.%n.log
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoreFlags=job_comment,job_script,job_env
MaxArraySize=100001
MaxJobCount=200000
GresTypes=gpu
NodeName=n[1-4] NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=[17001-17004] CPUs=8 Boards=1 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=4000 Gres=gpu:h100:4 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=n[3-4] MaxTime=1-00:00:00 State=UP
CONF
    echo 'NodeName=n[1-4] Name=gpu Type=h100 File=/opt/rig-gpu/gpu[0-3]' >$conf/gres.conf
    (
        umask 077
        cat >$conf/slurmdbd.conf <<'CONF'
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
LogFile=/var/log/slurm/slurmdbd.log
PidFile=/run/slurmdbd.pid
CONF
    )
}

start_accounting() {
    chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
    running /run/munge/munged.pid || su -s /bin/sh munge -c /usr/sbin/munged
    if ! mysqladmin ping >/dev/null 2>&1; then
        chown mysql:mysql /run/mysqld
        (setsid mysqld_safe --user=mysql >/var/log/slurm/mysql.log 2>&1 &)
        wait_for 30 mysqladmin ping
    fi
    mysql -e "create database if not exists slurm_acct; create user if not exists slurm@localhost identified by 'slurm';
              grant all on slurm_acct.* to slurm@localhost"
    running /run/slurmdbd.pid || slurmdbd
    wait_for 20 sacctmgr -n list cluster
    sacctmgr -i add cluster oracle >/dev/null 2>&1 || true # it is there already
}

start_nodes() {
    running /run/slurmctld.pid || slurmctld
    wait_for 20 scontrol ping
    local node
    for node in $nodes; do
        running /run/slurmd.$node.pid ||
            unshare --mount --propagation private sh -c "mount -t tmpfs tmpfs $private && exec slurmd -N $node"
    done
    for _ in {1..12}; do # nodes of killed daemons complete their jobs first, for half a minute
        wait_for 5 usable_nodes 2>/dev/null && break
        scontrol update nodename='n[1-4]' state=resume 2>/dev/null || true # nodes that were down after a crash
    done
    usable_nodes
}

install_slurm
running /run/slurmctld.pid || write_configuration
start_accounting
start_nodes
sinfo
