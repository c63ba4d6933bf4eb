"""Printed values of the small languages are read back unchanged."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.language import (
    acctgfreq,
    arrayspec,
    constraint,
    cpubind,
    cpufreq,
    dependency,
    directives,
    distribution,
    exportspec,
    gpubind,
    gres,
    hostlist,
    jobids,
    licenses,
    mailtype,
    membind,
    memory,
    nodecount,
    rlimits,
    signalspec,
    timelimit,
    timespec,
)
from slurmsky.translate.shell import module_lines

# ---------------------------------------------------------------------------- what is printed is read

NOW = datetime(2026, 11, 21, 8, 20, 41, tzinfo=timezone.utc)
NAME = st.text(string.ascii_letters + string.digits + "._", min_size=1, max_size=8)


WORD = st.text(string.ascii_lowercase, min_size=1, max_size=6)


SMALL = st.integers(1, 10**6)


def requested_once(dependencies: dependency.Dependency) -> bool:
    requested = [(kind, job and (job.job_id, job.task)) for kind, job in dependencies]
    return len(requested) == len(set(requested))


INVERSES: dict[str, tuple[Callable[[str], Any], st.SearchStrategy[Any]]] = {
    "acctgfreq": (
        acctgfreq.parse,
        st.dictionaries(st.sampled_from(acctgfreq.KINDS), st.integers(0, 9999)).map(
            lambda found: acctgfreq.AcctgFreq(tuple(found.items()))
        ),
    ),
    "arrayspec": (
        lambda text: arrayspec.parse(text, 10**6),
        st.builds(
            arrayspec.ArraySpec.of,
            st.one_of(
                st.sets(st.integers(0, 200), min_size=1),
                st.builds(range, st.integers(0, 50), st.integers(60, 5000), st.integers(1, 9)),
            ),
            st.one_of(st.none(), SMALL),
        ),
    ),
    "dependency": (
        dependency.parse,
        st.builds(
            dependency.Dependency,
            st.lists(
                st.one_of(
                    st.just(dependency.Condition("singleton")),
                    st.builds(
                        dependency.Condition,
                        st.sampled_from([kind for kind in dependency.TYPES if kind != "singleton"]),
                        st.lists(
                            st.builds(
                                dependency.JobRef,
                                SMALL,
                                st.one_of(st.none(), st.just("*"), st.integers(0, 4000)),
                                st.integers(0, 1000),
                                st.booleans(),
                            ),
                            min_size=1,
                            max_size=4,
                            unique_by=lambda ref: (ref.job_id, ref.task),
                        ).map(tuple),
                    ),
                ),
                min_size=2,
                max_size=4,
                unique=True,
            ).map(tuple),
            st.booleans(),
        ).filter(requested_once),
    ),
    "nodecount": (
        nodecount.parse,
        st.one_of(
            st.integers(0, 10**6).map(lambda n: nodecount.NodeCount(n, n)),
            st.tuples(SMALL, SMALL).map(lambda pair: nodecount.NodeCount(min(pair), max(pair))),
            st.sets(st.integers(0, 16383), min_size=2, max_size=9).map(
                lambda sizes: nodecount.NodeCount(min(sizes), max(sizes), tuple(sorted(sizes)))
            ),
        ),
    ),
    "signalspec": (
        signalspec.parse,
        st.builds(signalspec.SignalSpec, st.integers(1, 65535), st.integers(0, 65535), st.booleans(), st.booleans()),
    ),
    "mailtype": (
        mailtype.parse,
        st.frozensets(st.sampled_from(mailtype.EVENTS)).map(mailtype.MailType),
    ),
    "rlimits": (rlimits.parse, st.frozensets(st.sampled_from(rlimits.NAMES)).map(rlimits.Rlimits)),
    "distribution": (
        distribution.parse,
        st.one_of(
            st.builds(
                distribution.Distribution,
                st.sampled_from(["block", "cyclic"]),
                st.sampled_from(distribution.LEVEL_WORDS),
                st.sampled_from(["", *distribution.LEVEL_WORDS]),
                pack=st.sampled_from([None, True, False]),
            ),
            SMALL.map(lambda size: distribution.Distribution("plane", plane_size=size)),
            st.builds(distribution.Distribution, st.just("arbitrary"), pack=st.sampled_from([None, True, False])),
        ),
    ),
    "licenses": (
        licenses.parse,
        st.dictionaries(NAME, st.integers(0, 99), min_size=2).flatmap(
            lambda counts: st.booleans().map(lambda any_: licenses.Licenses(tuple(counts.items()), any_))
        ),
    ),
    "constraint": (
        constraint.parse,
        st.lists(st.tuples(NAME, st.integers(0, 9), st.sampled_from("&|")), min_size=1, max_size=5).map(
            lambda found: constraint.TermGroup(
                (
                    constraint.TermGroup(
                        tuple(constraint.Feature(name, count) for name, count, _ in found),
                        tuple(operator for _, _, operator in found[1:]),
                        "(",
                    ),
                    constraint.Feature("last"),
                ),
                ("&",),
            )
        ),
    ),
    "gres": (
        lambda text: gres.parse(text)[0],
        st.builds(gres.Gres, WORD, st.one_of(st.just(""), WORD), SMALL, st.sampled_from(["", "S:0-1", "IDX:0,2"])),
    ),
    "jobids": (
        jobids.parse,
        st.one_of(
            st.builds(
                jobids.JobId,
                SMALL,
                st.one_of(
                    st.none(),
                    st.just("*"),
                    st.integers(0, 9999),
                    st.builds(arrayspec.ArraySpec.of, st.sets(st.integers(0, 99), min_size=1)),
                ),
                step=st.one_of(st.none(), st.integers(0, 99), st.sampled_from(["batch", "extern", "interactive"])),
            ),
            st.builds(jobids.JobId, SMALL, het_offset=st.integers(0, 127)),
        ),
    ),
    "cpubind": (
        cpubind.parse,
        st.one_of(
            st.builds(
                cpubind.CpuBind,
                to=st.sampled_from(["", "cores", "sockets", "threads", "ldoms"]),
                how=st.sampled_from(["", "none", "rank_ldom"]),
                verbose=st.booleans(),
                one_thread=st.booleans(),
            ),
            st.builds(
                cpubind.CpuBind,
                to=st.sampled_from(["", "cores"]),
                how=st.sampled_from(["map_cpu", "mask_ldom"]),
                values=st.lists(st.integers(0, 99).map(str), min_size=1).map(tuple),
                verbose=st.booleans(),
            ),
        ),
    ),
    "membind": (
        membind.parse,
        st.builds(
            membind.MemBind,
            st.sampled_from(["", "none", "rank", "local"]),
            verbose=st.booleans(),
            prefer=st.booleans(),
            sort=st.booleans(),
        ),
    ),
    "gpubind": (
        gpubind.parse,
        st.one_of(
            st.builds(gpubind.GpuBind, st.sampled_from(["closest", "none"]), verbose=st.booleans()),
            st.builds(gpubind.GpuBind, st.sampled_from(["single", "per_task"]), SMALL, verbose=st.booleans()),
            st.builds(
                gpubind.GpuBind,
                st.sampled_from(["map", "mask"]),
                values=st.lists(st.integers(0, 9).map(str), min_size=1).map(tuple),
            ),
        ),
    ),
    "cpufreq": (
        cpufreq.parse,
        st.one_of(
            st.sampled_from(["low", "high", "2000"]).map(cpufreq.CpuFreq),
            st.just(cpufreq.CpuFreq("low", "high", "ondemand")),
            st.just(cpufreq.CpuFreq(governor="userspace")),
        ),
    ),
}


@pytest.mark.parametrize("name", INVERSES)
@given(data=st.data())
def test_printed_values_are_parsed_to_themselves(name: str, data: st.DataObject) -> None:
    parse, values = INVERSES[name]
    value = data.draw(values)
    assert parse(str(value)) == value


@given(names=st.lists(NAME, max_size=30))
def test_node_lists_round_trip_in_order(names: list[str]) -> None:
    assert hostlist.expand(hostlist.compress(names)) == names
    assert sorted(hostlist.expand(hostlist.compress_sorted(names))) == sorted(names)


@given(numbers=st.lists(st.integers(0, 1200), max_size=60), width=st.integers(0, 5))
def test_numbered_nodes_round_trip_in_order(numbers: list[int], width: int) -> None:
    names = [f"node-{number:0{width}d}" for number in numbers]
    assert hostlist.expand(hostlist.compress(names)) == names


@given(indices=st.sets(st.integers(0, 300), min_size=1))
def test_displayed_elements_are_the_elements(indices: set[int]) -> None:
    spec = arrayspec.parse(arrayspec.format_indices(indices, bitstr_len=0))
    assert spec is not None and set(spec) == indices == {i for i in range(301) if i in spec}


@given(minutes=st.integers(0, 10**6))
def test_time_limits_round_trip(minutes: int) -> None:
    assert timelimit.parse(timelimit.format_minutes(minutes)) == minutes
    assert timelimit.parse_seconds(timelimit.format_seconds(minutes)) == minutes


@given(epoch=st.integers(86400 * 366, 4 * 10**9))
def test_times_round_trip(epoch: int) -> None:
    shown = timespec.format(epoch, tz=timezone.utc)
    assert timespec.parse(shown, NOW) == epoch


@given(mib=st.integers(0, 2**30 - 1))  # from 1P on, which is printed and not read
def test_memory_sizes_round_trip_unless_they_show_a_fraction(mib: int) -> None:
    shown = memory.format_mib(mib)
    assert "." in shown or memory.parse_mib(shown) == mib


@given(
    words=st.lists(st.text(string.printable, min_size=1, max_size=8).filter(lambda word: "\n" not in word), max_size=6)
)
def test_quoted_words_round_trip(words: list[str]) -> None:
    """Double quotes with backslashes before special characters preserve any word."""
    line = " ".join('"' + "".join("\\" + char if char in "\"\\'#" else char for char in word) + '"' for word in words)
    assert directives.split(line) == words


@given(text=st.text("AB=,'\" x", max_size=20))
def test_export_lists_round_trip(text: str) -> None:
    spec = exportspec.parse(text)
    assert exportspec.parse(str(spec)).items == spec.items


@given(
    names=st.lists(
        st.text(string.ascii_letters + string.digits + "/._-$", min_size=1, max_size=9).filter(
            lambda name: name[0] != "-"
        ),
        min_size=1,
        max_size=4,
    )
)
def test_module_lines_round_trip(names: list[str]) -> None:
    line = module_lines.ModuleLine("load", tuple(names), 1)
    assert module_lines.parse(str(line)) == (line,)
