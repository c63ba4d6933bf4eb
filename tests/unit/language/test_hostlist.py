"""Answers of a real Slurm: `scontrol show hostnames|hostlist|hostlistsorted`; 22.05, and 25.11 where a line says so."""

from __future__ import annotations

import time

import pytest

from slurmsky.language.hostlist import HostlistError, compress, compress_sorted, expand


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1 n2", "n1 n2"),
        ("a,,b", "a b"),
        (",a", "a"),
        ("a\tb", "a b"),
        ("", ""),
        ("n[01-3]", "n01 n02 n03"),
        ("n[1-003]", "n1 n2 n3"),
        ("n[9-010]", "n9 n10"),
        ("n[001-1]", "n001"),
        ("n[1-]", "n1"),
        ("n[08-11]", "n08 n09 n10 n11"),
        ("a[1][2]", "a12"),
        ("[1-2]", "1 2"),
        ("n[1],m", "n1 m"),
        ("n[1-2] m", "n1 n2 m"),
        ("n[1-2]3[4-5]", "n134 n135 n234 n235"),
        ("r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"),
        ("é[1-2]", "é1 é2"),
        ("n]", "n]"),
        ("n{1-2}", "n{1-2}"),
        ("(null)", "(null)"),
        ("a[1-2]b[3-4]c[5,7-8]", "a1b3c5 a1b3c7 a1b3c8 a2b3c5 a2b3c7 a2b3c8 a1b4c5 a1b4c7 a1b4c8 a2b4c5 a2b4c7 a2b4c8"),
        # 25.11 takes text after the last bracket; 22.05 refused it
        ("n[1-3]-ib", "n1-ib n2-ib n3-ib"),
        ("n[1-2]x[3-4]y,m", "n1x3y n1x4y n2x3y n2x4y m"),
        ("n[1-2]3", "n13 n23"),
        ("n[1-2]]", "n1] n2]"),
    ],
)
def test_expand(text: str, names: str) -> None:
    assert expand(text) == names.split()


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("n[3-1]", "_parse_single_range: Invalid range: `3-1'"),
        ("n[]", "_parse_single_range: Invalid range: `'"),
        ("n[1,,2]", "_parse_single_range: Invalid range: `'"),
        ("n[1-2,]", "_parse_single_range: Invalid range: `'"),
        ("n[a-b]", "_parse_single_range: Invalid range: `a-b'"),
        ("n[1-2-3]", "_parse_single_range: Invalid range: `1-2-3'"),
        ("n[1--2]", "_parse_single_range: Invalid range: `1--2'"),
        ("n[-1]", "_parse_single_range: Invalid range: `-1'"),
        ("n[x]", "_parse_single_range: Invalid range: `x'"),
        ("n[0x1]", "_parse_single_range: Invalid range: `0x1'"),
        ("[n1-n2]", "_parse_single_range: Invalid range: `n1-n2'"),
        ("n[1-70000]", "_parse_single_range: Too many hosts in range `1-70000'"),
        ("n[1-65537]", "_parse_single_range: Too many hosts in range `1-65537'"),
        # 25.11 refuses a bracket without an end; 22.05 made the name `n]` of it
        ("n[1-3", ""),
        ("n[1-2][3-", ""),
    ],
)
def test_refused(text: str, detail: str) -> None:
    with pytest.raises(HostlistError) as caught:
        expand(text)
    assert str(caught.value) == f"Invalid hostlist: {text}"
    assert caught.value.detail == detail


@pytest.mark.parametrize(
    ("names", "plain", "in_order"),
    [
        ("n3,n1,n2", "n[3,1-2]", "n[1-3]"),
        ("n001,n002,n3", "n[001-002,3]", "n[3,001-002]"),
        ("n1,n1,n2", "n[1,1-2]", "n[1,1-2]"),
        ("n2,n2,n1", "n[2,2,1]", "n[1-2,2]"),
        ("a1b1,a1b2,a2b1,a2b2", "a1b[1-2],a2b[1-2]", "a1b[1-2],a2b[1-2]"),
        ("n,n", "n,n", "n,n"),
        ("n1,m1,n2", "n1,m1,n2", "m1,n[1-2]"),
        ("n9,n10,n11", "n[9-11]", "n[9-11]"),
        ("n09,n10,n11", "n[09-11]", "n[09-11]"),
        ("n098,n099,n100", "n[098-100]", "n[098-100]"),
        ("n99,n100", "n[99-100]", "n[99-100]"),
        ("n09,n010", "n[09,010]", "n[09,010]"),
        ("n1a,n2a", "n1a,n2a", "n1a,n2a"),
        ("n01,n1", "n[01,1]", "n[1,01]"),
        ("n1,n2,n01,n02", "n[1-2,01-02]", "n[1-2,01-02]"),
        ("n10,n9,n8", "n[10,9,8]", "n[8-10]"),
        ("n10,n1,n2", "n[10,1-2]", "n[1-2,10]"),
        ("1,2", "[1-2]", "[1-2]"),
        ("a,b,a", "a,b,a", "a,a,b"),
        ("n1-1,n1-2", "n1-[1-2]", "n1-[1-2]"),
        ("x", "x", "x"),
        ("a10b1,a2b1", "a10b1,a2b1", "a2b1,a10b1"),
        ("r1n1,r10n1,r2n1,r010n1", "r1n1,r10n1,r2n1,r010n1", "r010n1,r1n1,r2n1,r10n1"),
        ("a02b1,a2b1,a1b1", "a02b1,a2b1,a1b1", "a02b1,a1b1,a2b1"),
        ("a010a1,a01a1", "a010a1,a01a1", "a01a1,a010a1"),
        ("B1,a1,C1", "B1,a1,C1", "B1,C1,a1"),
    ],
)
def test_compress(names: str, plain: str, in_order: str) -> None:
    assert compress(names.split(",")) == plain
    assert compress_sorted(names.split(",")) == in_order


def test_a_list_of_more_names_than_fit_in_memory_is_refused() -> None:
    with pytest.raises(HostlistError):
        expand("n[1-60000][1-60000][1-60000]")
    with pytest.raises(HostlistError):
        expand(",".join(["n[1-65536]"] * 1000))


def test_ten_thousand_names_are_expanded_quickly() -> None:
    expand("n[1-2]")  # the grammar loads once
    started = time.process_time()
    names = expand("node[00001-10000]")
    assert compress(names) == "node[00001-10000]"
    assert expand(",".join(names)) == names
    assert time.process_time() - started < 0.2  # 15 ms where it was written
