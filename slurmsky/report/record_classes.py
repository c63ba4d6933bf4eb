"""Record classes: groups of jobs with mostly equal cells.

A queue of ten thousand jobs comes from a few hundred submissions of a few scripts. Its records differ in each job's
own fields (id, name, times, files, ...) and agree in nearly all other fields. Two jobs are in one class when they
agree in all other fields; a value that reads no own field is then computed once per class instead of once per job.
Classes exist for one report only, so none becomes stale.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields
from operator import attrgetter

from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec

#: a job's own fields, which no shared value reads
OWN = frozenset((
    "job_id", "name", "priority", "steps",
    "submit_time", "eligible_time", "accrue_time", "start_time", "end_time", "suspend_time", "pre_suspend_s",
    "suspended_s", "last_sched_eval", "preempt_time", "resize_time",
    "command", "argv", "work_dir", "submit_dir", "stdin", "stdout", "stderr", "submit_line", "alloc_pid",
    "array_task_id", "pending_tasks", "followers", "array_count", "array_min", "array_max", "array_step",
    "dependency", "dependency_shown", "managed_job_id", "cost", "hourly_cost", "comment", "system_comment",
))  # fmt: skip
#: a job's own fields of the spec
OWN_SPEC = frozenset((
    "job_name", "comment", "admin_comment", "extra", "begin", "dependency", "array", "chdir", "input", "output",
    "error", "export", "export_file", "wrap",
))  # fmt: skip

#: a step's own fields
OWN_STEP = frozenset((
    "job_id", "step_id", "name", "start_time", "end_time", "suspended_s", "time_limit_min", "usage", "submit_line",
    "srun_host", "srun_pid",
))  # fmt: skip

# Compare enumerations by value, because hashing a member runs Python code.
_ENUMS = {"state": "state._value_", "flags": "flags._value_"}
_rest = attrgetter(
    *(_ENUMS.get(field.name, field.name) for field in fields(Job) if field.name not in OWN | {"spec", "shares"})
)
_rest_of_spec = attrgetter(*(field.name for field in fields(JobSpec) if field.name not in OWN_SPEC))


_rest_of_step = attrgetter(
    *(_ENUMS.get(field.name, field.name) for field in fields(Step) if field.name not in OWN_STEP)
)


def _share(share: NodeShare) -> Hashable:
    return (share.name, share.cpu_ids, share.memory_mib, share.tasks, share.cpus_on_node, tuple(share.gres.items()))


class RecordClasses:
    """Assigns each job and step to a record class."""

    def __init__(self) -> None:
        self._specs: dict[int, tuple[JobSpec, int]] = {}  # keyed by id(); holding the spec keeps its id unique
        self._alike: dict[Hashable, int] = {}

    def of(self, job: Job) -> Hashable:
        """The job's class; equal for jobs of one class."""
        known = self._specs.get(id(job.spec))
        if known is None:
            number = self._number(_rest_of_spec(job.spec))
            known = self._specs[id(job.spec)] = (job.spec, number)
        shares = tuple([_share(share) for share in job.shares]) if job.shares else ()
        return self._number((known[1], shares, _rest(job)))

    def of_step(self, job: Job, step: Step) -> Hashable:
        """Return the step's class within its job's class. Numbered steps are separate from the batch step."""
        return self._number((self.of(job), step.step_id.isdecimal(), _rest_of_step(step)))

    def _number(self, key: Hashable) -> int:
        return self._alike.setdefault(key, len(self._alike))
