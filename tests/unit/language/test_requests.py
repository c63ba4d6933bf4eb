"""Option values of sbatch and srun, compared with Slurm 22.05 and its scontrol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tables import every

from slurmsky.language import (
    acctgfreq,
    constraint,
    cpubind,
    cpufreq,
    dependency,
    distribution,
    gpubind,
    gres,
    jobids,
    licenses,
    mailtype,
    membind,
    memory,
    nodecount,
    rlimits,
    signalspec,
    userlist,
)
from slurmsky.language.syntax_errors import LanguageError

Parse = Callable[[str], Any]


def table(parse: Parse, *rows: tuple[str, str]) -> list[Any]:
    return [(parse, text, shown) for text, shown in rows]


def name(row: tuple[Parse, str, str]) -> str:
    return f"{row[0].__module__.split('.')[-1]}-{row[1]}"


def shown_mib(text: str) -> str:
    return memory.format_mib(memory.parse_mib(text))


def shown_gres(text: str) -> str:
    return ",".join(map(str, gres.parse(text)))


def shown_gpus(text: str) -> str:
    return ",".join(map(str, gres.parse_gpus(text)))


def shown_depend(text: str) -> str:
    return dependency.format_with_state(dependency.parse(text))


@every(
    ("parse", "text", "shown"),
    [
        *table(
            shown_mib,
            *(
                ("0", "0"),
                ("1KB", "1M"),
                ("1gb", "1G"),
                ("5000", "5000M"),
                ("4G", "4G"),
                ("1T", "1T"),
                ("1025k", "2M"),
            ),
        ),
        *table(
            shown_depend,
            ("1", "afterany:1(unfulfilled)"),
            ("1,2", "afterany:1(unfulfilled),afterany:2(unfulfilled)"),
            ("afterok:1:2", "afterok:1(unfulfilled),afterok:2(unfulfilled)"),
            ("afterok:1,2", "afterok:1(unfulfilled),afterany:2(unfulfilled)"),
            ("afterok:1_2", "afterok:1_2(unfulfilled)"),
            ("afterok:1_*", "afterok:1_*(unfulfilled)"),
            ("1_*,2", "afterany:1_*(unfulfilled),afterany:2(unfulfilled)"),
            ("afterok:1_[1,5]:2", "afterok:1_1(unfulfilled),afterok:1_5(unfulfilled),afterok:2(unfulfilled)"),
            ("afterok:1?afterok:2", "afterok:1(unfulfilled)?afterok:2(unfulfilled)"),
            ("singleton?afterok:1", "singleton(unfulfilled)?afterok:1(unfulfilled)"),
            ("Singleton", "singleton(unfulfilled)"),
            ("AFTEROK:1", "afterok:1(unfulfilled)"),
            ("after:1:2+5", "after:1(unfulfilled),after:2+5(unfulfilled)"),
            ("after:1_2+5", "after:1_2+5(unfulfilled)"),
            ("afterok:-1", "afterok:4294967295(unfulfilled)"),
            ("afterok:999999999", "afterok:999999999(unfulfilled)"),
            ("after:4294967297", "after:1(unfulfilled)"),
            ("afterok: 1", "afterok:1(unfulfilled)"),
            ("afterany:1,afterany:1", "afterany:1(unfulfilled)"),
            ("aftercorr:1", "aftercorr:1(unfulfilled)"),
            ("afterburstbuffer:1", "afterburstbuffer:1(unfulfilled)"),
            ("", ""),
            ("0", ""),
        ),
        *table(
            nodecount.parse,
            *(("5", "5"), ("1m", "1048576"), ("2-1k", "2-1024"), ("-1", "1"), ("0", "0"), ("1 ", "1")),
            *(("1,2,4", "1,2,4"), ("1-8:2", "1,3,5,7"), ("1,3-5", "1,3,4,5")),
        ),
        *table(
            signalspec.parse,
            *(("USR1", "USR1"), ("USR1@", "USR1@0"), ("USR1@60", "USR1"), ("10@60", "USR1"), ("99", "99")),
            *(("B:USR1@60", "B:USR1"), ("BR:USR1", "RB:USR1"), ("SIGUSR1", "USR1"), ("sigusr1@5", "USR1@5")),
        ),
        *table(
            mailtype.parse,
            ("ALL", "INVALID_DEPEND,BEGIN,END,FAIL,REQUEUE,STAGE_OUT"),
            ("ALL,", "INVALID_DEPEND,BEGIN,END,FAIL,REQUEUE,STAGE_OUT"),
            ("begin", "BEGIN"),
            ("TIME_LIMIT_90", "TIME_LIMIT_90"),
            ("NONE,END", "NONE"),
            ("bogus,END", "END"),
        ),
        *table(
            distribution.parse,
            *(
                ("block", "block"),
                ("cyclic:block", "cyclic:block"),
                ("*:*", "block:cyclic"),
                ("plane=4", "plane=4"),
            ),
            *(("hostfile", "arbitrary"), ("Block:fcyclic,NoPack", "block:fcyclic,nopack"), ("pack", "pack")),
        ),
        *table(
            licenses.parse,
            ("a", "a:1"),
            ("a:2,b", "a:2,b:1"),
            ("a=2;b", "a:2,b:1"),
            ("a|b", "a:1|b:1"),
            ("", ""),
        ),
        *table(
            constraint.parse,
            *(("a", "a"), ("a&b", "a&b"), ("[a|b]", "[a|b]"), ("(a&b)|c", "(a&b)|c"), ("a,b", "a&b")),
            ("[(a&b)*2&c*1]", "[(a&b)*2&c*1]"),
        ),
        *table(
            shown_gres,
            *(
                ("gpu:9", "gpu:9"),
                ("gpu", "gpu:1"),
                ("gpu:a100:1", "gpu:a100:1"),
                ("gpu=2", "gpu:2"),
                ("", ""),
            ),
            *(("gres/gpu:2,tmp:1k", "gpu:2,tmp:1024"), ("gpu:h100:4(S:0-1)", "gpu:h100:4(S:0-1)")),
        ),
        *table(shown_gpus, ("4", "gpu:4"), ("a100:2", "gpu:a100:2"), ("abc", "gpu:abc:1"), ("gpu:1", "gpu:gpu:1")),
        *table(
            jobids.parse,
            *(("1", "1"), ("1_2", "1_2"), ("1_[1-3,5%2]", "1_[1-3,5%2]"), ("1_*", "1_*"), ("1+1", "1+1")),
            *(
                ("1.0", "1.0"),
                ("1.batch", "1.batch"),
                ("1.EXTERN", "1.extern"),
                ("1_2.3", "1_2.3"),
                ("1.0+1", "1.0+1"),
            ),
        ),
        *table(
            cpubind.parse,
            *(("v,cores", "verbose,cores"), ("map_cpu:0,2*2", "map_cpu:0,2,2"), ("mapcpu:1", "map_cpu:1")),
            *(("mask_cpu=f,0x3,verbose", "verbose,mask_cpu:f,0x3"), ("rank", "quiet"), ("q,ldom", "ldoms")),
        ),
        *table(membind.parse, ("v,p,local", "verbose,prefer,local"), ("map_mem:0", "map_mem:0")),
        *table(
            gpubind.parse,
            *(
                ("closest", "closest"),
                ("single:2", "single:2"),
                ("map_gpu:0*2,1", "map_gpu:0,0,1"),
                ("none", "none"),
            ),
            *(
                ("verbose,closest", "verbose,closest"),
                ("mask_gpu:f,0x1", "mask_gpu:f,0x1"),
                ("single:0", "single:0"),
            ),
            *(("closest,verbose", "closest"), ("per_task:1", "per_task:1"), ("map:1", "map_gpu:1")),
        ),
        *table(acctgfreq.parse, ("30", "task=30"), ("energy=1,task=2", "energy=1,task=2"), ("", "")),
        *table(acctgfreq.parse, (",task=1,,task=2", "task=2")),
        *table(
            cpufreq.parse,
            *(
                ("low", "low"),
                ("low-high:ondemand", "low-high:ondemand"),
                ("ondemand", "ondemand"),
                ("2000", "2000"),
                ("2000000-2000000:performance", "2000000-2000000:performance"),
            ),
        ),
        *table(rlimits.parse, ("CPU,rlimit_as", "CPU,AS"), ("all", "ALL"), ("NONE", "NONE"), ("", "ALL")),
    ],
    name,
)
def test_taken(parse: Parse, text: str, shown: str) -> None:
    assert str(parse(text)) == shown


@every(
    ("parse", "text", "message"),
    [
        *table(
            memory.parse_mib,
            *((text, "") for text in ("", "abc", "1X", "1.5G", "1P", "1 G", "10%", "-1", "0x10", "5B", "5 ")),
        ),
        *table(
            dependency.parse,
            *(
                (text, "Job dependency problem")
                for text in (
                    *(
                        "bogus",
                        "afterok",
                        "afterok:",
                        "afterok:abc",
                        "afterok:0",
                        "afterok:1:",
                        "after:1+",
                        "after:1+x",
                    ),
                    *(
                        "singleton:1",
                        "afterok=1",
                        "afterok:1,",
                        "1,afterok:2",
                        "0,1",
                        "1+5",
                        "1?2",
                        "afterburst:1",
                    ),
                    *("after:1+-1", "afterok:1;"),
                )
            ),
        ),
        *table(
            nodecount.parse,
            ("2-1", "Maximum node count 1 is less than minimum node count 2"),
            ("1-", "Maximum node count -1 is less than minimum node count 1"),
            ("-", "Maximum node count -1 is less than minimum node count 1"),
            ("abc", '"abc" is not a valid node count'),
            ("1-2-3", '"2-3" is not a valid node count'),
            ("", '"" is not a valid node count'),
            ("1,x", '"x" is not a valid node count'),
            ("1x-2", '"1x" is not a valid node count'),
        ),
        *table(
            signalspec.parse,
            *((text, "") for text in ("0", "X:USR1", "USR1@99999", "B:", "B:@60", "@60", "", "bogus", "65536")),
        ),
        *table(signalspec.parse_signal, ("0", "Unknown job signal: 0"), ("bogus", "Unknown job signal: bogus")),
        *table(mailtype.parse, ("bogus", ""), ("", "")),
        *table(
            distribution.parse,
            ("bogus", ""),
            ("fcyclic", ""),
            ("plane", "Invalid plane size or size not specified"),
            ("plane=0", "Invalid plane size or size not specified"),
            ("plane=x", "Invalid plane size or size not specified"),
        ),
        *table(licenses.parse, ("a:b", ""), ("a b", ""), ("a|b,c", ""), ("a:-1", "")),
        *table(constraint.parse, *((text, "") for text in ("", "a&", "&a", "[a", "a]", "a b", "((a))", "a*0"))),
        *table(gres.parse, ("gpu:", ""), ("gpu:a:b:c", ""), ("gpu:99999999999999999999", "")),
        *table(
            jobids.parse,
            *((text, "") for text in ("", "abc", "0", "1_", "1_x", "1.x", "1.0x", "1_[1-3", "1+1_2")),
        ),
        *table(
            cpubind.parse,
            ("bogus", 'unrecognized --cpu-bind argument "bogus"'),
            ("map_cpu", 'missing list for "--cpu-bind=map_cpu:<list>"'),
            ("v,map_cpu:NaN", "Failed to validate number: NaN, the offending character is N"),
            ("map_cpu:0x0", "Failed to validate number: 0x0, the offending character is x"),
            ("map_cpu:1,b", "Failed to validate number: b, the offending character is b"),
            ("mask_cpu:0x1g", "Failed to validate number: 1g, the offending character is g"),
            ("map_cpu:1*x", "Failed to validate number: *x, the offending character is x"),
            ("map_cpu:1*0", "Invalid map_cpu multiplier: 0"),
            ("map_ldom:1-3", "Failed to validate number: 1-3, the offending character is -"),
            ("map_cpu:", 'missing list for "--cpu-bind=map_cpu:<list>"'),
        ),
        *table(membind.parse, ("bogus", 'unrecognized --mem-bind argument "bogus"')),
        *table(
            gpubind.parse,
            *(
                (text, f"Invalid --gpu-bind argument: {text}")
                for text in ("bogus", "v,single:1", "single", "", "per_task")
            ),
        ),
        *table(
            acctgfreq.parse,
            *((text, f"Invalid --acctg-freq specification: {text}") for text in ("x", "task=x", "task=", "-1")),
            ("task=30,bogus=1", "Invalid --acctg-freq specification: bogus=1"),
            ("bar=2,5,task=x", "Invalid --acctg-freq specification: bar=2\nInvalid --acctg-freq specification: task=x"),
        ),
        *table(
            cpufreq.parse,
            ("bogus", 'unrecognized --cpu-freq argument "bogus"'),
            ("", 'unrecognized --cpu-freq argument ""'),
            ("2100000-2000000:performance", "min cpu-frec (2100000) must be < max cpu-freq (2000000)"),
            ("medium-low", "min cpu-frec (medium) must be < max cpu-freq (low)"),
            ("low:high", "gov on cpu-frec (high) illegal without max"),
            ("x:y", 'unrecognized --cpu-freq argument "x"'),
        ),
        *table(rlimits.parse, ("CPU,bogus", "Bad rlimit name: bogus")),
    ],
    name,
)
def test_refused(parse: Parse, text: str, message: str) -> None:
    with pytest.raises(LanguageError) as caught:
        parse(text)
    assert caught.value.message == message
    assert caught.value.text == text
    assert str(caught.value)


def test_name_lists() -> None:
    assert userlist.parse("root,,ada ,") == ("root", "ada ")
    assert userlist.parse("") == ()


def test_what_a_gres_is_for() -> None:
    assert gres.parse("gpu:a100") == (gres.Gres("gpu", "a100", 1),)


@pytest.mark.parametrize(
    ("expression", "features", "answer"),
    [
        ("a&b", {"a"}, False),
        ("a&b", {"a", "b"}, True),
        ("a|b", {"b"}, True),
        ("a&(b|c)", {"a", "c"}, True),
        ("a&(b|c)", {"b", "c"}, False),
        ("[a|b]", {"b"}, True),
    ],
)
def test_constraints_choose_nodes(expression: str, features: set[str], answer: bool) -> None:
    assert constraint.parse(expression).matches(features) is answer


NODES = {"n1": {"a"}, "n2": {"b"}, "n3": {"a", "c", "d"}, "n4": {"a", "c", "e"}}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("c*2", [("n1 n2 n3 n4", "n3 n4")]),
        ("c*3", [("n1 n2 n3 n4", None)]),
        ("[(a&c)*2&b*1]", [("n1 n2 n3 n4", "n2 n3 n4")]),
        ("[(a&e)*2&b*2]", [("n1 n2 n3 n4", None)]),
        ("[a|b]", [("n1 n3 n4", ""), ("n2", "")]),
        ("a|b", [("n1 n2 n3 n4", "")]),
        ("c&[b|a]", [("", ""), ("n3 n4", "")]),
        ("a&d*1", [("n1 n3 n4", "n3")]),
    ],
)
def test_counts_and_alternatives_choose_nodes(expression: str, allowed: list[tuple[str, str | None]]) -> None:
    found = []
    for choice in constraint.parse(expression).choices():
        picked = choice.pick(list(NODES.items()))
        every = [name for name, features in NODES.items() if choice.matches(features)]
        found.append((" ".join(every), None if picked is None else " ".join(sorted(picked))))
    assert found == allowed


def test_memory_units() -> None:
    """slurm_protocol_api.c convert_num_unit2 with CONVERT_NUM_UNIT_EXACT: halves are exact."""
    assert [memory.format_mib(mib) for mib in (0, 512, 1000, 1536, 2048, 4000)] == (
        ["0", "512M", "1000M", "1.50G", "2G", "4000M"]
    )


def test_lists_of_job_ids_split_outside_brackets_only() -> None:
    assert jobids.split("1,12_[1,3],x, y") == ["1", "12_[1,3]", "x", "y"]
