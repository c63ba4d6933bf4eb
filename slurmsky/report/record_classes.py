"""Jobs that are alike: what a report says of thousands of them is mostly the same.

A queue of ten thousand jobs is a few hundred calls of a few scripts. Their records differ in what every job has of
its own (id, name, times, files, ...) and agree in nearly everything else. Two jobs are of one kind when they agree in
all the rest; a value that reads nothing of a job's own is then computed once for a kind and not once for a job.

Kinds live as long as one report: nothing is kept that could become out of date.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields
from operator import attrgetter

from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job, Step
from slurmsky.model.spec import JobSpec

#: fields of a job that are its own: no value that is said to be shared reads them
OWN = frozenset((
    "job_id", "name", "priority", "steps",
    "submit_time", "eligible_time", "accrue_time", "start_time", "end_time", "suspend_time", "pre_suspend_s",
    "suspended_s", "last_sched_eval", "preempt_time", "resize_time",
    "command", "argv", "work_dir", "submit_dir", "stdin", "stdout", "stderr", "submit_line", "alloc_pid",
    "array_task_id", "pending_tasks", "array_count", "array_min", "array_max", "array_step",
    "dependency", "dependency_shown", "managed_job_id", "cost", "hourly_cost", "comment", "system_comment",
))  # fmt: skip
#: fields of what was asked for that are a job's own
OWN_SPEC = frozenset((
    "job_name", "comment", "admin_comment", "extra", "begin", "dependency", "array", "chdir", "input", "output",
    "error", "export", "export_file", "wrap",
))  # fmt: skip

#: fields of a step that are its own
OWN_STEP = frozenset((
    "job_id", "step_id", "name", "start_time", "end_time", "suspended_s", "time_limit_min", "usage", "submit_line",
    "srun_host", "srun_pid",
))  # fmt: skip

# By their numbers, because hashing a member of an enumeration runs Python code.
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
    """Which jobs are alike."""

    def __init__(self) -> None:
        self._specs: dict[int, tuple[JobSpec, int]] = {}  # by id(); the spec is kept so that its id is its own
        self._alike: dict[Hashable, int] = {}

    def of(self, job: Job) -> Hashable:
        """Equal for jobs of one kind."""
        known = self._specs.get(id(job.spec))
        if known is None:
            number = self._number(_rest_of_spec(job.spec))
            known = self._specs[id(job.spec)] = (job.spec, number)
        shares = tuple([_share(share) for share in job.shares]) if job.shares else ()
        return self._number((known[1], shares, _rest(job)))

    def of_step(self, job: Job, step: Step) -> Hashable:
        """Equal for steps of one kind, of jobs of one kind; numbered steps are not alike to the batch step."""
        return self._number((self.of(job), step.step_id.isdecimal(), _rest_of_step(step)))

    def _number(self, key: Hashable) -> int:
        return self._alike.setdefault(key, len(self._alike))
