"""Changes of a job's size: tasks, CPUs, nodes, memory, devices.

Source: slurmctld/job_mgr.c _update_job, _figure_out_num_tasks, job_limits_check.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, cast

from ...language.syntax_errors import LanguageError
from ...model.job import Job
from ...model.spec import INFINITE
from ...model.states import JobState
from ...options import device_counts
from ...report.fields import derived
from ..rules.demand import gres_names
from ..rules.job_placement import partition_nodes
from ..rules.submit_checks import node_names
from ..slurm_errors import Errno, SlurmError
from . import transitions
from .job_table import JobTable
from .job_update import JobUpdate
from .lifecycle import LifeCycle


class Sizes:
    """Steps that change the size of a job."""

    def __init__(self, job_table: JobTable, life: LifeCycle, job: Job, wanted: JobUpdate) -> None:
        self.job_table = job_table
        self.life = life
        self.job = job
        self.wanted = wanted.copy()
        self.privileged = os.geteuid() == 0
        self.pending = job.state is JobState.PENDING and not job.awaits_nodes
        self.running = job.state in (JobState.RUNNING, JobState.SUSPENDED) or job.awaits_nodes
        #: changes that are applied once all of them are valid
        self.later: list[Callable[[], None]] = []

    def still_pending(self) -> None:
        if not self.pending:
            raise SlurmError(Errno.NO_LONGER_PENDING)

    def text(self, key: str) -> str | None:
        """Return the requested text of a field, or None if unchanged."""
        return cast(str | None, self.wanted.get(key))

    def evolve(self, **changes: Any) -> None:
        self.job.spec = self.job.spec.evolve(**changes)

    def count_tasks(self) -> None:
        """Derive the number of tasks from other counts.

        Source: _figure_out_num_tasks.
        """
        job, spec, wanted = self.job, self.job.spec, self.wanted
        if wanted.keys().isdisjoint(("num_tasks", "min_nodes", "ntasks_per_node")):
            return
        tasks = wanted.get("num_tasks")
        least = wanted.get("min_nodes", spec.nodes_min or 1)
        most = wanted.get("max_nodes", job.max_nodes if self.pending else least) or least
        per_node = wanted.get("ntasks_per_node", spec.ntasks_per_node)
        if tasks is None and least == most and per_node is not None:
            tasks = least * per_node
        if tasks is not None and tasks != job.num_tasks:
            wanted["num_tasks"] = tasks
            wanted["tasks_changed"] = True

    def devices(self) -> None:
        """Change generic resources by node, job, socket or task. A new number of tasks changes their total."""
        wanted = self.wanted
        if wanted.keys().isdisjoint(TRES) and not wanted.get("tasks_changed"):
            return
        self.still_pending()
        changes: dict[str, Any] = {}
        for key, read in TRES.items():
            text = self.text(key)
            if text and "gres" not in text:
                wanted["bad_tres"] = True  # the text names no device; the error is reported at the end
            elif text is not None:
                changes.update(read(text))
        wished = self.job.spec.evolve(**changes)
        if changes.get("gres"):  # validated together with the earlier requests of the job
            _check_types(f"{self.job.spec.gres or ''},{changes['gres']}")
        known = {name for node in self.job_table.cluster.nodes for name, _, _ in node.gres} | {"gpu"}
        try:
            if gres_names(wished) - known or not device_counts.consistent(wished):
                raise SlurmError(Errno.INVALID_GRES)
        except LanguageError as error:
            raise SlurmError(Errno.INVALID_GRES) from error
        self.wanted["devices"] = changes

    def size(self) -> None:
        """Compute the fewest tasks and CPUs for a new node count."""
        wanted, job, spec = self.wanted, self.job, self.job.spec
        least = wanted.get("min_nodes")
        if least == INFINITE:  # NumNodes=ALL requires nothing
            del wanted["min_nodes"]
            least = None
        if least is not None:
            if least > len(job.nodes) and self.running:
                raise SlurmError(Errno.NOT_SUPPORTED)
            tasks = max(wanted.get("num_tasks", job.num_tasks), least)
            if self.pending and tasks > job.num_tasks:
                wanted["num_tasks"] = tasks
            floor = (wanted.get("pn_min_cpus") or spec.mincpus or 1) * least
            cpus = max(tasks * wanted.get("cpus_per_task", spec.cpus_per_task or 1), floor)
            if cpus > wanted.get("min_cpus", job.num_cpus):
                wanted["min_cpus"] = cpus
        if "min_cpus" not in wanted and wanted.get("pn_min_cpus"):
            wanted["min_cpus"] = wanted["pn_min_cpus"] * (least or spec.nodes_min or 1)
        elif "min_cpus" not in wanted and wanted.get("tasks_changed"):
            wanted["min_cpus"] = wanted["num_tasks"]

    def cpus(self) -> None:
        self.still_pending()
        job = self.job
        least = self.wanted.get("min_cpus", job.num_cpus)
        most = self.wanted.get("max_cpus", job.max_cpus)
        if least < 1 or (most and most < least):
            raise SlurmError(Errno.INVALID_CPU_COUNT)
        job.num_cpus, job.max_cpus = least, most

    def cpus_of_node(self) -> None:
        if self.wanted["pn_min_cpus"]:
            self.still_pending()
            self.evolve(mincpus=self.wanted["pn_min_cpus"])

    def cpus_of_task(self) -> None:
        self.still_pending()
        if not self.wanted["cpus_per_task"]:
            raise SlurmError(Errno.INVALID_CPU_COUNT)
        # slurmctld changes neither MinCPUsNode nor a TresPerTask without CPUs.
        spec, count = self.job.spec, self.wanted["cpus_per_task"]
        least = derived.min_cpus_per_node(spec)
        listed = re.sub(r"\bcpu[=:]\d+", f"cpu={count}", spec.tres_of_task or "")
        recorded = tuple({**dict(spec.recorded), derived.LEAST_CPUS: str(least)}.items())
        self.evolve(cpus_per_task=count, tres_per_task=listed, recorded=recorded)

    def nodes(self) -> None:
        wanted, job, spec = self.wanted, self.job, self.job.spec
        if "min_nodes" not in wanted:
            return
        if (spec.distribution or "").startswith("arbitrary"):
            raise SlurmError(Errno.NOT_SUPPORTED)
        least, most = wanted["min_nodes"], wanted.get("max_nodes", job.max_nodes)
        if self.running:
            if "max_nodes" in wanted and most != least:
                raise SlurmError(Errno.NO_LONGER_PENDING)
            return  # validated in a later step
        self.still_pending()
        if least < 1 or (most and most < least):
            raise SlurmError(Errno.INVALID_NODE_COUNT)
        sizes = wanted.get("job_sizes")
        text = sizes or (str(least) if least == most else f"{least}-{most}")
        self.evolve(nodes=text, nodes_min=least, nodes_max=most)
        job.num_nodes, job.max_nodes = least, most if most > least else 0

    def tasks(self) -> None:
        if not self.wanted.get("tasks_changed"):
            if "num_tasks" in self.wanted and self.pending:
                self.job.num_tasks = self.wanted["num_tasks"]
            return
        self.still_pending()
        count = self.wanted["num_tasks"]
        if count < 1:
            raise SlurmError(Errno.INVALID_TASK_COUNT)
        self.job.num_tasks = count
        self.evolve(ntasks=count)

    def memory(self) -> None:
        self.still_pending()
        per_cpu, mebibytes = self.wanted["pn_min_memory"]
        if per_cpu and mebibytes:
            self.evolve(mem_per_cpu_mib=mebibytes, mem_mib=None, memory_by_default=False)
        else:
            self.evolve(mem_mib=mebibytes, mem_per_cpu_mib=None, memory_by_default=False)

    def temporary(self) -> None:
        self.still_pending()
        self.evolve(tmp_mib=self.wanted["pn_min_tmp_disk"])

    def shape(self) -> None:
        for key in ("sockets_per_node", "cores_per_socket", "threads_per_core"):
            if key in self.wanted:
                self.still_pending()
                self.evolve(**{key: self.wanted[key]})

    def shrink(self) -> None:
        if self.running and "min_nodes" in self.wanted:
            count = self.wanted["min_nodes"]
            if not count:
                raise SlurmError(Errno.INVALID_NODE_COUNT)
            if count < len(self.job.nodes):  # the first node runs the script
                self.life.shrink(self.job, frozenset(self.job.nodes[:count]))

    def tasks_of_node(self) -> None:
        self.still_pending()
        count = self.wanted["ntasks_per_node"]
        self.evolve(ntasks_per_node=count)
        if (self.job.spec.mincpus or 1) < count:
            self.evolve(mincpus=count)

    def bad_devices(self) -> None:
        raise SlurmError(Errno.INVALID_TRES)

    def check_partition_limits(self) -> None:
        """Apply the partition's limits to the changed request.

        Source: job_limits_check.
        """
        job = self.job
        if not self.pending:
            return
        names = job.partition.split(",")
        first = self.job_table.cluster.partition(names[0])
        if first is None:
            return
        room = sum(node.cpus for node in partition_nodes(self.job_table.cluster, first))
        inactive = self.job_table.partition_state(first) == "INACTIVE"
        too_large = 0 < room < job.num_cpus and not self.job_table.cluster.open
        if inactive or too_large:
            raise SlurmError(Errno.PART_CONFIG_UNAVAILABLE)
        if not (job.reason.startswith("JobHeld") or job.reason == "ReservationDeleted"):
            transitions.clear_reason(job)

    def required(self) -> None:
        text, spec, job = self.wanted["req_nodes"], self.job.spec, self.job
        if text and text == spec.nodelist:
            return
        if (spec.distribution or "").startswith("arbitrary"):
            raise SlurmError(Errno.NOT_SUPPORTED)
        if self.running:
            names = frozenset(node_names(self.job_table.cluster, text))
            if not names <= set(job.nodes) or job.nodes[0] not in names:  # the script stays on its node
                raise SlurmError(Errno.INVALID_NODE_NAME)
            if len(names) < len(job.nodes):
                self.life.shrink(job, names)
            return
        self.still_pending()
        node_names(self.job_table.cluster, text)
        self.evolve(nodelist=text or None)

    def excluded(self) -> None:
        text = self.wanted["exc_nodes"]
        if text == (self.job.spec.exclude or "") and text:
            return
        self.still_pending()
        node_names(self.job_table.cluster, text)
        self.evolve(exclude=text or None)

    def devices_made(self) -> None:
        self.evolve(**self.wanted.get("devices", {}))


def _check_types(text: str) -> None:
    """Require a type with all devices of a name or none. Raises SlurmError."""
    kinds: dict[str, set[bool]] = {}
    for item in filter(None, text.split(",")):
        name, *rest = item.replace("gres/", "", 1).replace("gres:", "", 1).split(":")
        kinds.setdefault(name, set()).add(bool(rest) and not rest[0].isdecimal())
    if any(len(kind) > 1 for kind in kinds.values()):
        raise SlurmError(Errno.INVALID_GRES_TYPE)


def _per_node(text: str) -> dict[str, Any]:
    return {"gres": text or None, "gpus_per_node": None}


def _gpus(field: str) -> Callable[[str], dict[str, Any]]:
    """Return a parser of a GPU count for an option's field."""

    def read(text: str) -> dict[str, Any]:
        found = []
        for item in filter(None, text.split(",")):
            name, _, rest = item.replace("gres/", "", 1).replace("gres:", "", 1).replace("=", ":").partition(":")
            if name != "gpu":
                raise SlurmError(Errno.INVALID_GRES)
            found.append(rest or "1")
        return {field: ",".join(found) or None}

    return read


def _number(field: str) -> Callable[[str], dict[str, Any]]:
    """Return a parser of a count per GPU."""

    def read(text: str) -> dict[str, Any]:
        name, _, count = text.replace("gres/", "", 1).replace("gres:", "", 1).replace("=", ":").rpartition(":")
        if text and (name != "gpu" or not count.isdecimal()):
            raise SlurmError(Errno.INVALID_GRES)
        return {field: int(count) if text else None}

    return read


#: options that request generic resources -> each option's change of the spec
TRES: dict[str, Callable[[str], dict[str, Any]]] = {
    "tres_per_node": _per_node,
    "tres_per_job": _gpus("gpus"),
    "tres_per_socket": _gpus("gpus_per_socket"),
    "tres_per_task": _gpus("gpus_per_task"),
    "cpus_per_tres": _number("cpus_per_gpu"),
    "mem_per_tres": _number("mem_per_gpu_mib"),
}
