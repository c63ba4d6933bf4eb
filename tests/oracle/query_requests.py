"""Hundreds of random command lines of all query commands, about the jobs of cases_fleet.py.

The lines are the same in every run. What only the clock or the host decides is never cut by a width.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from case import Case, Run
from cases_fleet import CASES as FLEET
from cases_fleet import named
from cases_query import ACCT_NAMES, JOB_NAMES, STEP_NAMES
from cases_query import NODE_NAMES as ALL_NODE_NAMES

# CPUs of suspended jobs are free there.
NODE_NAMES = [name for name in ALL_NODE_NAMES if name != "CPUsState"]
Dice = random.Random
Some = Sequence[tuple[float, str]]

#: of the fleet, by what can be queried by their ids
_PLAIN = (
    "slow",
    "done",
    "broken",
    "several",
    "killed",
    "fallen",
    "one",
    "two",
    "whole",
    "devices",
    "both",
    "stopped",
    "again",
    "gone",
    "after",
    "unlucky",
    "never",
    "later",
    "big",
    "wide",
    "dropped",
    "moved",
    "named-3",
    "held-mincpus",
)
_ARRAYS = (
    ("parity", (1, 4, 6, 7)),
    ("sweep", (1, 3, 4, 6, 9, 10)),
    ("list", (2, 5, 9, 4)),
    ("cut", (11, 12, 16, 30)),
    ("later-array", (1, 3)),
)
_HETS = ("pair", "three")
_BAD_IDS = (
    "99999",
    "x",
    "{one}x",
    "{one}_",
    "_1",
    "{sweep}_[3-4",
    "{one}.x",
    "-1",
    "{pair}+",
    "{sweep}_x",
    "{one}+1",
    "{one}_1",
)
_STATES = (
    "PD",
    "R",
    "S",
    "CD",
    "CA",
    "F",
    "TO",
    "NF",
    "CG",
    "CF",
    "SE",
    "RH",
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETED",
    "CANCELLED",
    "failed",
    "timeout",
    "pending",
    "Running",
    "all",
    "ALL",
    "SPECIAL_EXIT",
    "preempted",
    "OOM",
    "DL",
    "resizing",
    "STOPPED",
)
_NAMES = (
    "one",
    "two",
    "done",
    "pair",
    "a-very-long-name-that-no-column-of-any-table-would-ever-hold",
    "'two words'",
    "größe-und-maß",
    "sweep",
    "nosuch",
    "One",
    "''",
    "after",
)
_NODES = ("n1", "n2", "n4", "n[1-2]", "n[2-4]", "n1,n3", "n9", "n[4-5]", "n[1-", "N1", "''")
_ENDINGS = ("", "", " ", " ", "|", ",", ":", ";x", "%%", "\\\\n", "\\\\t", "_", "é", " - ")
# Fields whose values have names or times of their own here and there are never cut.
_LONG_LETTERS = "oZSeV"
_LETTERS = "aAbBcCdDEfFgGhHiIjJkKlmMnNOPqrRtTuUvwWXyz"


def _some(dice: Dice, choices: Some) -> list[str]:
    return [dice.choice(options.split(" | ")) for chance, options in choices if dice.random() < chance]


def _list(dice: Dice, values: Sequence[str], most: int = 3) -> str:
    return ",".join(dice.choice(values) for _ in range(dice.choice((1, 1, 2, most))))


def _id(dice: Dice) -> str:
    kind = dice.random()
    if kind < 0.5:
        return "{%s}" % dice.choice(_PLAIN)
    if kind < 0.8:
        name, tasks = dice.choice(_ARRAYS)
        one, other = dice.choice(tasks), dice.choice(tasks)
        return "{%s}" % name + dice.choice(
            ("", f"_{one}", f"_{one}", f"_[{min(one, other)}-{max(one, other)}]", f"_[{one},{other}]")
        )
    if kind < 0.92:
        return "{%s}" % dice.choice(_HETS) + dice.choice(("", "+0", "+1", "+2", "+7"))
    return dice.choice(_BAD_IDS)


def _ids(dice: Dice, most: int = 4) -> str:
    return ",".join(_id(dice) for _ in range(dice.choice((1, 1, 2, most))))


def _width(dice: Dice, letter: str) -> str:
    if letter in _LONG_LETTERS:
        return dice.choice(("", ".30", "25", ".20")) if letter not in "oZ" else ""
    least = 6 if letter in "iAFEMLpQV" else 1
    return dice.choice(("", "", ".", "")) + dice.choice(
        ("", "", str(dice.randint(least, 24)), "0", "." + str(dice.randint(least, 12)))
    )


def _short(dice: Dice, letters: str) -> str:
    parts = [dice.choice(("", "", "", "a ", "<", "é"))]
    for _ in range(dice.randint(1, 5)):
        letter = dice.choice(letters)
        parts.append(f"%{_width(dice, letter)}{letter}{dice.choice(_ENDINGS)}")
    return "".join(parts)


def _long(dice: Dice, names: Sequence[str]) -> str:
    parts = []
    for _ in range(dice.randint(1, 4)):
        name = dice.choice(names)
        name = dice.choice((name, name, name.lower(), name.upper()))
        long = any(word in name.lower() for word in ("time", "dir", "command", "std", "deadline"))
        size = (
            dice.choice((":25", ":|", ":.60"))
            if long
            else dice.choice(
                (
                    "",
                    "",
                    f":{dice.randint(6, 30)}",
                    f":.{dice.randint(6, 30)}",
                    ":",
                    ":|",
                    ":0",
                    f":{dice.randint(6, 30)}x",
                    ": ",
                    ":-9",
                    ":12 |",
                )
            )
        )
        parts.append(name + size)
    return dice.choice((",", ",", ",", ", ")).join(parts)


def _sort(dice: Dice, letters: str) -> str:
    keys = [dice.choice(("", "", "-", "-", "+")) + dice.choice(letters) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
    return ",".join([*keys, dice.choice(("i", "-i", "+i", "i"))])


def _squeue(dice: Dice) -> str:
    outer, words = [], ["squeue"]
    shape = dice.random()
    if shape < 0.4:
        text = _short(dice, _LETTERS + _LONG_LETTERS)
        if dice.random() < 0.1:
            outer.append(f"SQUEUE_FORMAT='{text}'")
        else:
            words.append(f"{dice.choice(('-o', '-o ', '--format='))}'{text}'")
    elif shape < 0.7:
        text = _long(dice, [name for name in JOB_NAMES if not name.startswith("Std")])
        if dice.random() < 0.1:
            outer.append(f"SQUEUE_FORMAT2='{text}'")
        else:
            words.append(f"{dice.choice(('-O', '-O ', '--Format='))}'{text}'")
    elif shape < 0.75:
        words.append(dice.choice(("-o '%Zx%q' -O name", "-o '%'", "-o ''", "-O ''", "-o '%5'", "-O nosuch", "-O jobid:x:y", "-O ,jobid",
                                  "-O jobid,,name", "-O jobid:5,nosuch:9,name", "-o %i%", "-o '%i%$%j'", "-o '%e 1%i'",
                                  "-O 'job id'", "-o '%99i|'", "-O name:300|")))  # fmt: skip
    words.append(
        "-S " + _sort(dice, "aABcCdDfgGHiIjJlmnNPtTuUvz")
        if dice.random() < 0.9
        else dice.choice(("-S nosuch", "-S ''", "-S i,", "-S ,i", "-S -", "-S Y,i", "-S i%"))
    )
    words += _some(dice, (
        (0.3, "-h | --noheader"), (0.1, "-r -t R,CD,F | --array -t S,R,TO"), (0.05, "--array-unique"), (0.08, "--me | --me"), (0.05, "-a | --all | --hide"), (0.04, "--noconvert"),
        (0.03, "-M oracle | --clusters=oracle | -M all"), (0.05, "--start"), (0.06, "-l"), (0.04, "-P | --priority"), (0.03, "--federation | --local | --sibling"),
    ))  # fmt: skip
    filters = [
        (0.3, lambda: dice.choice(("-j ", "--jobs=", "-j")) + _ids(dice)), (0.3, lambda: dice.choice(("-t ", "--states=")) + _list(dice, (*_STATES, *_STATES, "bogus", "''", "R,,PD"))),
        (0.12, lambda: "-u " + _list(dice, ("root", "root", "0", "nosuch", "daemon"))), (0.1, lambda: "-A " + _list(dice, ("root", "physics", "nosuch", "ROOT"))),
        (0.12, lambda: "-p " + _list(dice, ("gpu", "debug", "nosuch", "GPU"))), (0.06, lambda: "-q " + _list(dice, ("normal", "high", "nosuch"))),
        (0.12, lambda: "-n " + _list(dice, _NAMES)), (0.12, lambda: "-w " + dice.choice(_NODES)), (0.04, lambda: "-L " + _list(dice, ("matlab", "nosuch"))),
        (0.04, lambda: "-R " + _list(dice, ("maint", "nosuch"))),
    ]  # fmt: skip
    words += [make() for chance, make in filters if dice.random() < chance]
    outer += _some(dice, (
        (0.03, "SQUEUE_STATES=R | SQUEUE_STATES=all | SQUEUE_STATES=bogus"), (0.02, "SQUEUE_PARTITION=gpu | SQUEUE_PARTITION=nosuch"),
        (0.02, "SQUEUE_USERS=root | SQUEUE_USERS=nosuch"), (0.02, "SQUEUE_ACCOUNT=root | SQUEUE_ACCOUNT=physics"), (0.02, "SQUEUE_ARRAY_UNIQUE=1"),
        (0.02, "SQUEUE_NAMES=one,two | SQUEUE_QOS=normal | SQUEUE_QOS=nosuch"), (0.02, "SQUEUE_SORT=-i | SQUEUE_PRIORITY=1 | SQUEUE_LICENSES=x"),
        (0.02, "SLURM_BITSTR_LEN=8 | SLURM_BITSTR_LEN=0 | SLURM_BITSTR_LEN=x"), (0.02, "SLURM_TIME_FORMAT=%Y | SLURM_TIME_FORMAT=standard"),
        (0.02, "SLURM_CLUSTERS=oracle | SQUEUE_ALL=1"),
    ))  # fmt: skip
    return " ".join([*outer, *words])


def _steps(dice: Dice) -> str:
    words = ["squeue", dice.choice(("-s", "-s", "--steps")), *_some(dice, ((0.3, "-h"), (0.15, "-u root | -u nosuch"), (0.15, "-p gpu | -p debug | -p nosuch"),
             (0.1, "-n inner | -n outer,batch"), (0.15, "-w n1 | -w n2 | -w n4 | -w n9"), (0.1, "-t R | -t all | -t CD"), (0.1, "-l | -r | --start"), (0.1, "-A root | -A x")))]  # fmt: skip
    if dice.random() < 0.4:
        words[1] = "-s " + ",".join(dice.choice(("{two}.0", "{two}.1", "{two}.batch", "{one}.batch", "{two}.7", "{pair}.batch", "{sweep}_3.batch", "{done}.0", "{sweep}_3", "{two}", "x.0", "99999.0"))
                                    for _ in range(dice.choice((1, 2, 3))))  # fmt: skip
    elif dice.random() < 0.5:
        words.append("-j " + _ids(dice))
    shape = dice.random()
    if shape < 0.35:
        words.append(f"-o '{_short(dice, 'AbijlMNPSuUD')}'")
    elif shape < 0.7:
        words.append(f"-O '{_long(dice, [name for name in STEP_NAMES if name != 'ContainerId'])}'")
    words.append("-S " + dice.choice(("i", "-i", "N,i", "-N,i", "P,-i", "u,i", "U,-i", "l,i", "x,i")))
    return " ".join(words) + " | grep -v extern"


def _sinfo(dice: Dice) -> str:
    outer, words = [], ["sinfo"]
    shape = dice.random()
    if shape < 0.35:
        text = _short(dice, "aAbBcdDEfFgGhIlLmMNpPrRsStTVwXYzZ")
        words.append(f"-o '{text}'")
        if dice.random() < 0.1:
            words.pop()
            outer.append(f"SINFO_FORMAT='{text}'")
    elif shape < 0.7:
        words.append(f"{dice.choice(('-O', '--Format='))}'{_long(dice, NODE_NAMES)}'")
    elif shape < 0.76:
        words.append(dice.choice(("-o '%'", "-o ''", "-O ''", "-o '%5'", "-O nosuch", "-O ,nodes", "-o '%all'", "-O nodes,,partition", "-O nodes:5,nosuch:9,cpus",
                                  "-o '%D%'", "-o '%D%$%P'", "-O nodelist:300|")))  # fmt: skip
    sort = ",".join(
        dice.choice(("", "-", "+", "#", "-#")) + dice.choice("aAbBcCdDefFgGhIlLmMNopPrRsStTvwXYzZE")
        for _ in range(dice.choice((1, 1, 2, 3)))
    )
    words = [word.replace(":-9", ":9") for word in words]  # 22.05 prints what is on its stack
    words += ["-S " + sort] if dice.random() < 0.4 else []
    words += _some(dice, (
        (0.25, "-h | --noheader"), (0.3, "-N | --Node"), (0.15, "-n n1 | -n n[1-2] | -n n4,n2 | -n n9 | --nodes=n[3-4] | -n n[1- | -n ''"),
        (0.25, "-t idle | -t mix,alloc | -t alloc | -t down | -t all | -t bogus | -t idle,mix | -t 'idle&cloud' | -t IDLE | -t resp | -t maint,resv | -t mixed | -t drain | -t comp"),
        (0.2, "-p gpu | -p debug | -p nosuch | -p gpu,debug | -p GPU | -p ''"), (0.12, "-e | --exact"), (0.08, "-r"), (0.06, "-d"), (0.06, "-R"), (0.08, "-l -s"), (0.08, "-s"), (0.05, "-a | --hide"),
        (0.03, "-M oracle | --federation | --local"), (0.04, "--noconvert"), (0.03, "-T"),
    ))  # fmt: skip
    outer += _some(dice, ((0.03, "SINFO_PARTITION=gpu | SINFO_PARTITION=nosuch"), (0.03, "SINFO_SORT=-P | SINFO_SORT=N | SINFO_SORT=zz"), (0.02, "SLURM_CLUSTERS=oracle | SINFO_ALL=1"),
                          (0.02, "SLURM_TIME_FORMAT=%Y")))  # fmt: skip
    return " ".join([*outer, *words])


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


def _sacct(dice: Dice) -> str:
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
    words += _some(dice, (
        (0.5, "-X | --allocations"), (0.3, "-n | --noheader"), (0.2, "-P | --parsable2"), (0.12, "-p | --parsable"), (0.1, "--delimiter=, | --delimiter=' ; ' | --delimiter= | --delimiter=é"),
        (0.15, "-D | --duplicates"), (0.1, "-r gpu | -r debug | -r nosuch | -r gpu,debug"), (0.08, "-u root | -u nosuch | -u 0 | -u root,daemon | -a | --allusers"), (0.06, "-A root | -A physics | -A nosuch,root"),
        (0.05, "-q normal | -q nosuch | --qos=normal,x"), (0.08, "-N n1 | -N n[2-3] | -N n9 | -N n4,n1"), (0.06, "-i 1 | -i 2 | -i 1-2 | -i 2-9 | -i x | --nnodes=0"), (0.05, "-I 1 | -I 2-4 | --ncpus=8 | -I x"),
        (0.06, "-k 1 | -k 60 | -k 1:00 | -k 2-0 | -k x | -k 10 -K 600 | -K 100"), (0.08, "--name=done | --name=one,two | --name=nosuch | --name='two words'"), (0.04, "-T | --truncate"),
        (0.05, "--units=K | --units=G | --units=M | --units=X | --units=KK"), (0.04, "--noconvert"), (0.03, "-M oracle | -M nosuch | -L"), (0.03, "-W x | -x root | -g root | -g nosuch | --gid=0 | --uid=0"),
        (0.02, "-C gpu | --constraints=fast"), (0.03, "-F nosuch | -F FAILED | -f /no/such | -c"), (0.02, "--whole-hetjob=yes | --whole-hetjob=no | --whole-hetjob=x"), (0.02, "--federation | --local"),
    ))  # fmt: skip
    if dice.random() < 0.3:
        words.append(
            dice.choice(("-s ", "--state=")) + _list(dice, (*_STATES[:22], *_STATES[:22], "bogus", "''", "RQ", "RS"))
        )
        words += [f"-S {dice.choice(_TIMES)}"] if dice.random() < 0.8 else []
        words += [f"-E {dice.choice(_TIMES)}"] if dice.random() < 0.7 else []
    elif dice.random() < 0.2:
        words.append(dice.choice(("-S ", "--starttime=", "-E ", "--endtime=")) + dice.choice(_TIMES))
    return " ".join([*outer, *words])


def _sacct_ids(dice: Dice) -> str:
    ids = []
    for _ in range(dice.choice((1, 2, 4, 6))):
        one = _id(dice)
        if one.startswith(("{cut}", "{pair}+")):
            continue  # 22.05 keeps no account of elements that were cancelled while their array was held
        if one.startswith("{") and dice.random() < 0.15:
            one += dice.choice((".batch", ".0", ".1", ".extern", ".9", ".x", ".", ".interactive"))
        ids.append(one)
    return ",".join(ids or ["{one}"])


def _sstat(dice: Dice) -> str:
    ids = ",".join(dice.choice(("{two}.0", "{two}.1", "{two}", "{one}", "{one}.batch", "{two}.7", "{done}", "99999", "x", "{sweep}_3", "{held-mincpus}", "{pair}.batch"))
                   for _ in range(dice.choice((1, 1, 2))))  # fmt: skip
    names = ",".join(dice.choice(("JobID", "NTasks", "Nodelist", "ReqCPUFreqGov", "jobid%20", "ntasks%-9", "nodelist%3", "MaxDiskReadNode%0", "nosuch", "ntasks%x"))
                     for _ in range(dice.randint(1, 3)))  # fmt: skip
    return " ".join(
        [
            "sstat",
            "-j " + ids,
            f"-o {names}",
            *_some(dice, ((0.4, "-n"), (0.3, "-P"), (0.2, "-p"), (0.3, "-a"), (0.2, "--noconvert"))),
        ]
    )


_HOSTS = (
    "n[1-4]",
    "n1,n2,n3",
    "a1,b2,a3",
    "n[01-03]",
    "n[1-2,5]",
    "n[1-2]x",
    "x",
    "n1-3",
    "n10,n9,n1",
    "n1,n1",
    "n[08-11]",
    "a[1-3,5-7]-ib",
    "''",
    "rack[0-1]n[1-2]",
    "n[1]",
    "n001,n1",
    "*",
    "n1:n2",
    "N1,n1",
    "n[1-3],n2",
    "-",
    "n1 n2",
    "n1,,n2",
    "z9,z10,z8,y",
)


_BAD_HOSTS = ("n[1-2", "n]1[", "n[a-c]", "n[3-1]", "n[1-100000]", "n[1,", "[", "n[]", "n[1-2]]")


def _show(dice: Dice) -> str:
    flags = _some(dice, ((0.25, "-o | --oneliner"), (0.15, "-d | -dd"), (0.05, "-Q | -a | --hide | -M oracle")))
    kind = dice.random()
    if kind < 0.4:
        target = ",".join(_id(dice) for _ in range(dice.choice((1, 1, 1, 2, 3))))
        rest = (
            dice.choice(("job", "job", "jobs", "jobid", "JOB", "j")),
            dice.choice((target, "'%s'" % target.replace(",", " ") if "," in target else target)),
        )
        if "{stopped}" in target:
            return " ".join(["scontrol", *flags, "show", *rest, "| sed 's/SuspendTime=.*LastSchedEval/LastSchedEval/'"])
        if "{pair}" in target:  # slurmctld keeps the nodes of a het job's other components in ExcNodeList
            return " ".join(["scontrol", *flags, "show", *rest, "| sed 's/ExcNodeList=[^ ]*//'"])
    elif kind < 0.7:
        verb = dice.choice(("hostnames", "hostnames", "hostlist", "hostlistsorted", "hostname", "hostl"))
        words = dice.sample(_HOSTS, dice.choice((1, 1, 2, 3))) if dice.random() < 0.8 else [dice.choice(_BAD_HOSTS)]
        rest = (verb, "'%s'" % ",".join(word.strip("'") for word in words))
        if "100000" in rest[1]:
            rest += ("| tail -n 2",)
    elif kind < 0.8:
        rest = (
            "step",
            dice.choice(("{two}.0", "{two}.1", "{two}", "{one}", "{done}.0", "99999.0", "{sweep}_3", "{pair}+1")),
        )
    elif kind < 0.9:
        rest = dice.choice((("node", "n9"), ("node", "n[1-2] | grep -e NodeName -e Reason -e Partitions"), ("partition", "nosuch"), ("part", "debug"), ("partitions",), ("partition", "gpu,debug"), ("nodes", "n[9"),
                            ("node", "''"), ("reservation",), ("res", "nosuch"), ("lic",), ("licenses", "nosuch"), ("topology",), ("bb",), ("federation",), ("daemons",),
                            ("aliases", "n1"), ("aliases", "n9"), ("dwstat",), ("powercap",), ("burstbuffer", "x"), ("assoc_mgr", "users=nosuch flags=users | tail -n +2 | head -n 3")))  # fmt: skip
    else:
        rest = dice.choice(
            (
                ("nosuch",),
                (),
                ("job", "a", "b"),
                ("node", "n1", "n2"),
                ("s",),
                ("jo", "99999"),
                ("hostnames",),
                ("h", "n1"),
                ("p", "gpu"),
                ("n", "n9"),
                ("a",),
            )
        )
    verb = dice.choice(("show", "show", "show", "sho", "SHOW", "sh"))
    return " ".join(["scontrol", *flags, verb, *rest])


def _sprio(dice: Dice) -> str:
    words = ["sprio", *_some(dice, ((0.3, "-l"), (0.3, "-o '%i %Y' | -o %.9i | -o %Z"), (0.3, "-j {one} | -j 99999 | -j x"), (0.2, "-n"), (0.2, "-u root | -u nosuch"), (0.2, "-w"), (0.2, "-S i | -S -Y"), (0.1, "-h"),
                                    (0.1, "-M oracle | -M nosuch"), (0.1, "-p gpu | -p nosuch"), (0.05, "--nosuch")))]  # fmt: skip
    return " ".join(words)


def _sshare(dice: Dice) -> str:
    words = ["sshare", *_some(dice, ((0.3, "-l"), (0.3, "-a"), (0.3, "-A root | -A nosuch | -A root,nosuch"), (0.2, "-u root | -u 0"), (0.3, "-n"), (0.25, "-P"), (0.1, "-p"), (0.2, "-U"), (0.1, "-m"),
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


def _sreport(dice: Dice) -> str:
    reports = ("cluster utilization", "cluster accountutilizationbyuser", "cluster userutilizationbyaccount", "cluster userutilizationbywckey", "cluster wckeyutilizationbyuser", "job sizesbyaccount", "job sizesbywckey",
               "job sizesbyaccountandwckey", "user top", "user topusage", "reservation utilization", "clu acc", "j s", "us t", "res ut", "nosuch", "user", "job", "reservation x",
               "cluster util extra", "job SizesByAccount")  # fmt: skip
    words = ["sreport", *_some(dice, ((0.3, "-t hours | -t Percent | -t sec | -t nosuch | -t M"), (0.2, "-T cpu | -T gres/gpu | -T cpu,mem | -T nosuch | -T ALL"), (0.3, "-n"), (0.25, "-P"), (0.15, "-p"),
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
    words += _some(dice, (
        (0.1, "format=nosuch | format=cluster%20,account%-9 | format=cluster%9,allo%30"), (0.2, "grouping=1,10,100 | grouping=5 | grouping=x | grouping=individual"),
        (0.15, "flat_view | flatview | FlatView | fl"), (0.12, "printjobcount | PrintJobCount"), (0.12, "clusters=oracle | cluster=nosuch | all_clusters"), (0.15, "users=root | accounts=root | account=x"),
        (0.12, "topcount=3 | top=x | group | tree"), (0.1, "partitions=gpu | nodes=n1 | jobs=1 | gid=0 | names=x | wckeys=y"), (0.05, "nosuch=1 | nosuch | where"),
    ))  # fmt: skip
    return " ".join(words)


def _sacctmgr(dice: Dice) -> str:
    entity = dice.choice(("account", "accounts", "acc", "ac", "association", "assoc", "as", "cluster", "clusters", "cl", "qos", "q", "user", "users", "u", "tres", "wckey", "w", "federation", "f", "resource", "reso",
                          "reservation", "rese", "nosuch", "coordinator"))  # fmt: skip
    names = ("Cluster", "cl", "Account", "acc", "acct", "User", "u", "Name", "n", "Descr", "Org", "Share", "fairshare", "QOS", "DefaultQOS", "defq", "Admin", "DefaultAccount", "MaxJobs", "MaxJ", "GrpTRES", "MaxWall", "MaxW",
             "Priority", "Preempt", "preemptm", "UsageFactor", "ID", "Type", "ParentName", "Partition", "part", "ControlHost", "MaxTRESPerUser", "maxtrespu", "MaxSubmit", "grpsubmit", "MinTRES",
             "Coord", "WithAssoc", "NodeNames", "TRES", "nosuch", "Classification", "State", "Count", "Server", "MaxTRESMins", "grpjobs", "MaxJobsPerUser")  # fmt: skip
    words = [
        "sacctmgr",
        *_some(dice, ((0.3, "-n"), (0.3, "-P"), (0.15, "-p"), (0.08, "-s"), (0.06, "-r | -Q | -i"))),
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
    words += _some(dice, (
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


def _scancel(dice: Dice) -> str:
    """scancel's question, answered with no: nothing is cancelled."""
    words = ["yes n | scancel", *_some(dice, ((0.9, "-i | --interactive"),))]
    if "-i" not in words[-1] and "--inter" not in words[-1]:
        words.append("-i")
    filters = [
        (0.5, lambda: dice.choice(("-t ", "--state=")) + dice.choice(("PENDING", "RUNNING", "SUSPENDED", "pd", "R", "s", "bogus", "COMPLETED", "Pending", "''"))), (0.5, lambda: "-n " + dice.choice(_NAMES)),
        (0.3, lambda: "-p " + dice.choice(("gpu", "debug", "nosuch"))), (0.2, lambda: "-u " + dice.choice(("root", "nosuch", "0", "daemon"))), (0.2, lambda: "-A " + dice.choice(("root", "physics", "nosuch"))),
        (0.3, lambda: "-w " + dice.choice(_NODES)), (0.1, lambda: "-q " + dice.choice(("normal", "nosuch"))), (0.1, lambda: "-R " + "nosuch"), (0.1, lambda: dice.choice(("-v", "-Q", "--me", "-b", "-f", "-s USR1", "-s NOSUCH", "--hurry"))),
        (0.6, lambda: " ".join(_id(dice) + dice.choice(("", "", "", ".0", ".batch", ".x")) for _ in range(dice.choice((1, 1, 2))))),
    ]  # fmt: skip
    words += [make() for chance, make in filters if dice.random() < chance]
    return " ".join(words if len(words) > 2 else [*words, "-n", "one"])


_KINDS: tuple[tuple[float, Callable[[Dice], str]], ...] = (
    (30, _squeue), (6, _steps), (16, _sinfo), (24, _sacct), (2.5, _sstat), (12, _show), (1.5, _sprio), (3, _sshare), (6, _sreport), (10, _sacctmgr), (7, _scancel),
)  # fmt: skip


def lines(number: int, seed: int = 25) -> list[str]:
    """That many different lines; {key} is an id of cases_fleet.py."""
    dice = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < number:
        make = dice.choices([make for _, make in _KINDS], [weight for weight, _ in _KINDS])[0]
        found[named(make(dice))] = None
    return list(found)


#: answers whose lines come in an order that is not part of them: steps, one node's rows, jobs of one second
_FREE = ("squeue -s", "squeue --steps", "sinfo", "sacct")
NUMBER = 450


def _run(line: str) -> Run:
    sorted_by = line.startswith("squeue") and "-S" not in line
    return Run(
        line,
        free=sorted_by or line.startswith(_FREE) or " sinfo " in line or " sacct -j" in line or " sacct --jobs" in line,
    )


#: the questions of cases_fleet.py and these, of one fleet
CASES: tuple[Case, ...] = tuple(replace(case, actions=(*case.actions, *map(_run, lines(NUMBER)))) for case in FLEET)
