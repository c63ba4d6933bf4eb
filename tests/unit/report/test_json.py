"""--json: layout as in Slurm 25.11's data parser, values as in the records."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from data_parser import faults, types

from slurmsky.model.job import Job, Node
from slurmsky.model.reservation import Reservation
from slurmsky.report.fields.field_tables import table
from slurmsky.report.json import data_parser, manager_records
from slurmsky.report.json import documents as report
from slurmsky.report.json.accounting_records import accounting_record
from slurmsky.report.json.job_records import ENDLESS, UNSET, JobRecords, exit_code
from slurmsky.report.json.node_records import node_records, partition_record
from slurmsky.report.json.other_records import license_record, ping_records, reservation_record, step_record
from slurmsky.report.report_context import ReportContext
from slurmsky.report.text.controller_statistics import Calls, Counters
from slurmsky.report.text.sacctmgr_tables import Records, associations

ABOUT = report.meta("squeue", ["--json"], "oracle")


def managed(context: ReportContext) -> dict[str, Any]:
    """One record each of sdiag, sshare and sacctmgr."""
    counters = Counters(1.0, messages={"squeue": Calls(3, 30)})
    statistics = manager_records.statistics_record(counters, 100.0, 2, 1, ("ada", 7), 12)
    known = Records(context.cluster, "vm", "ada", ("ada", "physics"), (), context.clock)
    shares = manager_records.shares_record(associations("oracle", ("ada",), "ada"))
    return {
        "STATS_MSG": statistics, "STATS_MSG_RPC_TYPE": statistics["rpcs_by_message_type"][0],
        "STATS_MSG_RPC_USER": statistics["rpcs_by_user"][0], "SHARES_RESP_MSG": shares,
        "ASSOC_SHARES_OBJ_WRAP": shares["shares"][1],
        **{name: manager_records.MANAGED[entity][1](known)[-1] for name, entity in (
            ("ACCOUNT", "Accounts"), ("ASSOC", "Associations"), ("CLUSTER_REC", "Clusters"), ("QOS", "QOS"),
            ("TRES", "TRES"), ("USER", "Users"))},
    }  # fmt: skip


def json_text(document: Mapping[str, Any]) -> str:
    return "".join(report.json_pieces(document))


def yaml_text(document: Mapping[str, Any]) -> str:
    return "".join(report.yaml_pieces(document))


@pytest.fixture
def records(running: list[Job], nodes: list[Node], golden: Any) -> dict[str, Any]:
    context = golden("running", "one").context
    return {
        "JOB_INFO": JobRecords(context)(running[0]),
        "NODE": next(node_records([nodes[0]], context)),
        "PARTITION_INFO": partition_record(context.cluster.partitions[1], context),
        "JOB_RES": JobRecords(context)(running[0])["job_resources"],
        "JOB": accounting_record(running[0], context),
        "STEP": accounting_record(running[0], context)["steps"][0],
        "SINFO_DATA": next(iter(report.sinfo_document(nodes, context.cluster, ABOUT, 0)["sinfo"])),
        "RESERVATION_INFO": reservation_record(Reservation("r", 1, 2, ("n1",), parts=(("n1", (0,)),)), context),
        "STEP_INFO": step_record(running[0], next(iter(running[0].steps.values())), context),
        "LICENSE": license_record("matlab", 5, 2),
        "CONTROLLER_PING": next(iter(ping_records("vm"))),
        "OPENAPI_META": ABOUT,
        **managed(context),
        "OPENAPI_JOB_INFO_RESP": {
            **report.jobs_document([], ABOUT, context.now, context.cluster),
            "jobs": [JobRecords(context)(job) for job in running],
        },
    }


@pytest.mark.parametrize(
    "name",
    [
        "JOB_INFO",
        "NODE",
        "PARTITION_INFO",
        "JOB_RES",
        "JOB",
        "STEP",
        "SINFO_DATA",
        "OPENAPI_META",
        "RESERVATION_INFO",
        "STEP_INFO",
        "LICENSE",
        "CONTROLLER_PING",
        "STATS_MSG",
        "STATS_MSG_RPC_TYPE",
        "STATS_MSG_RPC_USER",
        "SHARES_RESP_MSG",
        "ASSOC_SHARES_OBJ_WRAP",
        "ACCOUNT",
        "ASSOC",
        "CLUSTER_REC",
        "QOS",
        "TRES",
        "USER",
        "OPENAPI_JOB_INFO_RESP",
    ],
)
def test_every_name_is_there_and_no_other(name: str, records: dict[str, Any]) -> None:
    assert faults(records[name], name) == []


def test_values(records: dict[str, Any], waiting: list[Job], golden: Any) -> None:
    job = records["JOB_INFO"]
    assert (job["job_id"], job["job_state"], job["nodes"], job["user_name"]) == (
        70538,
        ["RUNNING"],
        "n[1-2]",
        "root",
    )
    assert job["time_limit"] == {"set": True, "infinite": False, "number": 30}
    assert job["array_task_id"] == UNSET
    assert job["start_time"]["number"] == 1795249744
    assert job["memory_per_node"]["number"] == 10
    assert job["memory_per_cpu"]["set"] is False
    assert job["tres_alloc_str"] == "cpu=2,node=2,billing=2"
    assert [node["name"] for node in job["job_resources"]["nodes"]["allocation"]] == ["n1", "n2"]
    context = golden("waiting", "squeue_default").context
    array = JobRecords(context)(waiting[1])
    assert (array["array_task_string"], array["hold"], array["state_reason"]) == (
        "1-5%2",
        True,
        "JobHeldUser",
    )
    assert array["time_limit"] == {"set": False, "infinite": True, "number": 0}
    assert records["NODE"]["state"] == ["MIXED"]


@pytest.mark.parametrize(
    "code, signal, status, name",
    [(0, 0, "SUCCESS", ""), (3, 0, "ERROR", ""), (0, 15, "SIGNALED", "TERM"), (0, 99, "SIGNALED", "99")],
)
def test_exit_codes(code: int, signal: int, status: str, name: str) -> None:
    record = exit_code(code, signal)
    assert (record["status"], record["signal"]["name"]) == ([status], name)


def test_json_text_is_json(records: dict[str, Any]) -> None:
    assert json.loads(json_text(records["OPENAPI_JOB_INFO_RESP"])) == records["OPENAPI_JOB_INFO_RESP"]


def test_yaml_text(records: dict[str, Any]) -> None:
    small = {"a": [{"b": 1, "c": []}, {"d": {"e": "x: y"}}], "n": None, "t": [True, "no"], "o": {}}
    assert yaml_text(small) == (
        '%YAML 1.1\n---\na:\n  - b: 1\n    c: []\n  - d:\n      e: "x: y"\nn: null\nt:\n  - true\n  - "no"\n'
        "o: {}\n...\n"
    )


def test_records_written_one_by_one(running: list[Job], golden: Any) -> None:
    # An unchanged value is not serialised again: the output equals that of each record alone.
    context = golden("running", "one").context
    jobs = [*running, *(dataclasses.replace(running[0], job_id=9, exit_code=code) for code in (1, 0, 2, 2))]
    several = [JobRecords(context)(job) for job in jobs]
    lazily = {"jobs": iter(several), "errors": []}
    assert json.loads(json_text(lazily)) == {"jobs": several, "errors": []}
    assert yaml_text({"jobs": iter(several), "errors": []}) == yaml_text({"jobs": several, "errors": []})
    mixed = [{"a": 1, "b": []}, {"a": True, "b": []}, {"a": 1.0}, {"c": {}}, {}, 5]
    assert json_text({"x": iter(mixed)}).count("1") == 2
    assert yaml_text({"x": iter(mixed)}) == yaml_text({"x": mixed})
    assert yaml_text({"x": iter(())}) == yaml_text({"x": []})


def test_ten_thousand_jobs_are_quick(running: list[Job], golden: Any) -> None:
    context = golden("running", "one").context
    jobs = [dataclasses.replace(running[0], job_id=number) for number in range(10_000)]
    start = time.process_time()
    json_text(report.jobs_document(jobs, ABOUT, context.now, context.cluster))
    assert time.process_time() - start < 1.0 * 2  # the budget is a second on an idle machine


@pytest.mark.parametrize("layout, kind, path, since", [
    (row["layout"], {"association": "ASSOC", "accounting": "JOB", "sinfo": "SINFO_DATA", "ping": "CONTROLLER_PING",
                     "partition": "PARTITION_INFO"}.get(row["layout"], row["layout"].upper()), row["path"],
     int(row["since"])) for row in table("data_parser")])  # fmt: skip
def test_older_layouts(layout: str, kind: str, path: str, since: int, records: dict[str, Any]) -> None:
    keys: Any = types()[kind]
    for part in path.split("/"):
        keys = types()[keys.rstrip("[]?")] if isinstance(keys, str) else keys
        assert part in keys, f"the newest layout has no {path}"
        keys = keys[part]

    def there(record: Any) -> bool:
        for part in path.split("/"):
            record = record[0] if isinstance(record, list) and record else record
            if not isinstance(record, dict) or part not in record:
                return False
            record = record[part]
        return True

    known = records[kind]
    if not there(known):  # a list that is empty here
        return
    for version in data_parser.VERSIONS:
        form = data_parser.parse_form(version)
        (written,) = form.records(layout, [known])
        assert there(written) == (int(version[-2:]) >= since)
    assert there(known)


def test_the_oldest_layout(records: dict[str, Any]) -> None:
    form = data_parser.parse_form("v0.0.41")
    (job,) = form.records("job_info", [{**records["JOB_INFO"], "shared": ["user"]}])
    assert (job["exclusive"], job["oversubscribe"], job["minimum_switches"]) == (["user"], True, 0)
    assert "required_switches" not in job
    (shares,) = form.records("shares", [records["SHARES_RESP_MSG"]])
    assert shares["shares"][0]["fairshare"] == {"factor": 0.0, "level": 0.0}


def test_complex_numbers(records: dict[str, Any]) -> None:
    (job,) = data_parser.parse_form("v0.0.44+complex").records("job_info", [records["JOB_INFO"]])
    assert (job["job_id"], job["time_limit"], job["array_task_id"], job["comment"]) == (70538, 30, None, None)
    step_id = job["step_id"]
    assert step_id.pop("sluid").startswith("s80")
    assert step_id == {"job_id": 70538, "step_het_component": None, "step_id": "entire"}
    (ended,) = data_parser.parse_form("data_parser/v0.0.43+COMPLEX").records("x", [{"a": ENDLESS, "b": [UNSET, 1.5]}])
    assert ended == {"a": "Infinity", "b": [None, 1.5]}


@pytest.mark.parametrize("text, start", [
    ("v0.0.40", "load_plugins: unable to find plugin: data_parser/v0.0.40"),
    ("v0.0.43,v0.0.44", "data_parser_g_new: rejecting ambiguous plugin v0.0.43,v0.0.44"),
    (",", "data_parser_g_new: invalid plugin ,"),
])  # fmt: skip
def test_unknown_data_parsers_are_refused(text: str, start: str) -> None:
    with pytest.raises(data_parser.BadForm) as caught:
        data_parser.parse_form(text, yaml=True)
    assert caught.value.lines[0] == start
    assert caught.value.lines[-1] == "application/x-yaml output not supported by v0.0.44"


@pytest.mark.parametrize("style", ["compact", "pretty"])
def test_styles(style: str, running: list[Job], golden: Any) -> None:
    context = golden("running", "one").context
    document = report.jobs_document(running, ABOUT, context.now, context.cluster)
    text = "".join(report.dump(document, data_parser.parse_form("", style=data_parser.style(style))))
    usual = json.loads("".join(report.dump(report.jobs_document(running, ABOUT, context.now, context.cluster))))
    assert json.loads(text) == usual
    assert (text.count("\n") == 1) == (style == "compact")
    with pytest.raises(ValueError):
        data_parser.style("compact,nope")
