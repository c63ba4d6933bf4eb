"""sinfo's text, compared with the real sinfo for the same nodes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from slurmsky.model.states import NodeFlag, NodeState
from slurmsky.report.fields.node_state import complete_state, matches, state_words
from slurmsky.report.text import sinfo_rows as report
from slurmsky.report.text.sinfo_rows import Options

TEXTS = [
    ("sinfo-default", Options()),
    ("sinfo-s", Options(summarize=True)),
    ("sinfo-N", Options(by_node=True)),
    ("sinfo-R", Options(reasons=True)),
    ("sinfo-n", Options(by_node=True, letters="%N %C %O %e %t")),
    ("sinfo-noP", Options(letters="%D %t %N")),
    ("sinfo-C", Options(letters="%C %F %A")),
    ("sinfo-SN", Options(letters="%n %P %t %N", sort="N")),
    ("sinfo-Pt", Options(sort="t,P")),
    ("sinfo-all", Options(letters="%all")),
]


def text_of(recorded: Any, nodes: Any, options: Options) -> str:
    text, unknown = report.sinfo_text(nodes, recorded.context.cluster.partitions, options, recorded.context)
    assert not unknown
    return text


@pytest.mark.parametrize("name, options", TEXTS, ids=[name for name, _ in TEXTS])
def test_sinfo_prints_what_slurm_prints(name: str, options: Options, golden: Any, nodes: Any) -> None:
    recorded = golden("running", name)
    ours = text_of(recorded, nodes, options)
    if name == "sinfo-all":  # %i, the reservation, came with 24.11
        ours = "".join("|".join(line.split("|")[:8] + line.split("|")[9:]) for line in ours.splitlines(True))
    assert ours == recorded.text


def test_long_has_a_reservation_column_since_24_11(golden: Any, nodes: Any) -> None:
    recorded = golden("running", "sinfo-l")
    ours = text_of(recorded, nodes, Options(long=True)).splitlines(True)
    assert "".join(line[:82] + line[94:] if len(line) > 80 else line for line in ours) == recorded.text


def test_by_node_long(golden: Any, nodes: Any) -> None:
    recorded = golden("running", "sinfo-Nl")
    ours = text_of(recorded, nodes, Options(by_node=True, long=True))
    # Which partition of a node comes first is left to a race of threads in sinfo: ours is as configured.
    assert sorted(ours.splitlines()) == sorted(recorded.text.splitlines())
    assert [line.split()[2] for line in ours.splitlines() if line.startswith("n3")] == ["debug*", "gpu"]


def test_every_field(golden: Any, nodes: Any) -> None:
    recorded = golden("running", "sinfo-O")
    assert text_of(recorded, nodes, Options(names=recorded.command.split()[-1])) == recorded.text


def test_narrow_columns(golden: Any, nodes: Any) -> None:
    recorded = golden("finished", "sinfo-w")
    idle = [dataclasses.replace(node, state=NodeState.IDLE, alloc_cpus=0) for node in nodes]
    assert text_of(recorded, idle, Options(letters="%5P|%.3P|%2N|%.2N|%t|%10t|%.3D")) == recorded.text


def test_partitions_without_a_matching_node_are_shown(golden: Any, nodes: Any) -> None:
    recorded = golden("running", "sinfo-default")
    assert text_of(recorded, [], Options(header=False)) == (
        "debug*       up   infinite      0    n/a \ngpu          up 1-00:00:00      0    n/a \n"
    )
    assert text_of(recorded, [], Options(header=False, partitions=("nosuch",))) == ""


def test_sizes_that_differ(golden: Any, nodes: Any) -> None:
    recorded = golden("running", "sinfo-default")
    mixed = [
        dataclasses.replace(nodes[0], config=dataclasses.replace(nodes[0].config, cpus=4, memory_mib=2000)),
        *nodes[1:3],
    ]
    assert text_of(recorded, mixed, Options(letters="%c %m %D %z", header=False)) == "4+ 2000+ 3 1:8:1\n"
    assert text_of(recorded, mixed, Options(letters="%c %m %D", header=False, exact=True)) == "4 2000 1\n8 4000 2\n"


@pytest.mark.parametrize(
    "state, flags, long, compact, complete",
    [
        (NodeState.IDLE, NodeFlag.NONE, "IDLE", "IDLE", "IDLE"),
        (NodeState.IDLE, NodeFlag.DRAIN, "DRAINED", "DRAIN", "IDLE+DRAIN"),
        (NodeState.MIXED, NodeFlag.DRAIN, "DRAINING", "DRNG", "MIXED+DRAIN"),
        (
            NodeState.IDLE,
            NodeFlag.DRAIN | NodeFlag.NOT_RESPONDING,
            "DRAINED*",
            "DRAIN*",
            "IDLE+DRAIN+NOT_RESPONDING",
        ),
        (NodeState.DOWN, NodeFlag.NOT_RESPONDING, "DOWN*", "DOWN*", "DOWN+NOT_RESPONDING"),
        (NodeState.ALLOCATED, NodeFlag.COMPLETING, "ALLOCATED+", "ALLOC+", "ALLOCATED+COMPLETING"),
        (NodeState.IDLE, NodeFlag.COMPLETING, "COMPLETING", "COMP", "IDLE+COMPLETING"),
        (NodeState.MIXED, NodeFlag.COMPLETING, "COMPLETING", "COMP", "MIXED+COMPLETING"),
        (NodeState.IDLE, NodeFlag.POWERING_UP, "IDLE#", "IDLE#", "IDLE+POWERING_UP"),
        (NodeState.IDLE, NodeFlag.RESERVED, "RESERVED", "RESV", "IDLE+RESERVED"),
        (NodeState.UNKNOWN, NodeFlag.NOT_RESPONDING, "UNKNOWN*", "UNK*", "UNKNOWN+NOT_RESPONDING"),
        (NodeState.MIXED, NodeFlag.FAIL, "FAILING", "FAILG", "MIXED+FAIL"),
        # what 25.11's functions return of power saving, reboots and maintenance
        (NodeState.IDLE, NodeFlag.CLOUD | NodeFlag.POWERED_DOWN, "IDLE~", "IDLE~", "IDLE+CLOUD+POWERED_DOWN"),
        (NodeState.IDLE, NodeFlag.CLOUD | NodeFlag.POWER_DOWN, "IDLE!", "IDLE!", "IDLE+CLOUD+POWER_DOWN"),
        (
            NodeState.IDLE,
            NodeFlag.CLOUD | NodeFlag.POWERING_DOWN | NodeFlag.POWER_DOWN,
            "IDLE%",
            "IDLE%",
            "IDLE+CLOUD+POWER_DOWN+POWERING_DOWN",
        ),
        (NodeState.MIXED, NodeFlag.POWERING_UP | NodeFlag.CLOUD, "MIXED#", "MIX#", "MIXED+CLOUD+POWERING_UP"),
        (
            NodeState.MIXED,
            NodeFlag.DRAIN | NodeFlag.CLOUD | NodeFlag.REBOOT,
            "DRAINING@",
            "DRNG@",
            "MIXED+CLOUD+DRAIN+REBOOT_REQUESTED",
        ),
        (NodeState.MIXED, NodeFlag.CLOUD | NodeFlag.REBOOT, "MIXED@", "MIX@", "MIXED+CLOUD+REBOOT_REQUESTED"),
        (
            NodeState.IDLE,
            NodeFlag.DRAIN | NodeFlag.CLOUD | NodeFlag.REBOOT,
            "REBOOT",
            "BOOT",
            "IDLE+CLOUD+DRAIN+REBOOT_REQUESTED",
        ),
        (
            NodeState.IDLE,
            NodeFlag.CLOUD | NodeFlag.POWERING_DOWN | NodeFlag.REBOOT,
            "REBOOT",
            "BOOT",
            "IDLE+CLOUD+REBOOT_REQUESTED+POWERING_DOWN",
        ),
        (NodeState.DOWN, NodeFlag.CLOUD | NodeFlag.REBOOT_ISSUED, "REBOOT^", "BOOT^", "DOWN+CLOUD+REBOOT_ISSUED"),
        (
            NodeState.MIXED,
            NodeFlag.CLOUD | NodeFlag.REBOOT_ISSUED | NodeFlag.POWERING_UP,
            "MIXED^",
            "MIX^",
            "MIXED+CLOUD+REBOOT_ISSUED+POWERING_UP",
        ),
        (
            NodeState.DOWN,
            NodeFlag.NOT_RESPONDING | NodeFlag.CLOUD | NodeFlag.POWERED_DOWN,
            "DOWN~",
            "DOWN~",
            "DOWN+CLOUD+POWERED_DOWN+NOT_RESPONDING",
        ),
        (
            NodeState.IDLE,
            NodeFlag.NOT_RESPONDING | NodeFlag.MAINT,
            "MAINT*",
            "MAINT*",
            "IDLE+MAINTENANCE+NOT_RESPONDING",
        ),
        (NodeState.DOWN, NodeFlag.MAINT, "DOWN$", "DOWN$", "DOWN+MAINTENANCE"),
        (NodeState.MIXED, NodeFlag.MAINT, "MIXED$", "MIX$", "MIXED+MAINTENANCE"),
        (NodeState.ALLOCATED, NodeFlag.DRAIN | NodeFlag.MAINT, "DRAINING$", "DRNG$", "ALLOCATED+DRAIN+MAINTENANCE"),
        (
            NodeState.MIXED,
            NodeFlag.DRAIN | NodeFlag.NOT_RESPONDING | NodeFlag.CLOUD | NodeFlag.POWER_DOWN,
            "DRAINING!",
            "DRNG!",
            "MIXED+CLOUD+DRAIN+POWER_DOWN+NOT_RESPONDING",
        ),
        (
            NodeState.ALLOCATED,
            NodeFlag.COMPLETING | NodeFlag.NOT_RESPONDING,
            "ALLOCATED*",
            "ALLOC*",
            "ALLOCATED+COMPLETING+NOT_RESPONDING",
        ),
    ],
)
def test_state_words(state: NodeState, flags: NodeFlag, long: str, compact: str, complete: str, nodes: Any) -> None:
    node = dataclasses.replace(nodes[0], state=state, flags=flags)
    assert (*state_words(node), complete_state(node)) == (long, compact, complete)


@pytest.mark.parametrize(
    "word, state, flags, cpus, answer",
    [
        ("idle", NodeState.IDLE, NodeFlag.NONE, 0, True),
        ("id", NodeState.IDLE, NodeFlag.NONE, 0, True),
        ("alloc", NodeState.MIXED, NodeFlag.NONE, 3, True),
        ("alloc", NodeState.IDLE, NodeFlag.NONE, 0, False),
        ("drain", NodeState.IDLE, NodeFlag.DRAIN, 0, True),
        ("drained", NodeState.MIXED, NodeFlag.DRAIN, 1, False),
        ("drng", NodeState.MIXED, NodeFlag.DRAIN, 1, True),
        ("down", NodeState.DOWN, NodeFlag.NONE, 0, True),
        ("no_respond", NodeState.DOWN, NodeFlag.NOT_RESPONDING, 0, True),
        ("maint", NodeState.IDLE, NodeFlag.NONE, 0, False),
    ],
)
def test_states_requested_for(
    word: str, state: NodeState, flags: NodeFlag, cpus: int, answer: bool, nodes: Any
) -> None:
    assert matches(dataclasses.replace(nodes[0], state=state, flags=flags, alloc_cpus=cpus), word) is answer


@pytest.mark.parametrize("word", ["bogus", ""])
def test_no_state(word: str, nodes: Any) -> None:
    with pytest.raises(KeyError):
        matches(nodes[0], word)


def test_reasons(golden: Any, nodes: Any) -> None:
    recorded = golden("running", "sinfo-R")
    drained = [
        dataclasses.replace(
            nodes[0], flags=NodeFlag.DRAIN, reason="bad disk", reason_time=1795249700.0, reason_user="root"
        ),
        *nodes[1:],
    ]
    assert text_of(recorded, drained, Options(reasons=True)).splitlines()[1] == (
        "bad disk             root      2026-11-21T08:28:20 n1"
    )
    assert text_of(recorded, drained, Options(reasons=True, long=True)).splitlines()[2] == (
        "bad disk             root(0)      2026-11-21T08:28:20 drng   n1"
    )
