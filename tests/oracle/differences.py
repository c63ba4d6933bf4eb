"""Ignored and known differences between texts of Slurm 22.05 and ours (25.11).

Two tables of facts decide what is set aside: `scontrol_show.csv` (its column `change`) and `env_output.csv`
(its columns `added` and `dropped`). Nothing else is: what differs beyond them stands in KNOWN, with the reason.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"

#: Known differences: "group:case:number of the line, from 0" -> why. A line listed here must
#: fail; once it passes, its entry has to go.
_ONE_HOST = "all nodes of the recording live on one host and are grouped by its name"
_PLANNED = "backfill had not yet planned the waiting job when it was recorded; here it is planned at once"
_THREE_CPUS = "22.05 refuses a step of tasks of three or five CPUs each on nodes that were given for just these"
_ALL_GPUS = "22.05 runs as many tasks as --ntasks-per-gpu puts on all GPUs of the node, whatever -n says"
_BATCH_END = "22.05 took the end of the cancelled job's script for a failure of its own (exit code 15), by a race"
_LAST_ELEMENT = "squeue -r leaves out the last element of a list with a step"
_WAITING_HET = "slurmdbd records the components of a heterogeneous job that waits as separate jobs"
_HET_NODES = "slurmctld keeps the nodes of a het job's other components in ExcNodeList"
_BY_END = "sorted by an end time that is not shown of jobs that wait"
_CUT_ELEMENTS = "slurmdbd keeps no account of elements that were cancelled while their array was held"
_EARLIER_RUN = "an earlier run of a job that waits again is listed with --duplicates here"
_FALLEN = "the batch step of a job whose node is lost has no record here: nobody was left to report it"
_CUT_LIST = "newer srun leaves a list of more nodes than -N allows to the controller, which refuses it"
_PER_NODE = "newer srun drops --ntasks-per-node only where the nodes cannot hold the tasks so, else it counts"
_ARBITRARY = "newer srun refuses -N with -m arbitrary"
_FEW_CPUS = "22.05 takes -c for 1 where some node of the job has fewer CPUs; newer clients send it as it is"
_ON_READING = "srun says so while it reads its options, before it sees -Q and what is wrong with others"
_LOOKS_ON = "srun looks on after a fault that ends it, and warns of what follows"
_SRUN_CPUS = "22.05 reads SRUN_CPUS_PER_TASK, newer releases SLURM_CPUS_PER_TASK"
_TOO_EXACT = "22.05 keeps --exact to its CPUs in spite of --overcommit"
_BY_SOCKET = "newer srun warns of --gpus-per-socket, which is only for whole jobs"
_STDERR = "StdErr of 25.11 is empty, and does not change with StdOut"
_PLANNED_NODES = "nodes that backfill has planned for the next job are MIXED+PLANNED for a moment"
_PARTITION_ORDER = "sinfo -N of 25.11 prints the partitions of a node in another order"
_TIME_PREFIX = "slurmstepd of the recording's slurmd, which runs in the foreground, prints the time instead of its name"
_USER_NAME = "25.11 looks up the user's name as soon as it reads it"
_HET_SIZES = "how many tasks and nodes components have is looked up later here than srun does"
KNOWN: dict[str, str] = {
    "env:placement-15:0": _PER_NODE,
    # steps
    **{f"steps:step-{name}": _CUT_LIST for name in ("0:2", "13:3")},
    **{f"steps:step-{name}": _PER_NODE for name in ("0:10", "9:1", "9:9", "12:5", "13:2", "16:2")},
    **{f"steps:step-{name}": _ARBITRARY for name in ("1:3", "3:2", "7:3", "9:7")},
    **{f"steps:step-{name}": _ON_READING for name in ("8:10", "9:8")},
    **{f"steps:step-{name}": _SRUN_CPUS for name in ("11:7", "12:2")},
    **{f"steps:step-{name}": _TOO_EXACT for name in ("13:6", "14:10")},
    **{f"steps:step-{name}": _BY_SOCKET for name in ("16:10", "17:8")},
    **{f"steps:step-{name}": _HET_SIZES for name in ("19:3", "19:4", "20:7", "20:10")},
    **{f"steps:step-{name}": "newer clients refuse -c with --cpus-per-gpu" for name in ("14:9", "15:1")},
    "steps:step-1:1": _LOOKS_ON,
    "steps:step-5:3": _FEW_CPUS,
    "steps:step-10:2": "22.05 does not tell how devices are bound where a job has its nodes alone",
    # updates
    # hosts
    "show:running-nodes-seen:6": _ONE_HOST,
    "query:sinfo:42": _ONE_HOST,
    "query:empty:13": _ONE_HOST,
    # newer releases
    "show:hostnames-job:0": "22.05 looks at SLURM_NODELIST alone; SLURM_JOB_NODELIST came later",
    "query:squeue:65": "%s is SLUID now; it was a field of Cray systems, with no header",
    "env:batch-socket-core:2": "srun of 22.05 does not read SLURM_NTASKS_PER_CORE; opt.c of 25.11 has it",
    "reservation:refused:17": "scontrol of 22.05 has another text for a bad NodeCnt; create_res.c of 25.11 has ours",
    # one build
    "show:config:0": "MULTIPLE_SLURMD is listed by a build made for several daemons on a host",
    # faults of 22.05
    "env:placement-29:0": "22.05 gives -m arbitrary CPUs as if it were block: 5 and 1 for three tasks on each node",
    "env:placement-16:0": _THREE_CPUS,
    "env:placement-17:0": _THREE_CPUS,
    "srun:inside-options:20": _ALL_GPUS,
    "srun:inside-options:21": _ALL_GPUS,
    # the moment of the recording
    "show:pending-resources:2": _PLANNED,
    "query:squeue:58": _PLANNED,
    "query:squeue:59": _PLANNED,
    "query:squeue:86": _PLANNED,
    "show:pending-part-nodes:1": "one of its two schedulers says PartitionConfig, the other PartitionNodeLimit",
    "query:sacct:48": "one of its two schedulers says PartitionConfig, the other which limit it is",
    "show:updated:11": "shown before the next pass of the scheduler, which looks at the changed dependency",
    "show:updated-array:5": "the element that was released had not yet started when the array was held again",
    **{f"show:running-nodes-seen:{number}": _PLANNED_NODES for number in range(1, 6)},
    "show:pending-node-drained:2": "the node was planned for the job in this moment, so it counts as reserved",
    **dict.fromkeys(("show:failed-interpreter:2", "show:cancelled-running:3", "show:timeout:2"), _TIME_PREFIX),
    **{
        f"show:partitions:{number}": "NodeSets=ALL stands for Nodes=ALL of the recording's slurm.conf"
        for number in (0, 1, 3)
    },
    "srun:outside-41:0": "25.11 creates the missing folder of an output file",
    "query:sinfo:33": _PARTITION_ORDER,
    **{f"query:sacct:{number}": _WAITING_HET for number in (18, 22, 23, 45, 47, 50)},
    # the fleet
    **{f"fleet:fleet:{number}": _LAST_ELEMENT for number in (43, 46)},
    **{f"fleet:fleet:{number}": _HET_NODES for number in (115, 300, 356, 362)},
    **{f"fleet:fleet:{number}": _BY_END for number in (138, 166)},
    "fleet:fleet:378": "when slurmdbd is told the partition's limit of a waiting job depends on the scheduler",
    "fleet:fleet:375": "slurmdbd turns the quotes in a name into backticks",
    **{f"fleet:fleet:{number}": _WAITING_HET for number in (620, 732, 793)},
    **{f"fleet:fleet:{number}": _CUT_ELEMENTS for number in (376, 377, 383)},
    **{f"fleet:fleet:{number}": _EARLIER_RUN for number in (379, 380)},
    **{f"fleet:fleet:{number}": _FALLEN for number in (404, 415)},
    # random questions to the fleet
    **{f"fleet:fleet:{number}": _FALLEN for number in (502, 774, 810)},
    "fleet:fleet:773": _LAST_ELEMENT,
    "fleet:fleet:818": "squeue tells of an unknown user while it reads its options, before it reads the list of steps",
    "updates:update-dependent:18": _STDERR,
    "updates:update-array-half:5": _STDERR,
    **{
        f"updates:{line}": _USER_NAME
        for line in ("update-held-range:14", "update-waiting:14", "update-later:5", "update-later:15")
    },
    **{f"query:sacct:{number}": _BATCH_END for number in (17, 19, 20, 21, 46, 49)},
}

# Reworded between the two releases: pattern in the recorded text -> what 25.11 prints.
REWORDED: tuple[tuple[str, str], ...] = (
    # Backfill of 22.05 gives a job without a limit one of a year when it starts it; which of the two schedulers
    # starts a job is a matter of the moment.
    (r"\bTimeLimit=365-00:00:00", "TimeLimit=UNLIMITED"),
    (r"\bEndTime=<now\+8760:00>\.+", "EndTime=Unknown"),
    (r"\b365-00:00:00\b", "UNLIMITED"),
    # Launching is no plugin any more, and warnings have a level of their own.
    (r"\blaunch/slurm: \w+: ", ""),
    (r"^((?:srun|sbatch|salloc): )Warning: ", r"\1warning: "),
    (
        r'the "packjob" component separator is being deprecated\. Please, use',
        'The "packjob" component separator is deprecated. Please use',
    ),
    (r"(tasks \d+ with the )(number of requested nodes \d+\. Ignoring)", r"\1maximum \2"),
    (r'Invalid numeric value ("\S*") for requested node count\.', r"\1 is not a valid node count"),
    (r"^(Error creating the reservation: )Invalid user id", r"\1Unspecified error"),
    # States of nodes: PERFCTRS was removed, newer ones were added.
    (
        r"(valid states: .*,allocated),\?,(mixed,.*,reserved),perfctrs,(cloud,.*),fail,maint,reboot,reboot\^,unknown",
        r"\1,\2,planned,blocked,\3,power_up,inval,fail,maint,reboot,reboot^,external,dynamic_future,dynamic_norm",
    ),
    # Devices are named as other TRES are, since 23.11.
    (r"\bgres:gpu", "gres/gpu"),
    # Reservations have rules for partitions and QOS since 25.11.
    (r"^(   TRES=cpu=\d+)$", r"\1\n   AllowedPartitions=(null) QOS=(null)"),
    (r"(TRES=cpu=\d+) (?=Users=)", r"\1 AllowedPartitions=(null) QOS=(null) "),
    (r"(Either Users/Groups)( and/or Accounts must be specified)", r"\1, AllowedPartitions, QOS\2"),
    (
        r"CoreCnt, Nodes, NodeCnt, BurstBuffer, Licenses or Watts (?=must be specified)",
        "CoreCnt, Nodes, NodeCnt, TRES or Watts ",
    ),
    # slurm_opt.c _implicitly_bind_tres_per_task of 23.11 and later names the kind of TRES too.
    (r"^SLURMD_TRES_BIND=gpu:", "SLURMD_TRES_BIND=gres/gpu:"),
    (r"\bTresBind=gpu:", "TresBind=gres/gpu:"),
    # slurm_option_update_tres_per_task of 24.05 and later writes counts with "=".
    (r"\b(TresPerTask=gres/gpu):", r"\1="),
)

#: StdErr of a job without --error: 22.05 prints the path of StdOut, 25.11 prints nothing.
SAME_FILE = re.compile(r"(\bStdErr=)(\S+)((?:(?!StdErr=).)*?\bStdOut=\2(?!\S))", re.DOTALL)

#: Keys that 25.11 has under another name than the newest release, which the table describes: ours -> newest.
RENAMED = {"ExclusiveTopo": "Exclusive"}

#: Variables that only a cluster of daemons has: name -> why ours do not have it.
NOT_HERE = {"SLURM_CONF": "there is no slurm.conf"}

#: Lines that 22.05 adds to a refusal; later releases do not.
_NO_MORE = re.compile("srun: error: Step requested |Error updating the reservation: ")
#: scontrol update of 22.05 also lists the array elements without an error ("No error") beside those with one.
_NO_SUCCESS = re.compile(r"Error updating the reservation: |\S+_\S+: No error$|slurm_update error: No error$")

#: of a job: what 25.11 adds for -c, and our own cause of an end before the script began
_ADDED = re.compile(r"TresPerTask=cpu=\d+|SystemComment=(?:the script|its) .*")
#: the number of nodes of a job whose nodes were not computed yet: 25.11 prints 1-1, 22.05 prints 1
_SAME_COUNT = re.compile(r"(NumNodes=)(\d+)-\2\b")
_TOKEN = re.compile(r"(?:^|(?<=\s))[A-Za-z][\w/:]*=")


@cache
def changed_keys(record: str) -> frozenset[str]:
    """Keys of `scontrol show RECORD` that only one of the two releases has."""
    with (DATA / "scontrol_show.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["record"] == record]
    before = {row["key"] for row in rows if row["source"] == "22.05"}
    after = {row["key"] for row in rows if row["source"] != "22.05"}
    # A key that was dropped "or printed elsewhere" is compared with the others, at any position.
    changed = {
        row["key"] for row in rows if row["change"] and not (row["change"].startswith("after") and row["key"] in before)
    }
    return frozenset(changed | {ours for ours, newest in RENAMED.items() if newest in after})


@cache
def added_variables() -> frozenset[str]:
    with (DATA / "env_output.csv").open(newline="", encoding="utf-8") as lines:
        return frozenset(row["name"] for row in csv.DictReader(lines) if row["added"])


@cache
def dropped_variables(het: bool) -> frozenset[str]:
    """Variables that 22.05 sets and 25.11 does not, for het jobs and for others."""
    with (DATA / "env_output.csv").open(newline="", encoding="utf-8") as lines:
        rows = [(row["name"], row["dropped"]) for row in csv.DictReader(lines)]
    return frozenset(name for name, since in rows if since and not (het and "hetjobs" in since))


_GROUP = re.compile(r"_(?:HET|PACK)_GROUP_\d+$")
_RECORD = re.compile(r"scontrol (?:-\S+ (?:oracle )?)*sho\w* (j|st|n|pa|co)", re.IGNORECASE)
_RECORDS = {"j": "job", "st": "step", "n": "node", "pa": "partition", "co": "config"}


#: Lines of ours alone: the cause of a job that waits for ever, or that will fail before its script begins.
_OURS = re.compile(
    r"sbatch: (?:job \S+ can never start: |warning: the (?:script's interpreter|job's (?:working folder|output file)) )"
)
#: 25.11 lists --cpus-per-task among the TRES of a task.
_CPUS_OF_A_TASK = re.compile(r"(?<=\bTresPerTask=)cpu=\d+,")

#: 25.11 adds the signal, or srun's -K, to slurmstepd's message (req.c _handle_signal_container).
_SIGNAL = re.compile(r" DUE (?:to SIGNAL (?:Terminated|Killed)|TO TASK FAILURE)(?= \*\*\*)")


def comparable(line: str, text: list[str]) -> list[str]:
    """The lines of an answer to a command line, without ignored lines."""
    gone_lines = _NO_SUCCESS if "scontrol update" in line else _NO_MORE
    text = [
        _SAME_COUNT.sub(r"\1\2", _SIGNAL.sub("", _CPUS_OF_A_TASK.sub("", row)))
        for row in text
        if not (gone_lines.match(row) or _OURS.match(row))
    ]
    match = _RECORD.search(line)
    if match is None:
        gone = added_variables() | NOT_HERE.keys()
        gone |= dropped_variables(any(row.startswith("SLURM_HET_SIZE=") for row in text))
        names = [row.partition("=")[0] for row in text]
        return [row for row, name in zip(text, names, strict=True)
                if name not in gone and _GROUP.sub("", name) not in gone]  # fmt: skip
    record = _RECORDS[match[1].lower()]
    gone = changed_keys(record)
    if record == "config":
        return [row for row in text if row not in gone]
    return [row for row in (_without(row, gone) for row in text) if row]


def _without(row: str, gone: frozenset[str]) -> str:
    """The key=value tokens of a line without ignored ones, separated by one blank."""
    starts = [match.start() for match in _TOKEN.finditer(row)]
    if not starts:
        return row.strip()
    tokens = [row[at:end].strip() for at, end in zip(starts, [*starts[1:], len(row)], strict=True)]
    kept = [token for token in tokens if token.partition("=")[0] not in gone and not _ADDED.fullmatch(token)]
    head = row[: starts[0]].strip()
    return " ".join([head, *kept] if head else kept)
