"""Hundreds of random command lines of all query commands, about the jobs of cases_fleet.py.

The lines are the same in every run. What only the clock or the host decides is never cut by a width.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from accounting_requests import sacct, sacctmgr, sprio, sreport, sshare, sstat
from case import Case, Run
from cases_fleet import CASES as FLEET
from cases_fleet import named
from cases_query import JOB_NAMES, STEP_NAMES
from cases_query import NODE_NAMES as ALL_NODE_NAMES
from dice import STATES, Dice, job_id, job_ids, some, some_list

# CPUs of suspended jobs are free there.
NODE_NAMES = [name for name in ALL_NODE_NAMES if name != "CPUsState"]

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
    words += some(dice, (
        (0.3, "-h | --noheader"), (0.1, "-r -t R,CD,F | --array -t S,R,TO"), (0.05, "--array-unique"), (0.08, "--me | --me"), (0.05, "-a | --all | --hide"), (0.04, "--noconvert"),
        (0.03, "-M oracle | --clusters=oracle | -M all"), (0.05, "--start"), (0.06, "-l"), (0.04, "-P | --priority"), (0.03, "--federation | --local | --sibling"),
    ))  # fmt: skip
    filters = [
        (0.3, lambda: dice.choice(("-j ", "--jobs=", "-j")) + job_ids(dice)), (0.3, lambda: dice.choice(("-t ", "--states=")) + some_list(dice, (*STATES, *STATES, "bogus", "''", "R,,PD"))),
        (0.12, lambda: "-u " + some_list(dice, ("root", "root", "0", "nosuch", "daemon"))), (0.1, lambda: "-A " + some_list(dice, ("root", "physics", "nosuch", "ROOT"))),
        (0.12, lambda: "-p " + some_list(dice, ("gpu", "debug", "nosuch", "GPU"))), (0.06, lambda: "-q " + some_list(dice, ("normal", "high", "nosuch"))),
        (0.12, lambda: "-n " + some_list(dice, _NAMES)), (0.12, lambda: "-w " + dice.choice(_NODES)), (0.04, lambda: "-L " + some_list(dice, ("matlab", "nosuch"))),
        (0.04, lambda: "-R " + some_list(dice, ("maint", "nosuch"))),
    ]  # fmt: skip
    words += [make() for chance, make in filters if dice.random() < chance]
    outer += some(dice, (
        (0.03, "SQUEUE_STATES=R | SQUEUE_STATES=all | SQUEUE_STATES=bogus"), (0.02, "SQUEUE_PARTITION=gpu | SQUEUE_PARTITION=nosuch"),
        (0.02, "SQUEUE_USERS=root | SQUEUE_USERS=nosuch"), (0.02, "SQUEUE_ACCOUNT=root | SQUEUE_ACCOUNT=physics"), (0.02, "SQUEUE_ARRAY_UNIQUE=1"),
        (0.02, "SQUEUE_NAMES=one,two | SQUEUE_QOS=normal | SQUEUE_QOS=nosuch"), (0.02, "SQUEUE_SORT=-i | SQUEUE_PRIORITY=1 | SQUEUE_LICENSES=x"),
        (0.02, "SLURM_BITSTR_LEN=8 | SLURM_BITSTR_LEN=0 | SLURM_BITSTR_LEN=x"), (0.02, "SLURM_TIME_FORMAT=%Y | SLURM_TIME_FORMAT=standard"),
        (0.02, "SLURM_CLUSTERS=oracle | SQUEUE_ALL=1"),
    ))  # fmt: skip
    return " ".join([*outer, *words])


def _steps(dice: Dice) -> str:
    words = ["squeue", dice.choice(("-s", "-s", "--steps")), *some(dice, ((0.3, "-h"), (0.15, "-u root | -u nosuch"), (0.15, "-p gpu | -p debug | -p nosuch"),
             (0.1, "-n inner | -n outer,batch"), (0.15, "-w n1 | -w n2 | -w n4 | -w n9"), (0.1, "-t R | -t all | -t CD"), (0.1, "-l | -r | --start"), (0.1, "-A root | -A x")))]  # fmt: skip
    if dice.random() < 0.4:
        words[1] = "-s " + ",".join(dice.choice(("{two}.0", "{two}.1", "{two}.batch", "{one}.batch", "{two}.7", "{pair}.batch", "{sweep}_3.batch", "{done}.0", "{sweep}_3", "{two}", "x.0", "99999.0"))
                                    for _ in range(dice.choice((1, 2, 3))))  # fmt: skip
    elif dice.random() < 0.5:
        words.append("-j " + job_ids(dice))
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
    words += some(dice, (
        (0.25, "-h | --noheader"), (0.3, "-N | --Node"), (0.15, "-n n1 | -n n[1-2] | -n n4,n2 | -n n9 | --nodes=n[3-4] | -n n[1- | -n ''"),
        (0.25, "-t idle | -t mix,alloc | -t alloc | -t down | -t all | -t bogus | -t idle,mix | -t 'idle&cloud' | -t IDLE | -t resp | -t maint,resv | -t mixed | -t drain | -t comp"),
        (0.2, "-p gpu | -p debug | -p nosuch | -p gpu,debug | -p GPU | -p ''"), (0.12, "-e | --exact"), (0.08, "-r"), (0.06, "-d"), (0.06, "-R"), (0.08, "-l -s"), (0.08, "-s"), (0.05, "-a | --hide"),
        (0.03, "-M oracle | --federation | --local"), (0.04, "--noconvert"), (0.03, "-T"),
    ))  # fmt: skip
    outer += some(dice, ((0.03, "SINFO_PARTITION=gpu | SINFO_PARTITION=nosuch"), (0.03, "SINFO_SORT=-P | SINFO_SORT=N | SINFO_SORT=zz"), (0.02, "SLURM_CLUSTERS=oracle | SINFO_ALL=1"),
                          (0.02, "SLURM_TIME_FORMAT=%Y")))  # fmt: skip
    return " ".join([*outer, *words])


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
    flags = some(dice, ((0.25, "-o | --oneliner"), (0.15, "-d | -dd"), (0.05, "-Q | -a | --hide | -M oracle")))
    kind = dice.random()
    if kind < 0.4:
        target = ",".join(job_id(dice) for _ in range(dice.choice((1, 1, 1, 2, 3))))
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


def _scancel(dice: Dice) -> str:
    """scancel's question, answered with no: nothing is cancelled."""
    words = ["yes n | scancel", *some(dice, ((0.9, "-i | --interactive"),))]
    if "-i" not in words[-1] and "--inter" not in words[-1]:
        words.append("-i")
    filters = [
        (0.5, lambda: dice.choice(("-t ", "--state=")) + dice.choice(("PENDING", "RUNNING", "SUSPENDED", "pd", "R", "s", "bogus", "COMPLETED", "Pending", "''"))), (0.5, lambda: "-n " + dice.choice(_NAMES)),
        (0.3, lambda: "-p " + dice.choice(("gpu", "debug", "nosuch"))), (0.2, lambda: "-u " + dice.choice(("root", "nosuch", "0", "daemon"))), (0.2, lambda: "-A " + dice.choice(("root", "physics", "nosuch"))),
        (0.3, lambda: "-w " + dice.choice(_NODES)), (0.1, lambda: "-q " + dice.choice(("normal", "nosuch"))), (0.1, lambda: "-R " + "nosuch"), (0.1, lambda: dice.choice(("-v", "-Q", "--me", "-b", "-f", "-s USR1", "-s NOSUCH", "--hurry"))),
        (0.6, lambda: " ".join(job_id(dice) + dice.choice(("", "", "", ".0", ".batch", ".x")) for _ in range(dice.choice((1, 1, 2))))),
    ]  # fmt: skip
    words += [make() for chance, make in filters if dice.random() < chance]
    return " ".join(words if len(words) > 2 else [*words, "-n", "one"])


_KINDS: tuple[tuple[float, Callable[[Dice], str]], ...] = (
    (30, _squeue), (6, _steps), (16, _sinfo), (24, sacct), (2.5, sstat), (12, _show), (1.5, sprio), (3, sshare), (6, sreport), (10, sacctmgr), (7, _scancel),
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
