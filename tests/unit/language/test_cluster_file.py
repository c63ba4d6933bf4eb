"""Lines of the file that sacctmgr dump writes."""

from __future__ import annotations

import pytest

from slurmsky.language.cluster_file import BadEntry, lines, name_and_options


def test_comments_continuations_and_escapes_are_resolved() -> None:
    text = "# all\nQOS - 'q':Priority=1 # why\n\nAccount - 'a':GrpJobs=1:\\\nFairshare=3\nUser - 'x\\#y'\nCluster\n"
    found = [(line.number, line.kind, name_and_options(line.rest or "")) for line in lines(text)]
    assert found == [
        (2, "QOS", ("q", ["Priority=1"])),
        (5, "Account", ("a", ["GrpJobs=1", "Fairshare=3"])),
        (6, "User", ("x#y", [])),
    ]


def test_a_colon_in_quotes_belongs_to_the_value() -> None:
    assert name_and_options("'Lab':Description='a:b':MaxJobs=1") == ("lab", ["Description='a:b'", "MaxJobs=1"])


def test_a_line_may_end_after_its_hyphen() -> None:
    assert [line.rest for line in lines("Cluster -\n")] == [None]


@pytest.mark.parametrize(
    ("rest", "message"),
    [("'a':b", " Bad format on b: End your option with an '=' sign"), ("", " No name given"),
     ("MaxJobs=1", " No name given")],
)  # fmt: skip
def test_a_line_has_exactly_one_name(rest: str, message: str) -> None:
    with pytest.raises(BadEntry) as fault:
        name_and_options(rest)
    assert str(fault.value) == message
