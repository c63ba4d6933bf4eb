"""scontrol show, compared with lines of a real scontrol.

Keys added or removed since 22.05 are exceptions.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurmsky.model.job import Node, Step
from slurmsky.model.states import NodeFlag
from slurmsky.report.fields import derived
from slurmsky.report.json import accounting_records
from slurmsky.report.text import show_job, show_nodes
from slurmsky.report.text.show_config import config_pairs, show_config

KEYS = Path(__file__).parents[2] / "data" / "scontrol_show.csv"


def changed(record: str, source: str, change: str) -> set[str]:
    """Keys of a record that the recorded table marks."""
    with KEYS.open() as lines:
        return {
            row["key"]
            for row in csv.DictReader(lines)
            if (row["record"], row["source"]) == (record, source) and row["change"].startswith(change)
        }


def without(text: str, keys: set[str]) -> list[list[str]]:
    """Records of lines, without these keys; a line that held nothing else is omitted."""
    records = []
    for record in text.rstrip("\n").split("\n\n"):
        lines = []
        for line in record.split("\n"):
            left = re.sub(r"(?:(?<=\s)|^)(?:%s)=(?:Job:.*$|[^ ]*)" % "|".join(keys), "", line) if keys else line
            if line.strip().startswith("SubmitLine="):
                continue
            if left.strip():
                lines.append(" ".join(left.split()))
        records.append(lines)
    return records


def same(ours: str, theirs: str, record: str) -> None:
    # Since 23.11 -c stands in TresPerTask, too.
    ours = re.sub(r"   (?:TresPerTask=cpu=\d+|TresBind=\S*:per_task:\d+)\n", "", ours)
    # 25.11 shows only a path of --error as StdErr, and memory per GPU.
    theirs = re.sub(r"StdErr=(\S+)(?=\s+StdIn=\S+\s+StdOut=\1\s)", "StdErr=", theirs)
    ours = re.sub(r"MinMemoryTRES=\S+", "MinMemoryNode=0", ours)
    mine = without(ours, changed(record, "26.11", "after 22.05") | {"ExclusiveTopo"})
    other = without(theirs, changed(record, "22.05", "dropped"))
    assert len(mine) == len(other)
    for one, two in zip(mine, other, strict=False):
        assert one == two


def in_order(text: str, records: list[Any], identify: Callable[[Any], str]) -> list[Any]:
    """The records in the order in which the text shows them."""
    by_id = {identify(record): record for record in records}
    return [by_id[name] for name in re.findall(r"^(?:JobId|NodeName)=(\S+)", text, re.M)]


@pytest.mark.parametrize("moment", ["waiting", "running"])
def test_show_job(moment: str, golden: Any, request: pytest.FixtureRequest) -> None:
    recorded = golden(moment, "jobd_all")
    records = in_order(recorded.text, request.getfixturevalue(moment), lambda job: str(job.job_id))
    ours = "".join(show_job.show_job(job, recorded.context, detail=True) for job in records)
    same(ours, recorded.text.replace("\n   \n", "\n"), "job")


def test_show_job_that_has_ended(golden: Any, finished: list[Any]) -> None:
    text = golden("finished", "jobs").text
    text = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    records = in_order(text, finished, lambda job: str(job.job_id))
    assert len(records) == 14
    context = golden("finished", "jobs").context
    ours = "".join(show_job.show_job(job, context) for job in records)
    # NumTasks: see NO_VAL in test_jobs.py. DerivedExitCode, ExitCode of what scancel ended: the record's.
    theirs = text.replace("\n   \n", "\n")
    same(re.sub(r"NumTasks=\d+", "NumTasks=1", ours), re.sub(r"NumTasks=\d+", "NumTasks=1", theirs), "job")


def test_oneliner(running: Any, golden: Any) -> None:
    recorded = golden("running", "one")
    ours = show_job.show_job(running[0], recorded.context, oneliner=True)
    assert ours.endswith("slurm-70538.out TresPerNode=gres/gpu:h100:2\n") and ours.count("\n") == 1
    same(re.sub(r"SubmitLine=.*? WorkDir", "WorkDir", ours), recorded.text, "job")


def test_what_25_11_added(running: Any, waiting: Any, golden: Any) -> None:
    context = golden("running", "one").context
    text = show_job.show_job(running[0], context)
    assert "\n   ReqTRES=cpu=2,mem=20M,node=2,billing=2\n   AllocTRES=cpu=2,node=2,billing=2\n" in text
    assert " Licenses=(null) LicensesAlloc=(null) " in text
    assert (
        "\n   SubmitLine=sbatch --parsable -J steps -N2 -n2 --mem=10M -t 30 --gpus-per-node=h100:2 steps.sh\n" in text
    )
    assert "\n   AllocTRES=(null)\n" in show_job.show_job(waiting[0], context)
    assert text.endswith("TresPerNode=gres/gpu:h100:2\n\n")


def test_show_step(running: Any, golden: Any) -> None:
    recorded = golden("running", "step")
    steps = {f"{job.job_id}.{step.step_id}": (job, step) for job in running for step in job.steps.values()}
    shown = [name for name in re.findall(r"^StepId=(\S+)", recorded.text, re.M) if name in steps]
    assert len(shown) == 5
    ours = "".join(show_job.show_step(*steps[name], recorded.context) for name in shown)
    theirs = [part for part in recorded.text.split("\n\n") if "StepId=70537.0" not in part]
    assert ours == "\n\n".join(theirs)


@pytest.mark.parametrize(
    "name, detail, oneliner", [("nodesd", True, False), ("nodes", False, False), ("node1", False, True)]
)
def test_show_node(name: str, detail: bool, oneliner: bool, golden: Any, nodes: list[Node]) -> None:
    recorded = golden("running", name)
    busy = dict(re.findall(r"NodeName=(\S+) (?:.|\n)*?LastBusyTime=\S+T(\S+)", recorded.text))
    shown = in_order(recorded.text, nodes, lambda node: str(node.config.name))
    ours = "".join(map(show_nodes.node_text(recorded.context, detail=detail, oneliner=oneliner), shown))
    for node in shown:  # the tested value is another one
        ours = re.sub(
            r"(NodeName=%s (?:.|\n)*?LastBusyTime=)\S+" % node.config.name,
            r"\g<1>2026-11-21T" + busy[node.config.name],
            ours,
        )
    same(ours, recorded.text, "node")


def test_lines_of_a_node_end_as_slurm_ends_them(golden: Any, nodes: list[Node]) -> None:
    recorded = golden("running", "nodesd")
    ours = show_nodes.node_text(recorded.context, detail=True)(nodes[0]).split("\n")
    theirs = recorded.text.split("\n\n")[0].split("\n")
    for begin in (
        "NodeName",
        "   CPUAlloc",
        "   NodeAddr",
        "   OS",
        "   RealMemory",
        "   State",
        "   Partitions",
    ):
        assert [line for line in ours if line.startswith(begin)] == [line for line in theirs if line.startswith(begin)]


def test_reason_of_a_node(golden: Any, nodes: list[Node]) -> None:
    node = dataclasses.replace(
        nodes[0],
        flags=NodeFlag.DRAIN,
        reason="bad disk\nsecond",
        reason_user="root",
        reason_time=1795249700.0,
    )
    text = show_nodes.node_text(golden("running", "nodes").context)(node)
    assert text.endswith("\n   Reason=bad disk [root@2026-11-21T08:28:20]\n          second\n\n")
    assert "State=MIXED+DRAIN " in text


@pytest.mark.parametrize("name, names, oneliner", [("part", ("debug", "gpu"), False), ("part1", ("gpu",), True)])
def test_show_partition(name: str, names: tuple[str, ...], oneliner: bool, golden: Any) -> None:
    recorded = golden("finished", name)
    context = recorded.context
    ours = "".join(show_nodes.show_partition(context.cluster.partition(each), context, oneliner) for each in names)
    gone = {"ExclusiveUser"}  # until 26.11 it is there
    same(ours.replace(" ExclusiveUser=NO", ""), recorded.text, "partition")
    assert gone <= changed("partition", "22.05", "dropped")


def test_config_has_the_keys_of_the_table_in_order(golden: Any) -> None:
    recorded = golden("finished", "config")
    theirs = [line.partition("=")[0].strip() for line in recorded.text.splitlines() if " = " in line]
    gone = changed("config", "22.05", "dropped") - {"SlurmctldHost[0]"}
    ours = list(config_pairs(recorded.context))
    kept = [key for key in theirs if key not in gone and key != "MULTIPLE_SLURMD"]
    assert [key for key in ours if key in kept] == kept
    assert set(ours) - set(kept) <= changed("config", "26.11", "after 22.05")


def test_config_text(golden: Any) -> None:
    recorded = golden("finished", "config")
    values = {"SLURM_VERSION": "25.11.8", "SlurmctldHost[0]": "vm(127.0.0.1)"}
    ours = show_config(recorded.context, values, "vm")
    lines = ours.splitlines()
    for line in recorded.text.splitlines():
        key = line.partition("=")[0].strip()
        if key in (
            "ClusterName",
            "GresTypes",
            "InactiveLimit",
            "KillWait",
            "MaxArraySize",
            "MaxJobCount",
            "MinJobAge",
            "MaxNodeCount",
            "OverTimeLimit",
            "JobRequeue",
            "Licenses",
            "SlurmctldHost[0]",
            "SelectType",
            "SchedulerType",
            "AccountingStorageTRES",
            "BatchStartTimeout",
            "ReturnToService",
        ):
            assert line in lines
    assert lines[0] == recorded.text.splitlines()[0]
    assert ours.endswith("\n\nSlurmctld(primary) at vm is UP\n")
    assert "SLURM_VERSION           = 25.11.8" in lines


def test_gres_is_counted_if_the_site_configures_it(running: Any, golden: Any) -> None:
    context = golden("running", "one").context
    counting = dataclasses.replace(
        context,
        cluster=dataclasses.replace(context.cluster, parameters=(("AccountingStorageTRES", "cpu,gres/gpu"),)),
    )
    assert "AllocTRES=cpu=2,node=2,billing=2,gres/gpu=4\n" in show_job.show_job(running[0], counting)
    job = dataclasses.replace(
        running[0], steps={"batch": Step(running[0].job_id, "batch", "batch", cpus=1, gres="gres/gpu:2")}
    )
    record = accounting_records.accounting_record(job, counting)
    listed = [record["tres"]["allocated"], record["tres"]["requested"], record["steps"][0]["tres"]["allocated"]]
    assert [[each["count"] for each in tres if each["name"] == "gpu"] for tres in listed] == [[4], [4], [2]]
    text = show_nodes.show_partition(context.cluster.partitions[1], counting)
    assert "TRES=cpu=16,mem=8000M,node=2,billing=16,gres/gpu=8\n" in text
    typed = (("AccountingStorageTRES", "gres/gpu,gres/gpu:h100"),)
    counting = dataclasses.replace(context, cluster=dataclasses.replace(context.cluster, parameters=typed))
    assert "gres/gpu=4,gres/gpu:h100=4\n" in show_job.show_job(running[0], counting)


@pytest.mark.parametrize(
    ("requested", "shown"),
    [
        ("low", "CPU_max_freq=Low "),
        ("1000-2000:ondemand", "CPU_min_freq=1000 CPU_max_freq=2000 Governor=OnDemand"),
        ("performance", "Governor=Performance"),
        ("highm1", "CPU_max_freq=Highm1 "),
    ],
)
def test_frequencies_are_printed_as_by_scontrol(requested: str, shown: str) -> None:
    assert derived.cpu_frequency(requested) == shown
