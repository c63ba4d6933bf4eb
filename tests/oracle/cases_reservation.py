"""Reservations: created, changed and deleted by scontrol, requested by jobs, shown by scontrol and sinfo."""

from __future__ import annotations

from case import Action, Case, Wait

_SHOW = "scontrol show res %s | sed 's/ Watts=n.a//'"  # newer releases have no Watts


def _case(name: str, *actions: Action) -> Case:
    return Case(name, actions)


_HOUR = "starttime=now+1hour duration=60"

CASES: tuple[Case, ...] = (
    _case("refused", "scontrol show res", "sinfo -T", "scontrol create reservation", "scontrol create reservation foo=bar",
          "scontrol create reservation starttime=now duration=60", "scontrol create reservation starttime=now duration=60 user=root",
          "scontrol create reservation starttime=now duration=60 nodes=n1", "scontrol create reservation starttime=now nodes=n1 user=root",
          f"scontrol create reservation {_HOUR} users=nosuch nodes=n1", f"scontrol create reservation {_HOUR} groups=nosuch nodes=n1",
          "scontrol create reservation starttime=now+1hour duration=xx users=root nodes=n4",
          "scontrol create reservation starttime=foo duration=10 users=root nodes=n4",
          "scontrol create reservation starttime=now+1hour endtime=now users=root nodes=n4",
          "scontrol create reservation starttime=now-1hour duration=10 users=root nodes=n4",
          f"scontrol create reservation {_HOUR} users=root nodes=n9", f"scontrol create reservation {_HOUR} users=root nodes=n4 flags=nosuch",
          f"scontrol create reservation {_HOUR} users=root nodes=n4 partition=nosuch",
          f"scontrol create reservation {_HOUR} users=root nodecnt=xx", f"scontrol create reservation {_HOUR} users=root corecnt=xx",
          f"scontrol create reservation {_HOUR} users=root licenses=a:1", f"scontrol create reservation {_HOUR} users=root nodes=n1 bogus=1",
          f"scontrol create reservation q3 {_HOUR} users=root nodes=n1", f"scontrol create reservation {_HOUR} users=root nodes=n1 flags=part_nodes",
          "scontrol update reservationname=nope duration=1", "scontrol update reservationname=nope foo=1", "scontrol show res nope",
          "scontrol delete reservation=nope", "scontrol delete reservationname=nope", "scontrol delete reservation",
          "sbatch --reservation=nope job.sh", "srun --reservation=nope true", "salloc --reservation=nope true"),
    _case("made", f"scontrol create reservation reservationname=r1 {_HOUR} user=root nodes=n1", _SHOW % "r1", "scontrol -o show res r1 | sed 's/ Watts=n.a//'",
          _SHOW % "", "sinfo -T", "sinfo -T -h", "sinfo", "scontrol create reservation reservationname=r1 starttime=now+3hour duration=60 user=root nodes=n2",
          f"scontrol create res=r2 {_HOUR} users=root nodecnt=2", _SHOW % "r2", f"scontrol create res=r3 {_HOUR} users=root nodes=n1",
          "scontrol create reservation=r4 starttime=now+3hour duration=1-0 accounts=root nodes=n[3-4] flags=daily,FLEX", _SHOW % "r4",
          "scontrol create reservation=r5 starttime=now+30hour duration=1 users=root nodes=ALL flags=maint,ignore_jobs MaxStartDelay=10", _SHOW % "r5",
          "scontrol create reservation=r6 starttime=now+40hour duration=1 users=root tres=node=2", _SHOW % "r6", "sinfo -T",
          "scontrol delete reservationname=r1", "scontrol delete reservation=r2", "scontrol delete reservation=r4", "scontrol delete reservation=r5",
          "scontrol delete reservation=r6", "scontrol show res"),
    _case("changed", f"scontrol create res=r1 {_HOUR} user=root nodes=n1", "scontrol update reservationname=r1 duration=120", _SHOW % "r1",
          "scontrol update reservationname=r1 users=+munge", "scontrol update reservationname=r1 users-=munge", "scontrol update reservationname=r1 users=-root",
          "scontrol update reservationname=r1 nodes=n4", _SHOW % "r1", "scontrol update reservationname=r1 nodecnt+=1", "scontrol update reservationname=r1 flags+=overlap",
          "scontrol update reservationname=r1 flags=maint", "scontrol update reservationname=r1 flags-=maint", "scontrol update reservationname=r1 foo=1",
          "scontrol update reservationname=r1 starttime=now+90minutes", "scontrol update reservationname=r1 endtime=now+190minutes",
          "scontrol update reservationname=r1 duration=-10", "scontrol update reservationname=r1 partitionname=gpu",
          "scontrol update reservation r1 starttime=now+2hours", _SHOW % "r1", "scontrol delete reservationname=r1"),
    _case("used", "scontrol create res=mine starttime=now duration=1:00:00 users=root nodes=n1", "scontrol create res=other starttime=now duration=1:00:00 users=munge nodes=n2",
          "scontrol create res=soon starttime=now+1hour duration=1:00:00 users=root nodes=n3", "sbatch -J in --reservation=mine job.sh", Wait("$J1", "RUNNING"),
          "sbatch -J early --reservation=soon job.sh", Wait("$J2", "Reservation"),
          "sbatch -J kept -w n2 -t 10 job.sh", Wait("$J3", "reserved"), "sbatch -J late -w n3 -t 90 job.sh", Wait("$J4", "reserved"),
          "sbatch -J free -w n4 -t 10 job.sh", Wait("$J5", "RUNNING"),
          "sbatch -J denied --reservation=other job.sh", "sbatch -J large -N2 --reservation=mine job.sh", "sbatch -J away -w n4 --reservation=mine job.sh",
          "squeue -S i -o '%i %j %T %r %v %N'", "squeue -R mine -h -o %i", "scontrol delete reservationname=mine", "scontrol update jobid=$J1 reservationname=nope",
          "scontrol show job $J1 | grep -e Reservation -e NodeList=", "scancel $J1 $J2 $J3 $J4 $J5", Wait("$J1", "CANCELLED"), Wait("$J5", "CANCELLED"),
          "scontrol delete reservation=mine; scontrol delete reservation=other; scontrol delete reservation=soon", "scontrol show res"),
)  # fmt: skip
