"""`slurmsky top`: keys that change jobs, and those that choose what is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from polling import wait_for

Top = Callable[..., Any]


def test_cancel_asks_first(queue: Any, top: Top) -> None:
    job = queue.submit("-J", "victim", "--wrap", "sleep 600")
    wait_for(lambda: queue.state(job) == "RUNNING")
    view = top()
    view.until("victim")
    view.press("c")
    text = view.until("Cancel job " + job)
    assert "victim, running" in text
    view.press("n")
    view.until(lambda text: "Cancel job" not in text, "no question")
    assert queue.state(job) == "RUNNING"
    view.press("c")
    view.until("Cancel job " + job)
    view.press("y")
    view.until(f"cancelled {job}")
    wait_for(lambda: queue.state(job) == "CANCELLED")
    view.until("the queue is empty")


def test_cancel_of_an_arrays_rest_keeps_running_elements(queue: Any, top: Top) -> None:
    array = queue.submit("-a", "1-5%1", "-J", "rest", "--wrap", "sleep 600")
    wait_for(lambda: queue.state(f"{array}_1") == "RUNNING")
    view = top()
    view.until(f"{array}_[2-5%1]")
    view.press("home", "c")
    view.until(f"the waiting elements of array {array}")
    view.press("y")
    view.until(lambda text: f"{array}_[" not in text and f"{array}_1 " in text, "the rest gone")
    assert queue.state(f"{array}_1") == "RUNNING"


def test_hold_and_release(queue: Any, top: Top) -> None:
    job = queue.submit("--begin=now+1hour", "-J", "later", "--wrap", "true")
    view = top()
    view.until("(BeginTime)")
    view.press("h")
    view.until(lambda text: "(JobHeld" in text and f"held {job}" in text, "held")
    assert queue.record(job)["hold"] is True
    view.press("u")
    view.until(lambda text: "(BeginTime)" in text and f"released {job}" in text, "released")
    assert queue.record(job)["hold"] is False


def test_hold_of_an_arrays_rest(queue: Any, top: Top) -> None:
    array = queue.submit("-a", "1,3,5,7-9%1", "--wrap", "sleep 600")
    wait_for(lambda: queue.state(f"{array}_1") == "RUNNING")
    view = top()
    view.until(f"{array}_[3,5,7-9%1]")
    view.press("home", "h")
    view.until(lambda text: "(JobHeld" in text and f"held {array}" in text, "held")
    view.press("home", "u")
    view.until(lambda text: "(JobArrayTaskLimit)" in text and f"released {array}" in text, "released")
    assert f"{array}_[3,5,7-9%1]" in view.text  # still one row


def test_requeue(queue: Any, top: Top) -> None:
    job = queue.submit("--requeue", "-J", "again", "--wrap", "sleep 600")
    wait_for(lambda: queue.state(job) == "RUNNING")
    view = top()
    view.until("again")
    view.press("r")
    view.until("Stop and requeue job " + job)
    view.press("y")
    view.until(f"requeued {job}")
    wait_for(lambda: queue.record(job)["restart_cnt"] == 1)


def test_a_refusal_is_printed_in_slurms_words(queue: Any, top: Top) -> None:
    queue.submit("--no-requeue", "-H", "-J", "stay", "--wrap", "sleep 600")
    view = top()
    view.until("stay")
    view.press("r")
    view.until("Stop and requeue")
    view.press("y")
    text = view.until("Requested operation is presently disabled")
    assert "Requested operation" in text.splitlines()[-1]
    view.until("c Cancel")  # and the keys are shown again


def test_filter_and_sort(queue: Any, top: Top) -> None:
    names = {name: queue.submit("-H", "-J", name, "--wrap", "true") for name in ("cherry", "apple", "Banana")}
    view = top()
    view.until("3 waiting")
    view.press("s")
    view.until("by JOBID")
    order = [line.split()[0] for line in view.text.splitlines()[3:6]]
    assert order == sorted(names.values(), key=int)
    view.press("S")
    view.until("by JOBID reversed")
    assert [line.split()[0] for line in view.text.splitlines()[3:6]] == order[::-1]
    view.press("s", "s")
    view.until("by NAME reversed")
    assert [line.split()[2] for line in view.text.splitlines()[3:6]] == ["cherry", "apple", "Banana"]
    view.press("/", "banana pd")
    text = view.until(lambda text: "filter: banana pd (1)" in text, "one left")
    assert "Banana" in text
    assert "apple" not in text
    view.press("enter", "/", "x", "enter")
    view.until("nothing matches 'banana pdx'")
    view.press("escape")
    view.until("cherry")


def test_keys_typed_ahead_apply_to_the_job_that_was_selected(queue: Any, top: Top) -> None:
    """Text typed for the filter must not cancel a job, even on a slow connection."""
    job = queue.submit("-J", "cyclone", "--wrap", "sleep 600")
    wait_for(lambda: queue.state(job) == "RUNNING")
    view = top()
    view.until("cyclone")
    os.write(view.master, b"/cy\r")
    view.until("filter: cy (1)")
    os.write(view.master, b"cnq")
    assert view.end() == 0
    assert queue.state(job) == "RUNNING"
