"""Changes of a job by users: one step for each field, in slurmctld's order.

The steps of a job's size and of its times are in size_changes and time_changes. The order is visible to users: of two
errors the first is reported, and fields that were changed before it stay changed. Source: slurmctld/job_mgr.c
_update_job.
"""

from __future__ import annotations

from collections.abc import Callable

from ...engines.foreign import FOREIGN
from ...language import dependency, gpubind
from ...language.syntax_errors import LanguageError
from ...model.job import Job
from ...model.spec import INFINITE, JobSpec
from ...model.states import JobState
from ...report.fields.derived import NOT_SHARED
from ..rules.dependencies import requires_unknown_result
from ..rules.reservation_access import reserved_spec
from ..rules.submit_checks import check_dependency, check_features, check_licenses, partitions_of
from ..slurm_errors import Errno, SlurmError
from . import transitions
from .job_table import JobTable
from .job_update import JobUpdate
from .lifecycle import LifeCycle
from .size_changes import TRES
from .submitter import to_open_partitions
from .time_changes import Times

#: seconds until a job may start after a new nice value ended its hold
UNHELD_S = 10
#: the longest text that slurmctld stores, in bytes; for file names the system's limit
_LONGEST = 1024
_LONGEST_OF = {"std_err": 4096, "std_in": 4096, "std_out": 4096, "dependency": 1024 * 128, "burst_buffer": 1024 * 8}


def change(job_table: JobTable, life: LifeCycle, job: Job, wanted: JobUpdate) -> None:
    """Apply the requested changes. Raises SlurmError. Fields that were changed before the error stay changed."""
    _Change(job_table, life, job, wanted).run()


class _Change(Times):
    def run(self) -> None:
        job, wanted = self.job, self.wanted
        if job.cron:
            raise SlurmError(Errno.CRON_JOB)
        if job.engine == FOREIGN:
            raise SlurmError(Errno.NOT_SUPPORTED)
        if "burst_buffer" in wanted and not (job.state.finished and not wanted["burst_buffer"]):
            raise SlurmError(Errno.NOT_SUPPORTED)
        if "throttle" in wanted and job.array_job_id == job.job_id:
            self._throttle(wanted["throttle"])
            if job.state.finished:
                return
        if job.state.finished:
            raise SlurmError(Errno.JOB_FINISHED)
        for key, value in wanted.items():
            if isinstance(value, str) and len(value.encode(errors="surrogateescape")) > _LONGEST_OF.get(key, _LONGEST):
                raise SlurmError(Errno.PATH_TOO_LONG)
        if "mcs_label" in wanted:
            self.still_pending()
        self.count_tasks()
        shown = job.num_nodes
        try:
            for keys, step in _STEPS:
                if not keys or not keys.isdisjoint(wanted):
                    step(self)
        except SlurmError:
            if self.pending and job.priority:
                job.num_nodes = shown  # the scheduler's result is shown until a change succeeds (node_cnt_wag)
            raise
        finally:
            self.job_table.touch(job)

    # --- helpers

    # --- in slurmctld's order

    def _throttle(self, count: int) -> None:
        for member in self.job_table.array(self.job.array_job_id):
            member.array_max_running = count or None
            self.job_table.touch(member)

    def _partition(self) -> None:
        name = self.wanted["partition"]
        if name == self.job.partition:
            return
        self.still_pending()
        wished = self.job.spec.evolve(partition=name or None)
        try:
            parts = partitions_of(self.job_table.cluster, to_open_partitions(self.job_table, wished))
        except SlurmError as error:
            raise SlurmError(error.errno) from None  # only sbatch prints which partition was wrong

        def apply() -> None:
            self.job_table.assume(part.name for part in parts)
            self.job.spec = self.job.spec.evolve(partition=",".join(part.name for part in parts))
            self.job.partition = ",".join(part.name for part in parts)

        self.later.append(apply)

    def _account(self) -> None:
        self.still_pending()
        name, policy, job = self.wanted["account"].lower(), self.job_table.policy, self.job
        if policy.accounts:
            account = policy.account_of(name or None, job.user)
        elif name and (not self.job_table.accounts or name in self.job_table.accounts):
            account = name
        else:
            return  # accounts are not enforced: the user's default account is charged

        def apply() -> None:
            job.account = account
            self.evolve(account=name or None)

        self.later.append(apply)

    def _qos(self) -> None:
        name = self.wanted["qos"]
        if name and not self.job_table.policy.qos and name != self.job.qos:
            return  # QOS are not enforced: store none
        qos = self.job_table.policy.qos_of(name or None, self.job.account, self.job.user)
        if qos == self.job.qos and (name or None) == self.job.spec.qos:
            return
        self.job_table.policy.check_reserved(qos, self.wanted.get("reservation", self.job.spec.reservation))
        self.still_pending()

        def apply() -> None:
            self.job.qos = qos
            self.evolve(qos=name or None)

        self.later.append(apply)

    def _reset_accrue(self) -> None:
        self.still_pending()
        if self.job.accrue_time:
            transitions.accrue(self.job, self.job_table.clock())

    def _reservation(self) -> None:
        name, spec = self.wanted["reservation"], self.job.spec
        if name == (spec.reservation or ""):
            return
        if self.job.state not in (JobState.PENDING, JobState.RUNNING):
            raise SlurmError(Errno.NOT_PENDING_NOR_RUNNING)
        wished = spec.evolve(reservation=name or None)
        known, cluster = self.job_table.reservations.all, self.job_table.cluster
        checked = reserved_spec(known, cluster, wished, self.job.user, self.job.account, lambda: (self.job.qos,))
        self.job_table.policy.check_reserved(self.job.qos, checked.reservation)
        if self.job.reason == "ReservationDeleted":
            self.life.release(self.job)
        self.later.append(lambda: self.evolve(reservation=checked.reservation))

    def _licenses(self) -> None:
        check_licenses(self.job_table.cluster, JobSpec(licenses=self.wanted["licenses"] or None))

    def _tres_bind(self) -> None:
        """Change TresBind; an empty text clears it. Raises SlurmError."""
        text = self.wanted["tres_bind"]
        try:
            if text:
                gpubind.check_tres(text)
        except LanguageError:
            raise SlurmError(Errno.INVALID_TRES) from None
        self.evolve(tres_bind=text or None, gpu_bind=None)

    def _free_texts(self) -> None:
        job, wanted = self.job, self.wanted
        if "req_switch" in wanted or "wait4switch" in wanted:
            # Only --switches sets the default time to wait.
            count, _, wait = (job.spec.switches or "0@00:00:00").partition("@")
            count = str(wanted.get("req_switch", count))
            seconds = wanted.get("wait4switch")
            if seconds is not None:
                wait = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
            self.evolve(switches=f"{count}@{wait}" if wait else count)
        if "admin_comment" in wanted:
            job.admin_comment = wanted["admin_comment"]
            self.evolve(admin_comment=wanted["admin_comment"])
        if "comment" in wanted:
            job.comment = wanted["comment"]
            self.evolve(comment=wanted["comment"])
        if "extra" in wanted:
            self.evolve(extra=wanted["extra"])

    def _apply_later(self) -> None:
        for apply in self.later:
            apply()

    def _requeue(self) -> None:
        self.evolve(requeue=bool(self.wanted["requeue"]))

    def _priority(self) -> None:
        job, value, by_user = self.job, self.wanted["priority"], self.wanted.get("user_hold", False)
        held_by = "JobHeldUser" if by_user or not self.privileged else "JobHeldAdmin"
        if value == job.priority:
            if not value and self.privileged:
                transitions.change_hold(job, held_by)
        elif not job.priority and value == INFINITE:
            self.life.release(job)
        elif not job.priority:
            raise SlurmError(Errno.HELD)
        elif value == INFINITE:
            # First release the job: an administrator's request gives the job the next priority and removes its nice
            # value.
            if self.privileged:
                job.priority, job.nice = self.job_table.take_priority(), 0
                self.evolve(nice=None, priority=None)
        elif not value:
            self.life.hold(job, by_user=held_by == "JobHeldUser")
        else:
            job.priority, job.nice = value, 0
            self.evolve(nice=None, priority=value)

    def _nice(self) -> None:
        job, value = self.job, self.wanted["nice"]
        if value == job.nice or (job.spec.priority and job.priority):
            return  # an explicit priority ignores nice
        if value < 0 and not self.privileged:
            raise SlurmError(Errno.ACCESS_DENIED)
        if not job.priority and self.pending:
            # This ends a hold, too, but slurmctld does not evaluate the job at once.
            transitions.eligible_from(job, self.job_table.clock() + UNHELD_S)
        job.priority = max(2, job.priority + job.nice - value)
        job.nice = value
        self.evolve(nice=value)

    def _shared(self) -> None:
        self.still_pending()
        others = tuple(pair for pair in self.job.spec.recorded if pair[0] != NOT_SHARED[0])
        if self.wanted["shared"]:
            self.evolve(oversubscribe=True, exclusive=None, recorded=others)
        else:
            self.evolve(oversubscribe=False, recorded=(*others, NOT_SHARED))

    def _contiguous(self) -> None:
        self.still_pending()
        self.evolve(contiguous=bool(self.wanted["contiguous"]))

    def _core_spec(self) -> None:
        # Cores for the system belong to the site: users may not change them (AllowSpecResourcesUsage).
        self.still_pending()
        raise SlurmError(Errno.ACCESS_DENIED)

    def _features(self) -> None:
        self._change_text("features", "constraint", Errno.INVALID_FEATURE)

    def _prefer(self) -> None:
        self._change_text("prefer", "prefer", Errno.INVALID_PREFER)

    def _change_text(self, key: str, field: str, errno: Errno) -> None:
        text = self.text(key)
        if text and text == getattr(self.job.spec, field):
            return
        self.still_pending()
        check_features(self.job_table.cluster, text or "", errno)
        self.evolve(**{field: text or None})

    def _federated(self) -> None:
        raise SlurmError(Errno.NOT_FEDERATED)

    def _name(self) -> None:
        self.job.name = self.wanted["name"]
        self.evolve(job_name=self.wanted["name"])

    def _files(self) -> None:
        for key, field, given in _FILES:
            text = self.text(key)
            if text is not None and text != getattr(self.job, field):
                self.still_pending()
                setattr(self.job, field, text)
                self.evolve(**{given: text or None})

    def _wckey(self) -> None:
        if self.wanted["wckey"] != (self.job.spec.wckey or ""):
            self.still_pending()
            self.evolve(wckey=self.wanted["wckey"] or None)

    def _dependency(self) -> None:
        self.still_pending()
        text, job = self.wanted["dependency"], self.job
        text = "" if text == "0" else text  # 0 removes all dependencies, as "" does
        check_dependency(job.spec.evolve(dependency=text or None))
        parsed = dependency.parse(text) if text else None
        if parsed is not None and any(getattr(one, "job_id", 0) == job.job_id for one in parsed.conditions):
            raise SlurmError(Errno.DEPENDENCY)
        if requires_unknown_result(text, self.job_table.referenced):
            raise SlurmError(Errno.DEPENDENCY)
        self.evolve(dependency=text or None)
        transitions.dependency_unmet(job, text, dependency.format_with_state(parsed) if parsed is not None else "")

    def _licenses_made(self) -> None:
        if self.job.state not in (JobState.PENDING, JobState.RUNNING):
            raise SlurmError(Errno.NOT_PENDING_NOR_RUNNING)
        if self.pending:
            self.evolve(licenses=self.wanted["licenses"] or None)
        elif self.wanted["licenses"] != (self.job.spec.licenses or ""):
            self.job_table.change_licenses(self.job, self.wanted["licenses"])

    def _reboot(self) -> None:
        self.still_pending()
        self.evolve(reboot=bool(self.wanted["reboot"]))

    def _mail(self) -> None:
        if "mail_type" in self.wanted:
            self.evolve(mail_type=self.wanted["mail_type"])
        if "mail_user" in self.wanted:
            self.evolve(mail_user=self.wanted["mail_user"] or self.job_table.cluster.mail_address(self.job.user))


_FILES = (
    ("work_dir", "work_dir", "chdir"), ("std_err", "stderr", "error"),
    ("std_in", "stdin", "input"), ("std_out", "stdout", "output"),
)  # fmt: skip


def _step(step: Callable[[_Change], None], keys: str) -> tuple[frozenset[str], Callable[[_Change], None]]:
    return frozenset(keys.split()), step


_SIZES = "num_tasks min_nodes ntasks_per_node min_cpus max_cpus pn_min_cpus cpus_per_task tasks_changed"

#: in slurmctld's order: the keys that a step reads, and the step
_STEPS = (
    _step(_Change._partition, "partition"),
    _step(_Change._account, "account"),
    _step(_Change._qos, "qos"),
    _step(_Change._reset_accrue, "reset_accrue"),
    _step(_Change.excluded, "exc_nodes"),
    _step(_Change.required, "req_nodes"),
    _step(_Change._reservation, "reservation"),
    _step(_Change.devices, f"tasks_changed {' '.join(TRES)}"),
    _step(_Change._licenses, "licenses"),
    _step(_Change.size, _SIZES),
    _step(_Change._tres_bind, "tres_bind"),
    _step(_Change._free_texts, "req_switch wait4switch admin_comment comment extra"),
    _step(_Change._apply_later, "partition account qos reservation"),
    _step(_Change.cpus, "min_cpus max_cpus"),
    _step(_Change.cpus_of_node, "pn_min_cpus"),
    _step(_Change.cpus_of_task, "cpus_per_task"),
    _step(_Change.nodes, "min_nodes"),
    _step(_Change.tasks, "num_tasks"),
    _step(_Change.time_limit, "time_limit"),
    _step(_Change.time_min, "time_min"),
    _step(_Change.end_time, "end_time"),
    _step(_Change.deadline, "deadline"),
    _step(_Change.delay_boot, "delay_boot"),
    _step(_Change._requeue, "requeue"),
    _step(_Change._priority, "priority"),
    _step(_Change._nice, "nice"),
    _step(_Change.memory, "pn_min_memory"),
    _step(_Change.temporary, "pn_min_tmp_disk"),
    _step(_Change.shape, "sockets_per_node cores_per_socket threads_per_core"),
    _step(_Change._shared, "shared"),
    _step(_Change._contiguous, "contiguous"),
    _step(_Change._core_spec, "core_spec"),
    _step(_Change._features, "features"),
    _step(_Change._prefer, "prefer"),
    _step(_Change._federated, "cluster_features clusters"),
    _step(_Change.devices_made, "devices"),
    _step(_Change._name, "name"),
    _step(_Change._files, "work_dir std_err std_in std_out"),
    _step(_Change._wckey, "wckey"),
    _step(_Change.shrink, "min_nodes"),
    _step(_Change.tasks_of_node, "ntasks_per_node"),
    _step(_Change._dependency, "dependency"),
    _step(_Change.begin_time, "begin_time"),
    _step(_Change._licenses_made, "licenses"),
    _step(_Change.check_partition_limits, ""),
    _step(_Change._reboot, "reboot"),
    _step(_Change.bad_devices, "bad_tres"),
    _step(_Change._mail, "mail_type mail_user"),
)
