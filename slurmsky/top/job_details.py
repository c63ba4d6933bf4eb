"""Details of one job: record, output files, efficiency."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .controller_client import ControllerClient, NoController
from .plain_text import plain
from .rows import JobLine, seconds

#: a line as pieces of text, each with its style (in rich's syntax)
Line = tuple[tuple[str, str], ...]

#: the value of %a where there is no element
_NO_ELEMENT = str(0xFFFFFFFE)
LABEL = "cyan"
_LABEL_WIDTH, _VALUE_WIDTH = 10, 14
_BAR_WIDTH = 12


@dataclass(frozen=True)
class JobDetails:
    """The collected details of one job."""

    key: str
    record: Mapping[str, Any]  # record of squeue --json; empty if the job has left the queue
    efficiency: str = ""  # seff
    running: str = ""  # sstat
    why: str = ""  # slurmsky why: for a pending or failed job

    @property
    def stdout(self) -> str:
        """Path of the job's output; "" if unknown."""
        return self._file("stdout_expanded")

    @property
    def stderr(self) -> str:
        """The path of the job's standard error."""
        return self._file("stderr_expanded")

    def _file(self, field: str) -> str:
        name = str(self.record.get(field) or "")
        if not name or not self.record.get("batch_flag") or self.pending:
            return ""
        return name

    @property
    def state(self) -> str:
        return " ".join(self.record.get("job_state") or [])

    @property
    def pending(self) -> bool:
        return self.state.startswith("PENDING")


def read_details(controller: ControllerClient, job: JobLine) -> JobDetails:
    """Query the current state of a job. Raises NoController."""
    # An array's base id names all elements; a line of pending elements needs only those.
    states = "PENDING" if job.is_rest else "all"
    found = controller.run_command("squeue", "--json", "-t", states, "-j", job.name_for_commands)
    record: Mapping[str, Any] = {}
    if found.code == 0:
        records = json.loads(found.out).get("jobs") or []
        record = next((one for one in records if one.get("job_id") == job.number), {})
    efficiency = controller.run_command("seff", str(job.number)).out if not job.is_rest else ""
    return JobDetails(job.key, record, efficiency, why=_why(controller, job, record))


def _why(controller: ControllerClient, job: JobLine, record: Mapping[str, Any]) -> str:
    """``slurmsky why`` for pending and failed jobs. For other jobs it adds nothing to the screen."""
    states = set(record.get("job_state") or [])
    if not record or states & {"RUNNING", "COMPLETED", "SUSPENDED"}:
        return ""
    answer = controller.run_command("slurmsky", "why", job.id if job.is_rest else str(job.number))
    return answer.out if answer.code == 0 else ""


def why_lines(details: JobDetails, width: int) -> list[Line]:
    """Wrapped sentences of ``slurmsky why``. Commands that the user may type are bold."""
    lines: list[Line] = []
    advice = False
    for line in details.why.splitlines():
        style = "bold" if not lines else "green" if advice and line.startswith(" ") else ""
        advice = advice or line == "What to do:"
        indent = " " * (len(line) - len(line.lstrip()))
        folded = textwrap.wrap(plain(line), max(20, width), subsequent_indent=indent + "  ") or [""]
        lines += [((part, style),) for part in folded]
    return lines


def measure(controller: ControllerClient, job: JobLine, details: JobDetails) -> JobDetails:
    """Add the usage of the job's running steps. This queries the job's nodes, which may take longer."""
    if "RUNNING" not in details.state.split():
        return details
    try:
        answer = controller.run_command("sstat", "-n", "-P", "-a", "-j", str(job.number), "-o", "JobID,TRESUsageInTot")
    except NoController:
        return details
    return replace(details, running=answer.out)


# --- details


def _number(record: Mapping[str, Any], field: str) -> int | None:
    value = record.get(field)
    if isinstance(value, Mapping):
        return int(value["number"]) if value.get("set") and not value.get("infinite") else None
    return int(value) if isinstance(value, int) else None


def _time(record: Mapping[str, Any], field: str) -> str:
    number = _number(record, field)
    if not number:
        return ""
    when = datetime.fromtimestamp(number)
    return when.strftime("%m-%d %H:%M:%S" if when.year == datetime.now().year else "%Y-%m-%d")


def _limit(record: Mapping[str, Any]) -> str:
    minutes = _number(record, "time_limit")
    if minutes is None:
        return "none"
    days, rest = divmod(minutes, 1440)
    clock = f"{rest // 60:02d}:{rest % 60:02d}:00"
    return f"{days}-{clock}" if days else clock


def _exit(record: Mapping[str, Any]) -> str:
    code = record.get("exit_code") or {}
    status = " ".join(code.get("status") or [])
    if status in ("", "SUCCESS", "PENDING"):
        return ""
    signal = code.get("signal", {})
    number = _number(code, "return_code")
    name = f" {signal.get('name') or _number(signal, 'id')}" if _number(signal, "id") else f" {number}"
    return status.lower() + name


_SIZES = re.compile(r"(?:^|,)([a-z/]+)(?::[^=,]*)?=([^,]*)")


def _resources(record: Mapping[str, Any]) -> str:
    text = str(record.get("tres_alloc_str") or record.get("tres_req_str") or "")
    sizes = {name: value for name, value in _SIZES.findall(text) if name not in ("billing", "node")}
    devices: dict[str, int] = {}
    for share in record.get("gres_detail") or ():  # devices of each node
        for one in re.sub(r"\([^)]*\)", "", str(share)).split(","):
            name, _, count = one.rpartition(":")
            devices[name] = devices.get(name, 0) + (int(count) if count.isdecimal() else 0)
    parts = [f"{name.removeprefix('gres/')} {value}" for name, value in sizes.items()
             if not (devices and name.startswith("gres/"))]  # fmt: skip
    parts += [f"{name.partition(':')[0]} {count} {name.partition(':')[2]}".strip() for name, count in devices.items()]
    if not devices and "gres/" not in text:
        for field, per in (("tres_per_job", ""), ("tres_per_node", "/node"), ("tres_per_task", "/task")):
            requested = re.findall(r"gres/([^:,=]+)(?:[:=][^:,]*[^\d:,][^:,]*)?[:=](\d+)", str(record.get(field) or ""))
            parts += [f"{name} {count}{per}" for name, count in requested]
    return ", ".join(parts)


def _fields(record: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Rows of label and value, most important first, without empty ones."""
    text = {name: str(value) for name, value in record.items() if isinstance(value, (str, int))}.get
    state = record.get("job_state") or []
    reason = text("state_reason", "")
    yield (("Name", text("name", "")),)
    yield ("State", " ".join(state)), ("Exit", _exit(record)), ("Reason", "" if reason == "None" else reason)
    yield ("Nodes", f"{_number(record, 'node_count') or ''} {text('nodes', '')}".strip()), ("Uses", _resources(record))
    yield ("Submitted", _time(record, "submit_time")), ("Started", _time(record, "start_time"))
    yield ("Ends" if "RUNNING" in state else "Ended", _time(record, "end_time")), ("Limit", _limit(record))
    # For pending elements of an array Slurm fills in the number for "no element": show the pattern instead.
    output, errors = (
        text(pattern, "") if _NO_ELEMENT in text(name, "") else text(name, "")
        for name, pattern in (("stdout_expanded", "standard_output"), ("stderr_expanded", "standard_error"))
    )
    yield (("Output", output),)
    yield (("Errors", "" if errors == output else errors),)
    yield (("Depends", text("dependency", "")),)
    yield ("Partition", text("partition", "")), ("Account", text("account", ""))
    restarts = _number(record, "restart_cnt")
    yield (("QOS", text("qos", "")), ("Priority", str(_number(record, "priority") or "0")),
           ("Restarts", str(restarts) if restarts else ""))  # fmt: skip
    for label, field in (("Comment", "comment"), ("Folder", "current_working_directory"), ("Command", "command"),
                         ("Submit", "submit_line")):  # fmt: skip
        yield ((label, text(field, "")),)


def detail_lines(details: JobDetails) -> list[Line]:
    """The job's record as lines to read."""
    if not details.record:
        return [(("This job is no longer in the queue.", ""),)]
    lines: list[Line] = []
    for row in _fields(details.record):
        pieces: list[tuple[str, str]] = []
        for label, value in row:
            if value:
                pieces += [(f"{label:<{_LABEL_WIDTH}}", LABEL), (f"{plain(value):<{_VALUE_WIDTH}} ", "")]
        if pieces:
            lines.append(tuple(pieces))
    return lines


# --- efficiency

_CPU = re.compile(r"(?m)^CPU Efficiency: ([\d.]+)% of (\S+) core-walltime")
_MEMORY = re.compile(r"(?m)^Memory Efficiency: ([\d.]+)% of ([\d.]+) ([KMGTPE])B")
_UNITS = {unit: 1024.0**power for power, unit in enumerate("KMGTPE", 1)}


def _bytes(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    try:
        return float(number) * _UNITS.get(unit, 1.0)
    except ValueError:
        return 0.0


def _running_usage(running: str) -> tuple[int, float]:
    """CPU seconds and peak memory of the running steps."""
    cpu, memory = 0, 0.0
    for line in running.splitlines():
        usage = dict(item.partition("=")[::2] for item in line.partition("|")[2].split(","))
        cpu += max(0, seconds(usage.get("cpu", "")))
        memory = max(memory, _bytes(usage.get("mem", "")))
    return cpu, memory


def _bar(label: str, percent: float, what: str) -> Line:
    filled = min(_BAR_WIDTH, max(int(percent > 0), round(percent / 100 * _BAR_WIDTH)))  # an empty bar means 0
    style = "red" if percent < 25 else "yellow" if percent < 60 else "green"
    return ((f"{label:<7}", LABEL), ("#" * filled, style), ("." * (_BAR_WIDTH - filled), ""),
            (f" {percent:6.2f}%", "bold"), (f" of {what}", ""))  # fmt: skip


def efficiency_lines(details: JobDetails) -> list[Line]:
    """Bars for CPU and memory, then seff's lines. A running job also has the values of sstat."""
    text = details.efficiency
    if not text:
        return [(("No efficiency yet: no element of this line has started.", ""),)]
    cpu, memory = _CPU.search(text), _MEMORY.search(text)
    lines: list[Line] = []
    if cpu and memory:
        core_s, held = max(seconds(cpu[2]), 0), float(memory[2]) * _UNITS[memory[3]]
        cpu_s, used = _running_usage(details.running)
        cpu_percent = float(cpu[1]) + (100 * cpu_s / core_s if core_s else 0)
        memory_percent = max(float(memory[1]), 100 * used / held if held else 0)
        lines += [(("It has no measurements yet.", "dim"),), ()] if not cpu_percent + memory_percent else [
            _bar("CPU", cpu_percent, f"{cpu[2]} core time"),
            _bar("Memory", memory_percent, f"{memory[2]} {memory[3]}B"),
            (),
        ]  # fmt: skip
    if details.running:
        lines.insert(-1, (("so far, with the steps that still run", "dim"),))
    # The line above replaces seff's warning about running jobs, whose figures exclude running steps.
    shown = [line for line in text.splitlines() if not line.startswith("WARNING:")]
    if details.running:
        shown = [line for line in shown if not re.match("(CPU|Memory) (Utilized|Efficiency)", line)]
    return lines + [_labelled(line) for line in shown]


def _labelled(line: str) -> Line:
    label, colon, value = plain(line).partition(":")
    return ((label + colon, LABEL), (value, "")) if colon else ((label, ""),)
