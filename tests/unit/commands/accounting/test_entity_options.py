"""Options of sacctmgr add and modify; the answers are those of the real sacctmgr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from slurmsky.commands.accounting.entity_options import ChangeRefused, EntityOptions
from slurmsky.language.key_values import parse
from slurmsky.model.policy import QOS_FLAGS, AccountConfig, Limits, QosConfig, UserAssociation

QOS = ("normal", "zq1", "zq2", "zq3")


def changed(record: Any, line: str, known_qos: Sequence[str] = ()) -> Any:
    options = EntityOptions(record, known_qos)
    for word in line.split():
        given = parse(word)
        assert given is not None
        options.add(given)
    options.check()
    return options.applied(record)


def refusal(record: Any, line: str, known_qos: Sequence[str] = ()) -> str:
    """All lines on stderr, then those on stdout."""
    with pytest.raises(ChangeRefused) as refused:
        changed(record, line, known_qos)
    return "\n".join([*refused.value.args, *refused.value.printed])


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("qos=zq1", "zq1"),
        ("qos=,zq1", "zq1"),
        ("qos+=zq2", "normal,zq1,zq2"),
        ("qos=+zq2", "normal,zq1,zq2"),
        ("qos-=zq1", "normal"),
        ("qos=-zq1", "normal"),
        ("qos+=zq2 qos-=normal", "zq1,zq2"),
        ("qos-=zq1,zq2", "normal"),
    ],
)
def test_lists_grow_and_shrink(line: str, left: str) -> None:
    assert ",".join(changed(AccountConfig("lab", qos=("normal", "zq1")), line, QOS).qos) == left


def test_removing_a_qos_from_an_account_without_a_list_lists_the_others() -> None:
    assert changed(AccountConfig("lab"), "qos-=zq1", QOS).qos == ("normal", "zq2", "zq3")
    assert changed(AccountConfig("lab", qos=QOS[1:]), "qos+=normal", QOS).qos == ()


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("flags=denyonlimit", ("DenyOnLimit",)),
        ("flags+=DenyOnLimit", ("DenyOnLimit", "OverPartQOS")),
        ("flags+=noreserve,partitiont", ("PartitionTimeLimit", "OverPartQOS", "NoReserve")),
        ("flags-=OverPartQOS", ()),
        ("flags=-1", ()),
    ],
)
def test_flags_grow_and_shrink(line: str, left: tuple[str, ...]) -> None:
    assert changed(QosConfig("zq1", flags=("OverPartQOS",)), line).flags == left


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("GrpTRES=cpu=-1", {"node": 3}),
        ("GrpTRES=mem=3", {"cpu": 5, "mem": 3, "node": 3}),
        ("GrpTRES=cpu=7,node=-1", {"cpu": 7}),
        ("GrpTRES=-1", {}),
        ("GrpTRES=cpu+=2,node-=1,billing=4", {"cpu": 7, "node": 2, "billing": 4}),
        ("GrpTRES=cpu-=9,mem-=1,node+=99999999999999999999999", {"cpu": 0, "mem": 0, "node": 2**64 - 16}),
        ("GrpTRES=gres/gpu-test=5 GrpTRES=gres/gpu-test-=2", {"cpu": 5, "node": 3, "gres/gpu-test": 3}),
    ],
)
def test_a_limit_of_one_resource_leaves_the_others(line: str, left: dict[str, int]) -> None:
    old = QosConfig("zq1", limits=Limits(grp_tres=(("cpu", 5), ("node", 3))))
    assert dict(changed(old, line).limits.grp_tres) == left


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("qos+=nosuch", "sacctmgr: error: You gave a bad qos 'nosuch'. Valid QOS's are normal,zq1,zq2,zq3\n"
         " Unknown option: qos+=nosuch\n Use keyword 'where' to modify condition"),
        ("defaultqos=nosuch", "You gave a bad default qos 'nosuch'.  Use 'list qos' to get complete list."),
        ("maxjobs=x", "sacctmgr: error: Invalid value for MaxJobs (x)\n Unknown option: maxjobs=x\n"
         " Use keyword 'where' to modify condition"),
        ("maxwall=x", " Bad MaxWall time format: maxwall=x\n Unknown option: maxwall=x\n"
         " Use keyword 'where' to modify condition"),
        ("GrpTRES=nosuch=3", "sacctmgr: error: slurmdb_format_tres_str: no TRES known by type nosuch\n"
         " Unknown option: GrpTRES=nosuch=3\n Use keyword 'where' to modify condition"),
        ("flags=DenyOnLimit", " Unknown option: flags=DenyOnLimit\n Use keyword 'where' to modify condition"),
    ],
)  # fmt: skip
def test_refusals_of_accounts(line: str, message: str) -> None:
    assert refusal(AccountConfig("lab"), line, QOS) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "flags=nosuch",
            " Unknown QOS flag used in:\n  'nosuch'\n Valid QOS flags are\n  '" + ",".join(QOS_FLAGS) + "'",
        ),
        ("qos=normal", " Unknown option: qos=normal\n Use keyword 'where' to modify condition"),
    ],
)
def test_refusals_of_qos(line: str, message: str) -> None:
    assert refusal(QosConfig("zq1"), line) == message


def test_options_without_limits_are_stored() -> None:
    words = "Organization=Ours Parent=top FairShare=7 Description=lab"
    assert changed(AccountConfig("lab"), words, QOS) == AccountConfig(
        "lab", "lab", organization="ours", parent="top", fair_share=7
    )
    words = "Preempt=zq2,normal PreemptMode=Requeue GraceTime=30 UsageFactor=0.5"
    updated = changed(QosConfig("zq1"), words, QOS)
    assert updated == QosConfig(
        "zq1", preempt=("zq2", "normal"), preempt_mode="requeue", grace_time_s=30, usage_factor=0.5
    )
    assert changed(updated, "Preempt-=normal GraceTime=-1", QOS).preempt == ("zq2",)
    words = "FairShare=parent MaxJobs=2 MaxWall=10"
    assert changed(UserAssociation("lab", "ada"), words) == UserAssociation(
        "lab", "ada", None, Limits(max_jobs_per_user=2, max_wall_min=10)
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("preempt=nosuch", "sacctmgr: error: You gave a bad qos 'nosuch'. Valid QOS's are normal,zq1,zq2,zq3"),
        ("preemptmode=bad", " Bad Preempt Mode given: preemptmode=bad"),
        ("rawusage=0", " Unknown option: rawusage=0\n Use keyword 'where' to modify condition"),
    ],
)
def test_no_option_of_a_qos_is_dropped(line: str, message: str) -> None:
    assert refusal(QosConfig("zq1"), line, QOS) == message


def test_an_invalid_number_of_a_qos_changes_nothing() -> None:
    options = EntityOptions(QosConfig("zq1"))
    for word in ("GrpJobs=x", "prio=7"):
        given = parse(word)
        assert given is not None
        options.add(given)
    assert (options.fields, options.refused) == ({"priority": 7}, False)
    assert options.errors == ["sacctmgr: error: Invalid value for GrpJobs (x)"]


def test_all_words_of_a_request_are_reported() -> None:
    message = refusal(AccountConfig("lab"), "nosuch=1 GrpJobs=x GrpTRES+=cpu=4")
    assert message.splitlines()[::2] == [" Unknown option: nosuch=1", "sacctmgr: error: Invalid value for GrpJobs (x)",
                                      " Use keyword 'where' to modify condition"]  # fmt: skip
    assert refusal(AccountConfig("lab"), "GrpTRES+=cpu=4") == " Invalid operator '+=' in GrpTRES+=cpu=4"
