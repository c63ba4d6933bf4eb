"""Queries for the view, in threads. They read the tables, the selected row and the end of its output file."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace

from textual.message import Message
from textual.message_pump import MessagePump

from . import rows
from .controller_client import CommandOutput, ControllerClient, NoController
from .job_details import JobDetails, measure, read_details
from .rows import JobLine, NodeLine
from .tail import Tail, TailView

#: shorter than for the queue: output changes more often, and a stat() is cheap
OUTPUT_S = 1.0


class TablesSeen(Message):
    """Message: new queue and nodes; None means unchanged."""

    def __init__(self, jobs: Sequence[JobLine] | None, nodes: Sequence[NodeLine] | None, problem: str) -> None:
        super().__init__()
        self.jobs, self.nodes, self.problem = jobs, nodes, problem


class Lost(Message):
    """Message: no controller answered."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class JobSeen(Message):
    """Message: new details of a job."""

    def __init__(self, details: JobDetails) -> None:
        super().__init__()
        self.details = details


class NodeSeen(Message):
    """Message: new details of a node. They are scontrol's output, and squeue's output for its jobs."""

    def __init__(self, key: str, text: str, jobs: str) -> None:
        super().__init__()
        self.key, self.text, self.jobs = key, text, jobs


class OutputSeen(Message):
    """Message: new content of the end of a file."""

    def __init__(self, path: str, tail: TailView) -> None:
        super().__init__()
        self.path, self.tail = path, tail


class Acted(Message):
    """Message: a command for a job has finished."""

    def __init__(self, text: str, failed: bool) -> None:
        super().__init__()
        self.text, self.failed = text, failed


class Broken(Message):
    """Message: an internal error in one of the threads."""

    def __init__(self, trace: str) -> None:
        super().__init__()
        self.trace = trace


class Watcher:
    """Runs the pollers, which post their results to ``listener``."""

    def __init__(self, controller: ControllerClient, listener: MessagePump, interval_s: float) -> None:
        self._controller = controller
        self._listener = listener
        self._last = [CommandOutput(0, "", ""), CommandOutput(0, "", "")]
        self._chosen: JobLine | NodeLine | None = None
        self._measured = JobDetails("", {})
        self._tail: Tail | None = None
        self._seen: TailView | None = None
        self.ended = False  # whether ended jobs are queried, too
        self._tables = Poller(self._guarded(self._poll_tables), interval_s)
        self._choice = Poller(self._guarded(self._poll_selection), interval_s)
        self._output = Poller(self._guarded(self._poll_output), OUTPUT_S)

    def begin(self) -> None:
        """Start the pollers."""
        for poller in (self._tables, self._choice, self._output):
            poller.start()

    def poll_all_now(self) -> None:
        """Wake all pollers."""
        for poller in (self._tables, self._choice, self._output):
            poller.wake()

    def choose(self, row: JobLine | NodeLine | None) -> None:
        """Set the row that the lower pane shows."""
        self._chosen = row
        self._choice.wake()

    def follow(self, path: str) -> None:
        """Set the file whose end is shown; "" for none."""
        if path != (self._tail.path if self._tail else ""):
            self._tail = Tail(path) if path else None
            self._seen = None
            self._output.wake()

    def act(self, done: str, *line: str) -> None:
        """Run a command; post ``done`` on success. Starts a controller, as commands do."""

        def run() -> None:
            try:
                self._controller.start()
                if line:
                    answer = self._controller.run_command(*line)
                    # An array gets one message per element; "No error" marks the elements that were changed.
                    failed = bool(answer.code) and "No error" not in answer.err
                    self._post(Acted(answer.err.strip() or f"{line[0]} failed" if failed else done, failed))
            except NoController as error:
                self._post(Acted(str(error), True))
            finally:
                self.poll_all_now()

        Poller.once(self._guarded(run))

    # --- in the threads

    def _post(self, message: Message) -> None:
        try:
            self._listener.post_message(message)
        except RuntimeError:
            pass  # the view was closed meanwhile

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Exception:
                self._post(Broken(traceback.format_exc()))

        return run

    def _poll_tables(self) -> None:
        try:
            answers = [rows.ask_jobs(self._controller, self.ended), rows.ask_nodes(self._controller)]
        except NoController as error:
            self._post(Lost(str(error)))
            return
        # Skip parsing when the output is unchanged: a queue may have thousands of pending jobs.
        jobs, nodes = (None if now == before else now.out for now, before in zip(answers, self._last, strict=True))
        self._last = answers
        self._post(TablesSeen(
            None if jobs is None else rows.jobs(jobs), None if nodes is None else rows.nodes(nodes),
            " ".join(line for answer in answers for line in answer.err.splitlines()),
        ))  # fmt: skip

    def _poll_selection(self) -> None:
        row = self._chosen
        if row is None:
            return
        try:
            if isinstance(row, JobLine):
                details = read_details(self._controller, row)
                if details.key == self._measured.key:
                    details = replace(details, running=self._measured.running)
                self._post(JobSeen(details))
                self._measured = measure(self._controller, row, details)
                self._post(JobSeen(self._measured))
            else:
                text = self._controller.run_command("scontrol", "show", "node", row.name).out
                jobs = self._controller.run_command("squeue", "-w", row.name).out
                self._post(NodeSeen(row.key, text, jobs))
        except NoController as error:
            self._post(Lost(str(error)))

    def _poll_output(self) -> None:
        tail = self._tail
        if tail is None:
            return
        found = tail.read()
        if found is not self._seen:
            self._seen = found
            self._post(OutputSeen(tail.path, found))


#: pause between polls, as a multiple of the last poll's duration
SHARE = 20
#: longest such pause, in seconds
LONGEST_S = 30.0
#: delay after a wake-up: a key held down wakes a poller many times a second
DEBOUNCE_S = 0.08


class Poller(threading.Thread):
    """Thread that calls ``poll`` until the program ends. ``poll`` publishes its results and raises nothing."""

    def __init__(self, poll: Callable[[], None], interval_s: float) -> None:
        super().__init__(daemon=True)
        self._poll = poll
        self._interval_s = interval_s
        self._awake = threading.Event()

    @staticmethod
    def once(work: Callable[[], None]) -> None:
        """Run ``work`` once in a thread."""
        threading.Thread(target=work, daemon=True).start()

    def wake(self) -> None:
        """Poll at once. Callable from any thread."""
        self._awake.set()

    def run(self) -> None:
        while True:
            began = time.monotonic()
            self._poll()
            pause = max(self._interval_s, min(SHARE * (time.monotonic() - began), LONGEST_S))
            if self._awake.wait(pause):
                time.sleep(DEBOUNCE_S)
            self._awake.clear()
