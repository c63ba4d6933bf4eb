"""Random command lines of sacct, sstat, sprio, sshare, sreport and sacctmgr."""

from __future__ import annotations

from cases_query import ACCT_NAMES
from dice import STATES, Dice, job_id, some, some_list

_TIMES = (
    "now-1hour",
    "midnight",
    "now",
    "today",
    "2020-01-01",
    "01/01/20",
    "now-5days",
    "00:00",
    "2020-01-01T10:00:00",
    "now-60minutes",
    "2035-01-01",
    "bogus",
    "now+1day",
    "now-2weeks",
    "Wednesday",
    "1231",
    "now-x",
    "2020-13-01",
    "noon",
    "tomorrow",
    "0101",
    "12/31/35",
    "now-3600",
    "now-3600seconds",
)


# The database of 22.05 has another value for some fields, or none.
_ACCOUNTED = tuple(name for name in ACCT_NAMES if name not in ("SubmitLine", "WorkDir", "Reason"))


def _sacct_format(dice: Dice) -> str:
    parts = []
    for _ in range(dice.randint(1, 6)):
        name = dice.choice((*_ACCOUNTED, "JobID", "JobName", "State", "ExitCode", "Partition", "NNodes"))
        name = dice.choice(
            (name, name.lower(), name.upper(), name[:7] if name.startswith(("Alloc", "Part", "Account")) else name)
        )
        wide = 20 if name.lower() in ("start", "end", "submit", "eligible") else 6
        odd = ("%x", "%+9") if wide < 9 else ("", "")  # dates of no width are another matter in 22.05
        parts.append(name + dice.choice(("", "", f"%{dice.randint(wide, 40)}", f"%-{dice.randint(wide, 40)}", *odd)))
    return dice.choice((",", ",", ",", ", ")).join(parts)


def sacct(dice: Dice) -> str:
    outer, words = [], ["sacct", dice.choice(("-j ", "--jobs=")) + _sacct_ids(dice)]
    shape = dice.random()
    if shape < 0.65:
        words.append(f"{dice.choice(('-o ', '--format='))}'{_sacct_format(dice)}'")
        if dice.random() < 0.1:
            outer.append(
                f"SACCT_FORMAT='{words.pop()[9:].strip(chr(39))}'"
                if words[-1].startswith("--format")
                else "SACCT_FORMAT='jobid%30,state'"
            )
    elif shape < 0.7:
        words.append(
            dice.choice(
                (
                    "-o nosuch",
                    "-o jobid,nosuch,state",
                    "-o ''",
                    "-o jobid%",
                    "-o ,jobid,,state",
                    "-o jobid%0",
                    "-o job",
                    "-o n",
                    "-o 'jobid state'",
                    "-b",
                    "-o j",
                    "-o jobid%9x",
                    "-b -o jobid",
                )
            )
        )
    words += some(dice, (
        (0.5, "-X | --allocations"), (0.3, "-n | --noheader"), (0.2, "-P | --parsable2"), (0.12, "-p | --parsable"), (0.1, "--delimiter=, | --delimiter=' ; ' | --delimiter= | --delimiter=é"),
        (0.15, "-D | --duplicates"), (0.1, "-r gpu | -r debug | -r nosuch | -r gpu,debug"), (0.08, "-u root | -u nosuch | -u 0 | -u root,daemon | -a | --allusers"), (0.06, "-A root | -A physics | -A nosuch,root"),
        (0.05, "-q normal | -q nosuch | --qos=normal,x"), (0.08, "-N n1 | -N n[2-3] | -N n9 | -N n4,n1"), (0.06, "-i 1 | -i 2 | -i 1-2 | -i 2-9 | -i x | --nnodes=0"), (0.05, "-I 1 | -I 2-4 | --ncpus=8 | -I x"),
        (0.06, "-k 1 | -k 60 | -k 1:00 | -k 2-0 | -k x | -k 10 -K 600 | -K 100"), (0.08, "--name=done | --name=one,two | --name=nosuch | --name='two words'"), (0.04, "-T | --truncate"),
        (0.05, "--units=K | --units=G | --units=M | --units=X | --units=KK"), (0.04, "--noconvert"), (0.03, "-M oracle | -M nosuch | -L"), (0.03, "-W x | -x root | -g root | -g nosuch | --gid=0 | --uid=0"),
        (0.02, "-C gpu | --constraints=fast"), (0.03, "-F nosuch | -F FAILED | -f /no/such | -c"), (0.02, "--whole-hetjob=yes | --whole-hetjob=no | --whole-hetjob=x"), (0.02, "--federation | --local"),
    ))  # fmt: skip
    if dice.random() < 0.3:
        words.append(
            dice.choice(("-s ", "--state=")) + some_list(dice, (*STATES[:22], *STATES[:22], "bogus", "''", "RQ", "RS"))
        )
        words += [f"-S {dice.choice(_TIMES)}"] if dice.random() < 0.8 else []
        words += [f"-E {dice.choice(_TIMES)}"] if dice.random() < 0.7 else []
    elif dice.random() < 0.2:
        words.append(dice.choice(("-S ", "--starttime=", "-E ", "--endtime=")) + dice.choice(_TIMES))
    return " ".join([*outer, *words])


def _sacct_ids(dice: Dice) -> str:
    ids = []
    for _ in range(dice.choice((1, 2, 4, 6))):
        one = job_id(dice)
        if one.startswith(("{cut}", "{pair}+")):
            continue  # 22.05 keeps no account of elements that were cancelled while their array was held
        if one.startswith("{") and dice.random() < 0.15:
            one += dice.choice((".batch", ".0", ".1", ".extern", ".9", ".x", ".", ".interactive"))
        ids.append(one)
    return ",".join(ids or ["{one}"])


def sstat(dice: Dice) -> str:
    ids = ",".join(dice.choice(("{two}.0", "{two}.1", "{two}", "{one}", "{one}.batch", "{two}.7", "{done}", "99999", "x", "{sweep}_3", "{held-mincpus}", "{pair}.batch"))
                   for _ in range(dice.choice((1, 1, 2))))  # fmt: skip
    names = ",".join(dice.choice(("JobID", "NTasks", "Nodelist", "ReqCPUFreqGov", "jobid%20", "ntasks%-9", "nodelist%3", "MaxDiskReadNode%0", "nosuch", "ntasks%x"))
                     for _ in range(dice.randint(1, 3)))  # fmt: skip
    return " ".join(
        [
            "sstat",
            "-j " + ids,
            f"-o {names}",
            *some(dice, ((0.4, "-n"), (0.3, "-P"), (0.2, "-p"), (0.3, "-a"), (0.2, "--noconvert"))),
        ]
    )


def sprio(dice: Dice) -> str:
    words = ["sprio", *some(dice, ((0.3, "-l"), (0.3, "-o '%i %Y' | -o %.9i | -o %Z"), (0.3, "-j {one} | -j 99999 | -j x"), (0.2, "-n"), (0.2, "-u root | -u nosuch"), (0.2, "-w"), (0.2, "-S i | -S -Y"), (0.1, "-h"),
                                    (0.1, "-M oracle | -M nosuch"), (0.1, "-p gpu | -p nosuch"), (0.05, "--nosuch")))]  # fmt: skip
    return " ".join(words)


def sshare(dice: Dice) -> str:
    words = ["sshare", *some(dice, ((0.3, "-l"), (0.3, "-a"), (0.3, "-A root | -A nosuch | -A root,nosuch"), (0.2, "-u root | -u 0"), (0.3, "-n"), (0.25, "-P"), (0.1, "-p"), (0.2, "-U"), (0.1, "-m"),
                                     (0.3, "-o account,user | -o account%30,rawshares%-8 | -o nosuch | -o user,,account | -o acc,us,rawsh | -o fairshare%12,levelfs | -o id,cluster | -o account%x,normshares"),
                                     (0.05, "-M oracle | -M nosuch"), (0.05, "extra")))]  # fmt: skip
    return " ".join(words)


_USED = (
    "Cluster%9",
    "cl%-12",
    "login%9",
    "Account%15",
    "acc%-3",
    "pr%20",
    "nosuch",
    "tresname%14",
    "allocated%12",
    "down%9",
)


def sreport(dice: Dice) -> str:
    reports = ("cluster utilization", "cluster accountutilizationbyuser", "cluster userutilizationbyaccount", "cluster userutilizationbywckey", "cluster wckeyutilizationbyuser", "job sizesbyaccount", "job sizesbywckey",
               "job sizesbyaccountandwckey", "user top", "user topusage", "reservation utilization", "clu acc", "j s", "us t", "res ut", "nosuch", "user", "job", "reservation x",
               "cluster util extra", "job SizesByAccount")  # fmt: skip
    words = ["sreport", *some(dice, ((0.3, "-t hours | -t Percent | -t sec | -t nosuch | -t M"), (0.2, "-T cpu | -T gres/gpu | -T cpu,mem | -T nosuch | -T ALL"), (0.3, "-n"), (0.25, "-P"), (0.15, "-p"),
                                      (0.05, "-M oracle | -M nosuch"), (0.1, "-Q | -v")))]  # fmt: skip
    words.append(dice.choice(reports))
    if words[-1].startswith("j") and "-T cpu" in words:
        words.remove("-T cpu")  # of which 22.05 says more
    words.append(
        dice.choice(("start=2020-01-01", "start=2020-01-01T10:00", "start=01/01/20", "Start=2020-02-01"))
        + dice.choice((" end=2020-01-02", " end=2020-03-01", " End=2020-02-01T12:00:00", " end=2019-01-01"))
    )
    if words[-2].startswith(("cl", "us")):  # newer releases have wider columns
        words.append("format=" + ",".join(dice.choice(_USED) for _ in range(dice.randint(1, 4))))
    words += some(dice, (
        (0.1, "format=nosuch | format=cluster%20,account%-9 | format=cluster%9,allo%30"), (0.2, "grouping=1,10,100 | grouping=5 | grouping=x | grouping=individual"),
        (0.15, "flat_view | flatview | FlatView | fl"), (0.12, "printjobcount | PrintJobCount"), (0.12, "clusters=oracle | cluster=nosuch | all_clusters"), (0.15, "users=root | accounts=root | account=x"),
        (0.12, "topcount=3 | top=x | group | tree"), (0.1, "partitions=gpu | nodes=n1 | jobs=1 | gid=0 | names=x | wckeys=y"), (0.05, "nosuch=1 | nosuch | where"),
    ))  # fmt: skip
    return " ".join(words)


def sacctmgr(dice: Dice) -> str:
    entity = dice.choice(("account", "accounts", "acc", "ac", "association", "assoc", "as", "cluster", "clusters", "cl", "qos", "q", "user", "users", "u", "tres", "wckey", "w", "federation", "f", "resource", "reso",
                          "reservation", "rese", "nosuch", "coordinator"))  # fmt: skip
    names = ("Cluster", "cl", "Account", "acc", "acct", "User", "u", "Name", "n", "Descr", "Org", "Share", "fairshare", "QOS", "DefaultQOS", "defq", "Admin", "DefaultAccount", "MaxJobs", "MaxJ", "GrpTRES", "MaxWall", "MaxW",
             "Priority", "Preempt", "preemptm", "UsageFactor", "ID", "Type", "ParentName", "Partition", "part", "ControlHost", "MaxTRESPerUser", "maxtrespu", "MaxSubmit", "grpsubmit", "MinTRES",
             "Coord", "WithAssoc", "NodeNames", "TRES", "nosuch", "Classification", "State", "Count", "Server", "MaxTRESMins", "grpjobs", "MaxJobsPerUser")  # fmt: skip
    words = [
        "sacctmgr",
        *some(dice, ((0.3, "-n"), (0.3, "-P"), (0.15, "-p"), (0.08, "-s"), (0.06, "-r | -Q | -i"))),
        dice.choice(("show", "show", "list", "sho", "lis", "sh")),
        entity,
    ]
    if dice.random() < 0.55 or entity in ("cluster", "clusters", "cl", "qos", "q"):
        words.append(
            "format="
            + ",".join(
                dice.choice(names) + dice.choice(("", "", "%20", "%-8", "%3", "%x", "%0"))
                for _ in range(dice.randint(1, 4))
            )
        )
    words += some(dice, (
        (0.1, "where"), (0.15, "withassoc | withassociations | WithAssoc | witha"), (0.06, "withcoord | withdeleted | withd"), (0.06, "wopinfo | woplimits | tree | onlydefaults"), (0.15, "cluster=oracle | cluster=nosuch | clusters=oracle,x"),
        (0.15, "user=root | user=nosuch | users=root,x"), (0.15, "account=root | account=nosuch | accounts=root"), (0.1, "name=normal | name=nosuch | names=root | name=root"), (0.06, "root | nosuch"), (0.05, "nosuch=1 | id=1 | ids=1"),
        (0.05, "qos=normal | description=x | organization=root | type=cpu | adminlevel=admin | partition=gpu | parent=root"), (0.04, "start=2020-01-01 end=2020-02-01"),
    ))  # fmt: skip
    if entity.startswith("r"):
        words = [word for word in words if not word.startswith("clusters=")]
    if entity.startswith(("ac", "u")):  # which asks whether one is sure
        words = [
            word
            for word in words
            if not word.startswith(("cluster", "account", "user", "id", "qos", "partition", "parent"))
        ]
    return " ".join(words)
