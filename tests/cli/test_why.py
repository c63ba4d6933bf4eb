"""``slurmsky why`` on a running queue reads the queue and the job's files."""

from __future__ import annotations

import json
import re

from local_engine import LocalEngine


def submit(engine: LocalEngine, *options: str) -> str:
    return engine.run(["sbatch", "--parsable", "-o/dev/null", *options]).stdout.strip()


def test_a_failed_job_shows_its_output(engine: LocalEngine) -> None:
    job = submit(engine, "--wait", "-o", "why-%j.out", "--wrap", "echo one; printf '\\033[31mtwo\\n'; exit 3")
    answer = engine.run(["slurmsky", "why", job])
    assert answer.returncode == 0
    assert f"Job {job} (wrap) is FAILED: exit code 3" in answer.stdout
    assert "    | one\n    | two\n" in answer.stdout  # without the escape sequence
    found = json.loads(engine.run(["slurmsky", "why", "--json", job]).stdout)["jobs"]
    assert [one["job_id"] for one in found] == [job] and found[0]["tail"] == ["one", "two"]


def test_a_waiting_job_names_what_it_waits_for(engine: LocalEngine) -> None:
    first = submit(engine, "--hold", "--wrap=true")
    second = submit(engine, "-d", f"afterok:{first}", "--wrap=true")
    text = engine.run(["slurmsky", "why", second]).stdout
    assert "another job must start or end first (Dependency)" in text
    assert f"It waits for afterok of job {first}, which is PENDING." in text
    assert f"scontrol release {first}" in engine.run(["slurmsky", "why", first]).stdout
    engine.run(["scancel", first, second])


def test_the_waiting_rest_of_an_array(engine: LocalEngine) -> None:
    job = submit(engine, "--hold", "-a", "1-9", "--wrap=true")
    assert engine.run(["slurmsky", "why", f"{job}_[1-9]"]).stdout.startswith(f"Job {job}_[1-9] (wrap) waits")
    assert engine.run(["slurmsky", "why", f"{job}_4"]).stdout.startswith(f"Job {job}_[1-9] (wrap) waits")
    engine.run(["scancel", job])


def test_elements_of_an_array_are_in_the_order_of_their_indices(engine: LocalEngine) -> None:
    job = submit(engine, "--wait", "-a", "1-3", "--wrap", "exit 4")
    found = re.findall(rf"^Job {job}_(\d) \(wrap\) is FAILED", engine.run(["slurmsky", "why", job]).stdout, re.M)
    assert found == ["1", "2", "3"]


def test_without_an_id_it_is_the_last_submission(engine: LocalEngine) -> None:
    job = submit(engine, "--hold", "-a", "1-3", "--wrap=true")
    assert engine.run(["slurmsky", "why"]).stdout.startswith(f"Job {job}_[1-3] (wrap) waits")
    engine.run(["scancel", job])


def test_steps_and_lists_name_their_jobs(engine: LocalEngine) -> None:
    first = submit(engine, "--wait", "--wrap=true")
    second = submit(engine, "--wait", "--wrap=true")
    text = engine.run(["slurmsky", "why", f"{first}.batch,{second}"]).stdout
    assert f"Job {first} (wrap) is COMPLETED" in text and f"Job {second} (wrap) is COMPLETED" in text


def test_a_partition_whose_nodes_are_all_down(engine: LocalEngine) -> None:
    engine.run("scontrol update NodeName=ALL State=DRAIN Reason=disk")
    job = submit(engine, "--wrap=true")
    text = engine.run(["slurmsky", "why", job]).stdout
    engine.run("scontrol update NodeName=ALL State=RESUME")
    engine.run(["scancel", job])
    assert "in use" not in text and re.search("No node of partition .* is up: disk[.]", text)
    assert re.search("  scontrol update NodeName=.* State=RESUME\n", text)


def test_a_drained_node_that_the_job_names(engine: LocalEngine) -> None:
    engine.run("scontrol update NodeName=n1 State=DRAIN Reason=disk")
    job = submit(engine, "-w", "n1", "--wrap=true")
    wide = submit(engine, "-N4", "--wrap=true")
    text, room = (engine.run(["slurmsky", "why", one]).stdout for one in (job, wide))
    engine.run("scontrol update NodeName=n1 State=RESUME")
    engine.run(["scancel", job, wide])
    assert "  It requests n1, which accepts no job: disk.\n" in text
    assert "  scontrol show node n1\n  scontrol update NodeName=n1 State=RESUME\n" in text
    assert "n1 is down or drained (disk).\n" in room


def test_a_reservation_that_has_not_begun(engine: LocalEngine) -> None:
    engine.run("scontrol create reservation=later starttime=now+3600 duration=9 users=root nodes=n1")
    job = submit(engine, "--reservation=later", "--wrap=true")
    text = engine.run(["slurmsky", "why", job]).stdout
    engine.run(["scancel", job])
    engine.run("scontrol delete reservation=later")
    assert "  It requests reservation later.\n  It may start at " in text


def test_an_unknown_job_is_reported(engine: LocalEngine) -> None:
    answer = engine.run(["slurmsky", "why", "99999999"])
    assert answer.returncode == 1 and answer.stdout == ""
    assert "slurmsky: why: there is no job 99999999\n" in answer.stderr
