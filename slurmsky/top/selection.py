"""State of the selected row, and its lines."""

from __future__ import annotations

from collections.abc import Sequence

from .job_details import JobDetails, Line, detail_lines, efficiency_lines, why_lines
from .plain_text import plain
from .tail import TailView
from .watcher import NodeSeen


class Chosen:
    """Selected job or node. Results for another row are never shown."""

    def __init__(self) -> None:
        self.details: JobDetails | None = None
        self.node: NodeSeen | None = None
        self.errors = False  # show standard error instead of output
        self._output: tuple[str, TailView] | None = None

    def forget(self) -> None:
        """Clear the state for another job, or none."""
        self.details = None
        self._output = None

    def set_details(self, seen: JobDetails) -> None:
        """Store new details of the selected job."""
        before = self.details
        if not seen.record and before is not None and before.key == seen.key:
            # The job has left the queue: keep its last record, add its efficiency.
            self.details = JobDetails(before.key, before.record, seen.efficiency, why=before.why)
        else:
            self.details = seen

    def set_output(self, path: str, tail: TailView) -> None:
        """Store new content of the job's output file."""
        self._output = path, tail

    def wanted_path(self) -> str:
        """File to read; "" if none is known. Clears the content of another file."""
        details = self.details
        path = "" if details is None else details.stderr if self.errors else details.stdout
        if self._output is not None and self._output[0] != path:
            self._output = None
        return path

    @property
    def path(self) -> str:
        """File that was read; "" if none was."""
        return self._output[0] if self._output else ""

    # --- lines

    def node_lines(self, key: str) -> Sequence[str | Line]:
        """scontrol's output for the node ``key``, and its jobs."""
        if self.node is None or self.node.key != key:
            return ()
        jobs = [plain(line) for line in self.node.jobs.splitlines()]
        lines = [plain(line) for line in self.node.text.splitlines() if line.strip()]
        return [*lines, *(["", *jobs] if len(jobs) > 1 else [])]

    def text_lines(self, tab: str, width: int = 80) -> list[Line]:
        """Lines of the job's tab "why", "details" or "efficiency"."""
        if self.details is None:
            return []
        if tab == "why":
            return why_lines(self.details, width) or [(("It runs, or ended well: there is nothing to explain.", ""),)]
        return detail_lines(self.details) if tab == "details" else efficiency_lines(self.details)

    @property
    def explained(self) -> bool:
        """Return whether the job has an explanation of ``slurmsky why``."""
        return self.details is not None and bool(self.details.why)

    def output_lines(self, width: int = 80) -> Sequence[str | Line]:
        """End of the job's output, or the reason without it."""
        details = self.details
        if details is None:
            return ()
        if details.record and details.pending:
            reason = str(details.record.get("state_reason") or "")
            return why_lines(details, width) or (f"Waiting ({plain(reason)}): there is no output yet.",)
        if details.record and not details.record.get("batch_flag"):
            return ("An interactive job: its output is in the terminal that it was started in.",)
        if self._output is None:
            return () if details.record else ("This job is no longer in the queue.",)
        path, tail = self._output
        if tail.problem and details.why:
            return why_lines(details, width)
        if tail.problem:
            return (f"{plain(path)}: {tail.problem}",)
        return tail.lines or ("(empty so far)",)
