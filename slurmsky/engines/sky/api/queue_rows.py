"""Records of SkyPilot's managed jobs queue.

"-", null and unset values become empty. Source: ManagedJobRecord in sky/schemas/api/responses.py, sky/jobs/state.py of
SkyPilot 0.14.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

#: statuses of a job that has ended
TERMINAL = frozenset(
    ("SUCCEEDED", "CANCELLED", "FAILED", "FAILED_SETUP", "FAILED_PRECHECKS", "FAILED_NO_RESOURCE", "FAILED_CONTROLLER")
)


@dataclass(frozen=True)
class QueueRow:
    """A task of a managed job. Times are epoch seconds, 0: not yet."""

    job_id: int = 0
    task_id: int = 0
    job_name: str = ""
    task_name: str = ""
    status: str = ""
    schedule_state: str = ""
    details: str = ""
    failure_reason: str = ""
    recovery_count: int = 0
    submitted_at: float = 0.0
    start_at: float = 0.0
    end_at: float = 0.0
    resources: str = ""
    cluster_resources: str = ""
    cloud: str = ""
    region: str = ""
    zone: str = ""
    node_names: str = ""
    accelerators: Mapping[str, Any] = field(default_factory=dict)
    user_name: str = ""
    workspace: str = ""
    execution: str = ""
    pool: str = ""

    @property
    def ended(self) -> bool:
        """True if the task has ended."""
        return self.status in TERMINAL


@dataclass(frozen=True)
class StatusChange:
    """A change of a managed job's status. ``timestamp``: the server's text, which sorts by time."""

    new_status: str = ""
    reason: str = ""
    timestamp: str = ""


#: values that older servers write as "ManagedJobStatus.RUNNING"
_ENUMS = frozenset(("status", "schedule_state", "execution"))
ROW_FIELDS = [item.name for item in fields(QueueRow)]
#: the fields of a status
STATUS_FIELDS = ["job_id", "task_id", "status", "failure_reason", "details", "schedule_state"]


def queue_row(record: Mapping[str, Any]) -> QueueRow:
    """Parse a record of the queue."""
    found = {name: _value(name, record[name]) for name in ROW_FIELDS if name in record}
    return QueueRow(**{name: value for name, value in found.items() if value is not None})


def _value(name: str, value: Any) -> Any:
    kind: Any = type(getattr(QueueRow, name, {}))
    if kind is str:
        text = "" if value in (None, "-") else str(value)
        return text.rpartition(".")[2] if name in _ENUMS else text
    if kind is dict:
        return value if isinstance(value, Mapping) else None
    return kind(value) if isinstance(value, (int, float)) and value > 0 else None


def status_change(record: Mapping[str, Any]) -> StatusChange:
    """Parse a record of the job's events."""
    return StatusChange(*(str(record.get(name) or "") for name in ("new_status", "reason", "timestamp")))
