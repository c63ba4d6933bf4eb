"""Builds the nodes' plans and the step's record for an srun."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Callable, Optional

from ...model.spec import ALLOCATED_VARIABLE, JobSpec
from ...model.step import Step
from ...model.step_spec import StepSpec
from ...protocol import wire
from ...protocol.step_plan import ContainerRequest, MpiPlan, Pmi2Plan, PmixPlan, StepPlan, TaskBinding
from ..job import output_files
from ..job.environment import VISIBLE, declared_environment, gpu_environment, gpu_indices
from ..job.task_environment import (
    exported,
    job_of_task_environment,
    launch_address,
    step_environment,
    step_options,
    task_environment,
)
from ..mpi import pmi_wire, pmix_library
from ..net import endpoints
from ..process import resource_limits, topology
from ..process.task_prolog import SITE, USER
from ..steps import task_binding, task_devices
from ..steps.het_components import ChosenComponents
from ..steps.step_allocation import InvalidStep
from . import step_tres
from .srun_files import Input, Outputs

if TYPE_CHECKING:
    from ..core.head_job import HeadJob

#: variables of srun's own environment that --preserve-env keeps
_PRESERVED = ("SLURM_NNODES", "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_TASKS_PER_NODE", "SLURM_THREADS_PER_CORE")


def _limits_memory(spec: JobSpec) -> bool:
    return bool(spec.mem_mib or spec.mem_per_cpu_mib or spec.mem_per_gpu_mib)


class Planner:
    """Plans one step. Raises BadRequest. ``say`` is called with warnings."""

    def __init__(
        self,
        job: HeadJob,
        request: wire.CommandRequest,
        spec: StepSpec,
        chosen: ChosenComponents,
        own_limits: Optional[resource_limits.Limits],
        read: Callable[[str], bytes],
        say: Callable[[str], None],
    ) -> None:
        self.job = job
        self.request = request
        self.spec = spec  # the leader's spec: its options apply to the step as a whole
        self.shape = chosen.shape
        self._shown = chosen.shown
        self._owners = chosen.owners
        self._read = read
        self._say = say
        known = job.launch.rlimits if own_limits is None else own_limits
        self._rlimits = resource_limits.propagated(known, spec.job.propagate)
        self.step_id = str(job.next_step)
        self.programs = chosen.programs
        #: each rank's component
        self.component = [index for index, (_, count) in enumerate(chosen.programs) for _ in range(count)]
        self.ntasks = len(self.component)
        self.argvs = [argv for step, count in chosen.programs for argv in self._argvs(step, count)]
        if spec.job.resv_ports:
            # MpiParams configures no ports. Source: the oracle; step_mgr.c, port_mgr.c.
            raise InvalidStep("Unable to create step for job %d: Requires more ports than can be reserved" % job.job_id)
        self._check_mpi()
        # MPI libraries name shared memory by job and step, and other engines on this machine reuse the same ids.
        self._world = os.urandom(4).hex()
        #: for the patterns in names of srun's own files
        self.name_values = output_files.NameValues(
            job_id=job.job_id,
            array_job_id=job.launch.array_job_id,
            array_task_id=job.launch.array_task_id,
            step_id=self.step_id,
            node=job.node,
            node_id=0,
            task_id=0,
            user=job.launch.user,
            # %x is from the environment regardless of -J. Source: the oracle; fname.c
            job_name=request.env.get("SLURM_JOB_NAME") or spec.job.job_name or job.launch.name,
            restarts=job.launch.restart_count,
        )

    @property
    def _directory(self) -> str:
        """The working folder of the tasks."""
        cwd = self.request.cwd
        return os.path.normpath(os.path.join(cwd, self.spec.job.chdir)) if self.spec.job.chdir else cwd

    @property
    def terminal(self) -> bool:
        """True for --pty in a terminal of the caller."""
        return self.spec.pty is not None and self.request.ttys[0]

    def environments(self) -> list[dict[str, str]]:
        """The common environment of the tasks, by component."""
        return [self._common_environment(step.job.export) for step, _ in self.programs]

    def plans(self, commons: list[dict[str, str]], outputs: Outputs, source: Input) -> list[StepPlan]:
        """The plans, one per node."""
        return [
            self._plan(index, commons[self.component[ranks[0]]], outputs, source)
            for index, ranks in enumerate(self.shape.ranks)
        ]

    def records(self) -> list[tuple[Step, list[int]]]:
        """Records of the step for sacct and squeue, with their ranks; one for each component of a het job."""
        found, first = [], 0
        for job_id, count in self._owners:
            here = slice(first, first + count)
            found.append((self._record(job_id, here), [rank for ranks in self.shape.ranks[here] for rank in ranks]))
            first += count
        return found

    def _record(self, job_id: int, here: slice) -> Step:
        spec, shape = self.spec, self.shape
        name = spec.job.job_name if "job_name" in spec.typed else None
        ranks, gpus = shape.ranks[here], sum(map(len, shape.gpus[here]))
        return Step(
            job_id=job_id,
            step_id=self.step_id,
            # With --multi-prog this is the configuration file. Source: the oracle; srun/opt.c, cmd_name.
            name=name or os.path.basename(self.programs[self.component[ranks[0][0]]][0].argv[0]),
            nodes=tuple(share.name for share in shape.shares[here]),
            ntasks=sum(map(len, ranks)),
            cpus=sum(map(len, shape.cpus[here])),
            memory_mib=sum(shape.memory_mib[here]),
            gres="gres/gpu:%d" % gpus if gpus else "",
            tasks_per_node=tuple(map(len, ranks)),
            distribution=shape.distribution.capitalize(),
            start_time=time.time(),
            time_limit_min=spec.job.time_limit_min,
            submit_line=" ".join(["srun", *self.request.args]),
            srun_host=self.job.launch.submit_host,
            srun_pid=self.request.pid,
            container=spec.job.container or "",
            tres=step_tres.tres_text(spec.job, self.job.launch.spec, shape, self.ntasks),
        )

    def _common_environment(self, export: Optional[str]) -> dict[str, str]:
        spec, request, shape = self.spec, self.request, self.shape
        # The launchers are scripts of a plain sh, which drops exported functions: restore those of the job (module,
        # ml, and the user's own), as Slurm's srun does.
        functions = {name: text for name, text in self.job.launch.environment.items() if name.startswith("BASH_FUNC_")}
        # SRUN_DEBUG is srun's own variable: --export decides if the tasks have it.
        env = exported({"SRUN_DEBUG": "3", **functions, **request.env}, export)
        for name in (ALLOCATED_VARIABLE, resource_limits.VARIABLE):
            env.pop(name, None)
        env.update(job_of_task_environment(self._shown))
        env.update(
            step_environment(
                self.step_id,
                [share.name for share in shape.shares],
                shape.ranks,
                distribution=shape.distribution,
                plane_size=shape.plane_size,
                umask=request.umask,
                port=request.pid % 20000 + 40000,
                address=launch_address(os.environ),
            )
        )
        if request.env.get(ALLOCATED_VARIABLE) == "1" and not (spec.job.distribution or _limits_memory(spec.job)):
            # An srun with its own job leaves the layout to the controller unless --mem is given: launch.c.
            env.pop("SLURM_DISTRIBUTION")
        env.update(step_options(spec.job))
        env.update(declared_environment(self.job.launch.declared_options, spec.site_options))
        if 0 in (spec.job.mem_mib, spec.job.mem_per_cpu_mib) and not spec.job.distribution:
            env.pop("SLURM_DISTRIBUTION", None)  # with all of the memory, the controller decides the layout
        if spec.preserve_env:
            # Source: env.c setup_env; sizes in srun's own environment are kept.
            env.update({name: request.env[name] for name in _PRESERVED if name in request.env})
        if spec.job.job_name and "job_name" in spec.typed:
            env["SLURM_JOB_NAME"] = spec.job.job_name
        elif "SLURM_JOB_NAME" in request.env:
            env["SLURM_JOB_NAME"] = request.env["SLURM_JOB_NAME"]
        if spec.label:
            env["SLURM_LABELIO"] = "1"
        if task_devices.bind_text(spec.job):
            env["SLURMD_TRES_BIND"] = "gres/gpu:%s" % task_devices.bind_text(spec.job)
        if self.terminal and request.winsize:
            env["SLURM_PTY_WIN_ROW"], env["SLURM_PTY_WIN_COL"] = map(str, request.winsize)
        env.update(task_binding.environment(spec.job))
        self._hide_gpus(env)
        mpi = spec.mpi or spec.job.mpi
        if mpi:
            env["SLURM_MPI_TYPE"] = mpi
        return env

    def _hide_gpus(self, env: dict[str, str]) -> None:
        """Remove the variables that list the job's GPUs. Each task gets variables for its own GPUs."""
        for name in ("SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE"):
            env.pop(name, None)
        if any(self.shape.gpus):
            return
        for name in VISIBLE:
            if any(gpu_indices(share.gres) for share in self.shape.shares):
                env.pop(name, None)  # lists the job's GPUs, which the step did not get
            elif self.job.launch.het and name in env:
                env[name] = ""  # GPUs of another component

    def _plan(self, index: int, common: dict[str, str], outputs: Outputs, source: Input) -> StepPlan:
        shape = self.shape
        spec, launch = self.spec, self.job.launch
        share, ranks = shape.shares[index], shape.ranks[index]
        task_env, notices = [], []
        bind = task_devices.bind_text(spec.job)
        for local in range(len(ranks)):
            env = task_environment(share.name, index, ranks, local, len(shape.cpus[index]))
            if local == 0 and "TMPDIR" not in common:
                env["TMPDIR"] = "/tmp"  # only a node's first task gets it: slurmstepd's task.c
            gpus = shape.gpus[index]
            seen, complaint = task_devices.visible(bind, gpus, local, len(ranks))
            if complaint:
                self._say("slurmstepd-%s: error: %s\n" % (share.name, complaint))
            env.update(gpu_environment(gpus, "SLURM_STEP_GPUS", seen, share.gpus_absent))
            task_env.append(env)
            notices.append(task_devices.notice(bind, gpus, seen))
        stdout, stderr = outputs.of(ranks[0]).on_nodes(self.request.cwd)
        prologs = [[SITE, launch.task_prolog or ""], [USER, spec.task_prolog or ""]]
        epilogs = [[USER, spec.task_epilog or ""], [SITE, launch.task_epilog or ""]]
        return StepPlan(
            job_id=self.job.job_id,
            step_id=self.step_id,
            node=share.name,
            node_id=index,
            ranks=list(ranks),
            argv=[self.argvs[rank] for rank in ranks],
            environment=common,
            task_environment=task_env,
            directory=self._directory,
            umask=self.request.umask,
            stdin=source.source,
            stdin_rank=source.rank,
            stdout=stdout,
            stderr=stderr,
            open_mode=spec.job.open_mode,
            terminal=list(self.request.winsize or (24, 80)) if self.terminal else None,
            unbuffered=spec.unbuffered or self.terminal or self.ntasks == 1,  # lines of tasks are not mixed
            rlimits={name: list(pair) for name, pair in self._rlimits.items()},
            task_prologs=[script for script in prologs if script[1]],
            task_epilogs=[script for script in epilogs if script[1]],
            array_job_id=self.name_values.array_job_id,
            array_task_id=self.name_values.array_task_id,
            user=self.name_values.user,
            job_name=self.name_values.job_name,
            restarts=self.name_values.restarts,
            head=launch.shares[0].address,
            mpi=self._mpi_plan(),
            bind=self._bind(index),
            label=len(str(self.ntasks - 1)) if spec.label else 0,
            notices=notices if any(notices) else [],
            container=self._container(self.component[ranks[0]]),
            job_memory_mib=launch.memory_limit_mib(share),
            memory_mib=shape.memory_mib[index] if launch.constrain_ram_space else 0,
            oom_kill_step=bool(spec.job.oom_kill_step),
        )

    def _container(self, component: int) -> Optional[ContainerRequest]:
        """Return the pyxis options of this srun. Those of the allocation if srun names neither image nor container."""
        own = dict(self.programs[component][0].site_options)
        launch = self.job.launch
        named = "container-image" in own or "container-name" in own
        options = own if named else {**dict(launch.spec.site_options), **own}
        if not any(name.startswith("container-") for name in options):
            return None
        from ..container import task_container

        return task_container.request(options.items(), self.request.cwd, launch.image)

    def _bind(self, index: int) -> Optional[TaskBinding]:
        """Return the binding of tasks on a node, or None."""
        share, cpus = self.shape.shares[index], self.shape.cpus[index]
        request = task_binding.task_binding(self.spec.job, self.job.launch.task_affinity and not share.virtual)
        if request is None:
            return None
        return request.evolve(
            count=max(share.cpus_on_node, max(cpus, default=0) + 1),
            cpus=tuple(cpus),
            # The user did not request the missing CPUs of a virtual node's machine.
            explicit=request.explicit and not share.virtual,
        )

    def check_binding(self) -> None:
        """Raise BadRequest if tasks cannot be bound, as far as known here."""
        shape = self.shape
        for index, share in enumerate(shape.shares):
            request = self._bind(index)
            if request is None or not share.address.startswith(endpoints.UNIX):
                continue  # only that machine knows its CPUs
            try:
                task_binding.lay_out(request, topology.node(request.count), len(shape.ranks[index]))
            except task_binding.BindingRefused as error:
                cannot = "Unable to satisfy cpu bind request"
                raise InvalidStep(
                    str(error),
                    "Task launch for StepId=%d.%s failed on node %s: %s"
                    % (self.job.job_id, self.step_id, share.name, cannot),
                    "Application launch failed: " + cannot,
                ) from None

    def _check_mpi(self) -> None:
        mpi = self.spec.mpi or self.spec.job.mpi or ""
        self._without_pmix = mpi.startswith("pmix") and pmix_library.find(self.request.env) is None
        if self._without_pmix and self.job.launch.elastic:
            self._say(
                "srun: warning: --mpi=%s: this machine has no %s, the tasks get PMI-2 instead. An MPI that needs PMIx"
                " finds it after: apt-get install libpmix2, or conda install -c conda-forge openpmix\n"
                % (mpi, pmix_library.NAME)
            )
        elif self._without_pmix:
            raise InvalidStep(
                " mpi/%s: init: can not load PMIx library" % mpi,
                "Couldn't load specified plugin name for mpi/%s: Plugin init() callback failed" % mpi,
                "MPI: Cannot create context for mpi/%s" % mpi,
                "MPI: Unable to load any plugin",
                "Invalid MPI type '%s', --mpi=list for acceptable types" % mpi,
                "No %s beside an mpirun on PATH, in LD_LIBRARY_PATH or on the system: use --mpi=pmi2 for MPICH, "
                "or mpirun inside the job" % pmix_library.NAME,
            )

    def _mpi_plan(self) -> Optional[MpiPlan]:
        mpi = self.spec.mpi or self.spec.job.mpi
        if mpi in (None, "", "none"):
            return None
        name = "%d.%s.%s" % (self.job.job_id, self.step_id, self._world)
        if mpi.startswith("pmix") and not self._without_pmix:
            return PmixPlan(
                namespace="slurm.pmix." + name,
                nodes=[share.name for share in self.shape.shares],
                ranks=self.shape.ranks,
            )
        return Pmi2Plan(name=name, mapping=pmi_wire.process_mapping(self.shape.ranks), size=self.ntasks)

    def _argvs(self, step: StepSpec, ntasks: int) -> list[list[str]]:
        argv = list(step.argv)
        if not step.multi_prog:
            if argv[0].startswith("."):
                # Such names are relative to the task's working folder.
                argv[0] = "%s/%s" % (self._directory, argv[0])
            return [argv] * ntasks
        try:
            text = self._read(argv[0]).decode("utf-8", "surrogateescape")
        except OSError:
            raise InvalidStep("Could not open multi_prog config file %s" % argv[0]) from None
        from ...language import multiprog

        try:
            programs = multiprog.parse(text)
        except multiprog.MultiProgError as error:
            line = "Line %d of configuration file %s invalid" % (error.pos, argv[0])
            raise InvalidStep(*([error.message] if error.message else []), line) from None
        missing = programs.missing(ntasks)
        if missing is not None:
            raise InvalidStep("Configuration file %s invalid, no record for task id %d" % (argv[0], missing))
        return [[*(programs.argv(rank) or []), *argv[1:]] for rank in range(ntasks)]
