"""One srun: from its request to its exit code. Runs in the head agent of the job, whose client relays the
terminal."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..model.allocation import Launch
from ..model.job import Step
from ..model.spec import INFINITE, JobSpec, StepSpec
from . import (
    aside,
    binding,
    choice,
    devices,
    output,
    pmi,
    pmi_wire,
    pmix,
    pmix_library,
    processes,
    sbcast,
    steps,
    topology,
    transport,
    verbose,
    wire,
)
from .channel import Channel
from .clients import elsewhere, leave, parse_context, relay
from .environment import (
    VISIBLE,
    exported,
    gpu_environment,
    gpu_indices,
    job_of_task_environment,
    step_environment,
    task_environment,
)
from .host import OUT, Plan
from .prologs import SITE, USER

if TYPE_CHECKING:
    from .agent import Agent
    from .jobs import Job
    from .loop import Timer

#: bytes of stdin the client may be ahead of the tasks
STDIN_WINDOW = 1 << 18
#: exits of a node are gathered for so long, so that they make one line, as slurmstepd sends them in one
#: message
_GATHER_S = 0.1
#: how long srun waits for tasks after a cancel: KillWait and two seconds
_ABORT_MARGIN_S = 2
#: signals that srun passes on to the tasks (srun_job.c, sig_array)
_FORWARDED = frozenset({signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE, signal.SIGCONT})


#: set by the controller for an srun that it made an allocation for; the tasks do not see it
ALLOCATED_VARIABLE = "SLURMSKY_ALLOCATED"


def serve_srun(agent: Agent, channel: Channel, request: wire.Request, payload: bytes) -> None:
    """Run the step, or pass the request on to who can: the job's head, or the controller for a new
    allocation."""
    from ..options.errors import CommandError
    from ..options.submit import parse_srun

    try:
        parsed = parse_srun(request.args, parse_context(request))
    except CommandError as error:
        leave(channel, error.exit_code, "".join(line + "\n" for line in error.lines), error.stdout)
        return
    step = parsed.step
    text = str(step.jobid or request.env.get("SLURM_JOB_ID") or request.env.get("SLURM_JOBID") or "")
    job = agent.jobs.get(int(text)) if text.isdigit() else None
    if job is None or job.ended:
        address = elsewhere(agent, int(text) if text.isdigit() else 0)
        if text and not address:
            leave(
                channel,
                1,
                "srun: error: Unable to confirm allocation for job %s: Invalid job id specified\n"
                "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job %s\n" % (text, text),
            )
            return
        relay(agent, channel, payload, address or agent.controller_address, "srun")
        return
    # Outside a job the controller made the allocation, and said what there was to say of the options.
    told = request.env.get(ALLOCATED_VARIABLE) == "1"
    if told:
        # --exclusive asked for whole nodes then, which the step has all of unless it says how many tasks it is.
        counted = step.job.ntasks is not None or step.job.cpus_per_task is not None
        step = dataclasses.replace(step, exclusive=step.exclusive and counted)
    components = (step, *parsed.components[1:])
    srun = Srun(agent, job, channel, request, components, () if told else tuple(parsed.warnings))
    if step.verbose:
        srun.note(*verbose.options(parsed.given), verbose.job(job.job_id, job.launch.shares))
    srun.begin()


class _Stream:
    """Where the tasks' stdout or stderr goes on srun's side: the terminal, a file, or nowhere."""

    def __init__(self, target: str, kind: bytes) -> None:
        self.node_pattern = ""  # the nodes open the files themselves
        self.rank: Optional[int] = None  # only this task's output
        self.path = ""
        self.kind = kind
        self.fd = -1
        self.null = False
        if target.startswith(("all", "-")) or not target:
            return
        if target.lower() == "none":
            self.null = True
        elif target.isdigit():
            self.rank = int(target)
        elif output.is_per_task(target):
            self.node_pattern = target
        else:
            self.path = target


class _Files:
    """Where the output of the tasks of one component of the command line goes."""

    def __init__(self, spec: StepSpec) -> None:
        self.stdout = _Stream(spec.job.output or "", wire.STDOUT)
        self.stderr = _Stream(spec.job.error or "", wire.STDERR) if spec.job.error else None

    def target(self, stream: int) -> _Stream:
        """Where bytes of OUT or ERR go. With -o and no -e stderr follows stdout."""
        out = self.stdout
        if stream == OUT or (self.stderr is None and (out.path or out.null or out.rank is not None)):
            return out
        return self.stderr or _TERMINAL_ERROR

    def on_nodes(self, folder: str) -> tuple[str, str]:
        """What the nodes are told of stdout and stderr: "stream", "null", "=stdout" or a file of theirs."""
        out, err = self.stdout, self.stderr
        stdout = "null" if out.null else os.path.join(folder, out.node_pattern) if out.node_pattern else "stream"
        if err is not None:
            pattern = os.path.join(folder, err.node_pattern) if err.node_pattern else "stream"
            return stdout, "null" if err.null else pattern
        return stdout, "null" if out.null else "=stdout" if out.node_pattern else "stream"


class BadRequest(Exception):
    """The step cannot be started as it was asked for; the arguments are Slurm's lines."""


def _limits_memory(spec: JobSpec) -> bool:
    return bool(spec.mem_mib or spec.mem_per_cpu_mib or spec.mem_per_gpu_mib)


class Srun:
    """A client's session; watches its StepRun."""

    def __init__(
        self,
        agent: Agent,
        job: Job,
        channel: Channel,
        request: wire.Request,
        components: tuple[StepSpec, ...],
        warnings: tuple[str, ...],
    ) -> None:
        self.agent = agent
        self.job = job
        self.channel = channel
        self.request = request
        self.spec = components[0]  # its options are those of the step as a whole
        self.components = components
        self._files: list[_Files] = []
        self._programs: list[tuple[StepSpec, int]] = []  # each component and its number of tasks
        self.run: Optional[steps.StepRun] = None
        self._waiting = False
        self._told_busy = False
        self._exits: dict[str, dict[int, list[int]]] = {}  # node -> status -> ranks, not yet told
        self._gathering = False
        self._first_exit = 0.0
        self._terminating = False
        self._killed_by_wait = False
        self._signalled = False
        self._interrupted_at = 0.0
        self._lines: dict[tuple[int, int], bytes] = {}
        self._forced_code: Optional[int] = None
        self._timers: list[Timer] = []
        self._raw = False
        self._over = False
        self._stdin_open = True
        # MPI libraries name shared memory by job and step; other engines of this machine have them, too.
        self._world = os.urandom(4).hex()
        self._input = -1
        self._shown = job.launch  # what the tasks are told of the job
        for line in warnings:
            self._say(line + "\n")

    # --- begin
    def begin(self) -> None:
        """Ask for the step; wait for its resources when they are busy."""
        self.channel.on_close = self._client_gone
        self.channel.on_frame = self._from_client
        self.channel.send(wire.HANDLE_SIGNALS)
        self._try()

    def _try(self) -> None:
        self._waiting = False
        job = self.job
        if self._over:
            return
        if job.ended or job.ending or job.cause:
            self._fail(
                "srun: error: Unable to create step for job %d: Job/step already completing or completed\n"
                % job.job_id
            )
            return
        try:
            launches, shape = self._choose()
            self._shown = (
                launches[-1]
                if len(launches) == 1
                else dataclasses.replace(
                    launches[-1], shares=[share for part in launches for share in part.shares]
                )
            )
        except choice.StepRefused as error:
            for note in error.notes:
                self._say("srun: error: %s\n" % note)
            start = "" if error.plain else "Unable to create step for job %d: " % job.job_id
            self._fail("srun: error: %s%s\n" % (start, error))
            return
        except choice.StepBusy as error:
            if self.spec.immediate_s is not None or self.spec.job.immediate_s is not None:
                self._fail("srun: error: Unable to create step for job %d: %s\n" % (job.job_id, error))
                return
            if not self._told_busy:
                self._told_busy = True
                self._say(
                    "srun: Job %d step creation temporarily disabled, retrying (%s)\n" % (job.job_id, error)
                )
            self._waiting = True
            job.waiting.append(self._try)
            return
        if self.spec.pty is not None and not self.request.ttys[0]:
            self._say(
                "srun: error: ioctl(TIOCGWINSZ): Inappropriate ioctl for device\n"
                "srun: error: Not using a pseudo-terminal, disregarding --pty option\n"
            )
        if self._told_busy:
            self._say("srun: Step created for job %d\n" % job.job_id)
        try:
            self._start(shape)
        except BadRequest as error:
            self._fail("".join("srun: error: %s\n" % line for line in error.args))
        except OSError as error:
            self._fail(
                "srun: error: Task launch for StepId=%d.%d failed on node: %s\n"
                % (job.job_id, job.next_step - 1, error.strerror or error)
            )

    def _choose(self) -> tuple[list[Launch], choice.Shape]:
        """(the components of the job, what the step gets of them). Raises StepRefused, StepBusy."""
        job, many = self.job, len(self.components) > 1
        launches: list[Launch] = []
        shapes: list[choice.Shape] = []
        self._programs = []
        for index, step in enumerate(self.components):
            if many and not job.launch.het:
                launches, parts = [job.launch], [self._apart(step, shapes)]
            else:
                # Without --het-group the components of the command line are those of the job, one by one.
                parts = choice.het_launches(job.launch, step.het_group or (str(index) if many else None))
                launches += parts
            for part in parts:
                shapes.append(choice.choose(job, self._own(step, part), part))
                self._programs.append((step, sum(map(len, shapes[-1].ranks))))
        return launches, choice.merge(shapes)

    def _apart(self, step: StepSpec, before: list[choice.Shape]) -> Launch:
        """The nodes of a plain job that earlier components of the command line have left."""
        launch = self.job.launch
        taken = {share.name for shape in before for share in shape.shares}
        left = [share for share in launch.shares if share.name not in taken]
        wanted = (step.job.nodes_min if {"nodes", "nodes_min"} & set(step.typed) else None) or 1
        if wanted > len(left):
            raise choice.StepRefused(
                "Allocation failure of %d nodes: job size of %d, already allocated %d nodes to previous components."
                % (wanted, len(launch.shares), len(taken)),
                plain=True,
            )
        return dataclasses.replace(launch, shares=left)

    def _own(self, step: StepSpec, launch: Launch) -> StepSpec:
        """The step as one component sees it: sizes that stand in srun's environment are the leader's."""
        if launch is self.job.launch:
            return step
        typed, spec = step.typed, step.job
        if launch.job_id == self.job.job_id and not self.job.launch.het:
            # Nodes of a plain job: one unless more are asked for.
            if "nodes_min" not in typed and "nodes" not in typed:
                spec = spec.evolve(nodes_min=1, nodes_max=1)
            if "ntasks" not in typed:
                spec = spec.evolve(ntasks=None)
            return dataclasses.replace(step, job=spec)
        if "nodes" not in typed and "nodes_min" not in typed:
            spec = spec.evolve(nodes_min=None, nodes_max=None)
        if "ntasks" not in typed:
            spec = spec.evolve(ntasks=launch.ntasks)
        own = {name: getattr(launch.spec, name) for name in _PER_COMPONENT if name not in typed}
        return dataclasses.replace(step, job=spec.evolve(**own))

    def _start(self, shape: choice.Shape) -> None:
        job, spec, request = self.job, self.spec, self.request
        launch = job.launch
        ntasks = sum(map(len, shape.ranks))
        self.ntasks = ntasks
        self._width = len(str(ntasks - 1))
        argvs = [argv for step, count in self._programs for argv in self._argvs(step, count)]
        self._check_mpi()
        directory = os.path.join(request.cwd, spec.job.chdir) if spec.job.chdir else request.cwd
        # Each component of the command line has files and an environment of its own.
        self._files = [_Files(step) for step, _ in self._programs]
        self._component = [index for index, (_, count) in enumerate(self._programs) for _ in range(count)]
        step_id = str(job.next_step)
        self._names: dict[str, Any] = {
            "job_id": job.job_id,
            "array_job_id": launch.array_job_id,
            "array_task_id": launch.array_task_id,
            "user": launch.user,
            "job_name": spec.job.job_name or launch.name,
            "restarts": launch.restart_count,
        }
        opened: dict[str, int] = {}
        for files in self._files:
            for stream in (files.stdout, files.stderr):
                if stream is not None and stream.path and not self._open(stream, step_id, opened):
                    return
        stdin = self._stdin_plan()
        self._check_binding(shape, step_id)
        job.next_step += 1
        record = self._record(step_id, shape, ntasks, argvs)
        run = self.run = steps.StepRun(job, record, spec, shape)
        run.argv0 = argvs[0][0]
        run.watchers.append(self)
        job.steps[step_id] = run
        commons = [self._common_environment(step_id, shape, step.job.export) for step, _ in self._programs]
        common = commons[0]
        plans = [
            self._plan(index, shape, argvs, commons[self._component[ranks[0]]], directory, stdin, step_id)
            for index, ranks in enumerate(shape.ranks)
        ]
        self.channel.on_drain = lambda: run.resume(self)
        run.on_stdin = self._grant
        self._aside = aside.Aside(self.channel, self._say, common, [spec.argv[0], *spec.argv[1:]])

        def begin_tasks() -> None:
            if spec.prolog is None or not self._may_start():
                self._launch(run, plans, stdin[0])
            else:
                self._aside.run("prolog", spec.prolog, prolog_over)

        def prolog_over(code: int) -> None:
            if code == 0:
                self._launch(run, plans, stdin[0])
                return
            self._say(
                "srun: error: srun prolog failed rc = %d. Aborting step.\n"
                "srun: launch/slurm: launch_p_step_launch: StepId=%d.%s aborted before step completely launched.\n"
                % (code, job.job_id, step_id)
            )
            self._never_started()

        if spec.bcast is not None and not spec.multi_prog:
            self._broadcast(plans, begin_tasks)
        else:
            begin_tasks()

    def _may_start(self) -> bool:
        return not (self._over or self.job.cause or self.job.ended or (self.run is not None and self.run.cause))

    def _never_started(self) -> None:
        """The step ends without a task; nothing of it runs anywhere."""
        assert self.run is not None
        self.run.abandon()
        if not self._over:
            self._fail("")

    def _launch(self, run: steps.StepRun, plans: list[Plan], stdin: str) -> None:
        """Start the tasks on all nodes."""
        if not self._may_start():
            self._never_started()
            return
        try:
            run.start(plans)
        except OSError as error:
            self._say(
                "srun: error: Task launch for StepId=%d.%s failed on node: %s\n"
                % (self.job.job_id, run.step_id, error.strerror or error)
            )
            self._never_started()
            return
        self.note(*verbose.launching(self._step_name, run.shape.shares, run.shape.ranks))
        if self.terminal:
            self._raw = True
            self.channel.send(wire.TTY, b"1")
        if stdin == "stream":
            self._grant(STDIN_WINDOW)
        limit = self.spec.job.time_limit_min
        if limit is not None and limit not in (0, INFINITE):
            self._timers.append(self.agent.loop.after(limit * 60, self._out_of_time))

    def _broadcast(self, plans: list[Plan], done: Callable[[], None]) -> None:
        """--bcast: the program is copied to every node, and run from there."""
        spec, run = self.spec, self.run
        assert run is not None and spec.bcast is not None
        source = processes.find_program(run.argv0, dict(self.request.env))
        source = os.path.join(self.request.cwd, source)
        if not (os.path.isfile(source) and os.access(source, os.X_OK)):
            self._say("srun: fatal: Can not execute %s\n" % run.argv0)
            self._never_started()
            return
        # Only an absolute path is taken as one; a folder gets a file of this name.
        place = spec.bcast if spec.bcast.startswith("/") else self.request.cwd + "/"
        name = "slurm_bcast_%d.%s" % (self.job.job_id, run.step_id)

        def target(node: str) -> str:
            return place + "%s_%s" % (name, node) if place.endswith("/") else place

        def copied(code: int) -> None:
            if code:
                self._say("srun: fatal: Failed to broadcast '%s'. Step launch aborted.\n" % source)
                self._never_started()
                return
            for plan in plans:
                path = target(plan.node)
                plan.argv = [[path, *argv[1:]] for argv in plan.argv]
                if spec.send_libs == "yes":
                    before = plan.environment.get("LD_LIBRARY_PATH")
                    folder = path + "_libs" + (":" + before if before else "")
                    plan.environment = {**plan.environment, "LD_LIBRARY_PATH": folder}
            done()

        def found(libraries: list[str]) -> None:
            shares = run.shape.shares
            sbcast.copy_all(
                self.agent, shares, source, target, libraries, lambda text: self._say("srun: " + text), copied
            )

        if spec.send_libs == "yes":
            sbcast.find_libraries(self.agent, source, spec.bcast_exclude, found)
        else:
            found([])

    def _argvs(self, step: StepSpec, ntasks: int) -> list[list[str]]:
        argv = list(step.argv)
        if not step.multi_prog:
            if argv[0].startswith("."):
                # srun makes such names absolute before it sends them (search_path).
                argv[0] = "%s/%s" % (self.request.cwd, argv[0])
            return [argv] * ntasks
        path = os.path.join(self.request.cwd, argv[0])
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError:
            raise BadRequest("Could not open multi_prog config file %s" % argv[0]) from None
        from ..language import multiprog

        try:
            programs = multiprog.parse(text)
        except multiprog.MultiProgError as error:
            line = "Line %d of configuration file %s invalid" % (error.pos, argv[0])
            raise BadRequest(*([error.message] if error.message else []), line) from None
        missing = programs.missing(ntasks)
        if missing is not None:
            raise BadRequest("Configuration file %s invalid, no record for task id %d" % (argv[0], missing))
        return [programs.argv(rank) or [] for rank in range(ntasks)]

    def _open(self, stream: _Stream, step_id: str, opened: dict[str, int]) -> bool:
        """Open a file of ours; one name is opened once. ``opened``: name -> descriptor."""
        facts = output.NameFacts(step_id=step_id, node=self.job.node, node_id=0, task_id=0, **self._names)
        name = os.path.join(self.request.cwd, output.expand(stream.path, facts))
        if name in opened:
            stream.fd = opened[name]
            return True
        previous = os.umask(self.request.umask)
        try:
            stream.fd = opened[name] = output.open_output(name, self.spec.job.open_mode)
        except OSError as error:
            what = "stdout" if stream.kind == wire.STDOUT else "stderr"
            self._fail("srun: error: Could not open %s file: %s\n" % (what, error.strerror))
            return False
        finally:
            os.umask(previous)
        return True

    @property
    def terminal(self) -> bool:
        """True for --pty, where the caller has a terminal."""
        return self.spec.pty is not None and self.request.ttys[0]

    def _stdin_plan(self) -> tuple[str, Optional[int]]:
        """(what the tasks read, the only rank that reads it or None)."""
        text = self.spec.job.input
        if self.terminal:
            return "stream", 0
        if not text or text.startswith(("all", "-")):
            return "stream", None
        if text.lower() == "none":
            return "null", None
        if text.isdigit():
            return "stream", int(text)
        if output.is_per_task(text):
            return text, None
        # A file for all: srun reads it and sends it to the tasks.
        try:
            name = output.expand(
                text, output.NameFacts(step_id="0", node=self.job.node, node_id=0, task_id=0, **self._names)
            )
            self._input = output.open_input(os.path.join(self.request.cwd, name))
        except OSError as error:
            raise BadRequest("Could not open stdin file: %s" % error.strerror) from None
        return "stream", None

    def _record(self, step_id: str, shape: choice.Shape, ntasks: int, argvs: list[list[str]]) -> Step:
        spec = self.spec
        name = spec.job.job_name if "job_name" in spec.typed else None
        return Step(
            job_id=self.job.job_id,
            step_id=step_id,
            name=name or os.path.basename(argvs[0][0]),
            nodes=tuple(share.name for share in shape.shares),
            ntasks=ntasks,
            cpus=sum(map(len, shape.cpus)),
            memory_mib=sum(shape.memory_mib),
            gres="gres:gpu:%d" % sum(map(len, shape.gpus)) if any(shape.gpus) else "",
            tasks_per_node=tuple(map(len, shape.ranks)),
            distribution=shape.distribution.capitalize(),
            start_time=time.time(),
            time_limit_min=spec.job.time_limit_min,
            submit_line=" ".join(["srun", *self.request.args]),
            srun_host=self.job.launch.submit_host,
            srun_pid=self.request.pid,
            container=spec.job.container or "",
        )

    def _common_environment(self, step_id: str, shape: choice.Shape, export: Optional[str]) -> dict[str, str]:
        spec, request = self.spec, self.request
        # The launchers are scripts of a plain sh, which passes no functions on: those of the job (module, ml, and
        # what the user exported) are put back, as Slurm's srun has them.
        functions = {name: text for name, text in self.job.launch.environment.items() if name.startswith("BASH_FUNC_")}
        # SRUN_DEBUG is srun's own variable: --export decides whether the tasks have it.
        env = exported({"SRUN_DEBUG": "3", **functions, **request.env}, export)
        env.pop(ALLOCATED_VARIABLE, None)
        env.update(job_of_task_environment(self._shown))
        env.update(
            step_environment(
                step_id,
                [share.name for share in shape.shares],
                shape.ranks,
                distribution=shape.distribution,
                plane_size=shape.plane_size,
                umask=request.umask,
                port=request.pid % 20000 + 40000,
            )
        )
        if request.env.get(ALLOCATED_VARIABLE) == "1" and not (spec.job.distribution or _limits_memory(spec.job)):
            # An srun that makes its own job leaves the layout to the controller, unless told --mem: launch.c.
            del env["SLURM_DISTRIBUTION"]
        if spec.job.job_name and "job_name" in spec.typed:
            env["SLURM_JOB_NAME"] = spec.job.job_name
        if spec.job.cpus_per_task:
            env["SLURM_CPUS_PER_TASK"] = str(spec.job.cpus_per_task)
        if spec.label:
            env["SLURM_LABELIO"] = "1"
        if devices.bind_text(spec.job):
            env["SLURMD_TRES_BIND"] = "gres/gpu:%s" % devices.bind_text(spec.job)
        if self.terminal and request.winsize:
            env["SLURM_PTY_WIN_ROW"], env["SLURM_PTY_WIN_COL"] = map(str, request.winsize)
        env.update(binding.environment(spec.job))
        for name in ("SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE"):
            env.pop(name, None)
        if not any(shape.gpus) and any(gpu_indices(share.gres) for share in shape.shares):
            for name in VISIBLE:  # the job's GPUs, which the step did not get
                env.pop(name, None)
        mpi = spec.mpi or spec.job.mpi
        if mpi:
            env["SLURM_MPI_TYPE"] = mpi
        return env

    def _plan(
        self,
        index: int,
        shape: choice.Shape,
        argvs: list[list[str]],
        common: dict[str, str],
        directory: str,
        stdin: tuple[str, Optional[int]],
        step_id: str,
    ) -> Plan:
        spec, launch = self.spec, self.job.launch
        share, ranks = shape.shares[index], shape.ranks[index]
        task_env = []
        for local in range(len(ranks)):
            env = task_environment(share.name, index, ranks, local, len(shape.cpus[index]))
            if local == 0 and "TMPDIR" not in common:
                env["TMPDIR"] = "/tmp"  # Of tasks, only the first one of a node is given it: slurmstepd's task.c.
            gpus = shape.gpus[index]
            seen, complaint = devices.visible(devices.bind_text(spec.job), gpus, local, len(ranks))
            if complaint:
                self._say("slurmstepd-%s: error: %s\n" % (share.name, complaint))
            env.update(gpu_environment(gpus, "SLURM_STEP_GPUS", seen))
            task_env.append(env)
        stdout, stderr = self._files[self._component[ranks[0]]].on_nodes(self.request.cwd)
        prologs = [[SITE, launch.task_prolog or ""], [USER, spec.task_prolog or ""]]
        epilogs = [[USER, spec.task_epilog or ""], [SITE, launch.task_epilog or ""]]
        return Plan(
            job_id=self.job.job_id,
            step_id=step_id,
            node=share.name,
            node_id=index,
            ranks=list(ranks),
            argv=[argvs[rank] for rank in ranks],
            environment=common,
            task_environment=task_env,
            directory=directory,
            umask=self.request.umask,
            stdin=stdin[0] if stdin[0] in ("stream", "null") else os.path.join(self.request.cwd, stdin[0]),
            stdin_rank=stdin[1],
            stdout=stdout,
            stderr=stderr,
            open_mode=spec.job.open_mode,
            terminal=list(self.request.winsize or (24, 80)) if self.terminal else None,
            unbuffered=spec.unbuffered or self.terminal,
            rlimits={k: list(v) for k, v in launch.rlimits.items()},
            task_prologs=[script for script in prologs if script[1]],
            task_epilogs=[script for script in epilogs if script[1]],
            names=self._names,
            head=launch.shares[0].address,
            mpi=self._mpi_plan(shape, step_id),
            bind=self._bind(shape, index),
        )

    def _bind(self, shape: choice.Shape, index: int) -> Optional[dict[str, Any]]:
        """How tasks are bound on a node. Raises BadRequest where it can be seen from here that they cannot."""
        ask = binding.request(self.spec.job)
        if ask is None:
            return None
        share, cpus = shape.shares[index], shape.cpus[index]
        ask.update(count=max(share.cpus_on_node, max(cpus, default=0) + 1), cpus=list(cpus))
        return ask

    def _check_binding(self, shape: choice.Shape, step_id: str) -> None:
        for index, share in enumerate(shape.shares):
            ask = self._bind(shape, index)
            if ask is None or not share.address.startswith(transport.UNIX):
                continue  # another machine knows its own CPUs
            try:
                binding.lay_out(ask, topology.node(ask["count"]), ask["cpus"], len(shape.ranks[index]))
            except binding.BindError as error:
                cannot = "Unable to satisfy cpu bind request"
                raise BadRequest(
                    str(error),
                    "Task launch for StepId=%d.%s failed on node %s: %s"
                    % (self.job.job_id, step_id, share.name, cannot),
                    "Application launch failed: " + cannot,
                ) from None

    def _check_mpi(self) -> None:
        mpi = self.spec.mpi or self.spec.job.mpi or ""
        if mpi.startswith("pmix") and pmix_library.find(self.request.env) is None:
            raise BadRequest(
                " mpi/%s: init: can not load PMIx library" % mpi,
                "Couldn't load specified plugin name for mpi/%s: Plugin init() callback failed" % mpi,
                "MPI: Cannot create context for mpi/%s" % mpi,
                "MPI: Unable to load any plugin",
                "Invalid MPI type '%s', --mpi=list for acceptable types" % mpi,
                "No %s beside an mpirun on PATH, in LD_LIBRARY_PATH or on the system: use --mpi=pmi2 for MPICH, "
                "or mpirun inside the job" % pmix_library.NAME,
            )

    def _mpi_plan(self, shape: choice.Shape, step_id: str) -> Optional[dict[str, Any]]:
        mpi = self.spec.mpi or self.spec.job.mpi
        if mpi in (None, "", "none"):
            return None
        name = "%d.%s.%s" % (self.job.job_id, step_id, self._world)
        if mpi.startswith("pmix"):
            return pmix.plan(name, [share.name for share in shape.shares], shape.ranks)
        return pmi.plan(name, pmi_wire.process_mapping(shape.ranks), self.ntasks)

    # --- from the client
    def _from_client(self, kind: bytes, payload: bytes) -> None:
        if kind == wire.STDIN:
            if self.run is not None:
                self.run.write_stdin(payload)
        elif kind == wire.STDIN_EOF:
            if self.run is not None and self._stdin_open:
                self._stdin_open = False
                self.run.write_stdin(b"")
        elif kind == wire.SIGNAL:
            self._signal(int(payload))
        elif kind == wire.WINSIZE and self.run is not None:
            rows, _, columns = payload.partition(b"x")
            self.run.set_size(int(rows), int(columns))
        elif kind == wire.CHILD_STATUS:
            self._aside.ended(payload)

    def _grant(self, count: int) -> None:
        """The tasks have read so much: more may come, from the file of -i or from the client."""
        if self._input >= 0:
            assert self.run is not None
            data = os.read(self._input, count)
            if not data:
                os.close(self._input)
                self._input = -1
                self._stdin_open = False
            self.run.write_stdin(data)
            return
        if not self._stdin_open:
            return
        self.channel.send(wire.GRANT, b"%d" % count)

    def _client_gone(self) -> None:
        """srun was killed: its tasks die, as under Slurm."""
        self._over = True
        if self.run is not None:
            self.run.resume(self)
            if self in self.run.watchers:
                self.run.watchers.remove(self)
            self.run.kill()
            if not self.run.parts:
                self.run.abandon()
        self._close_files()

    def _signal(self, number: int) -> None:
        run = self.run
        if run is None:
            if number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
                self._forced_code = 128 + number
                self._fail(
                    "srun: Cancelled pending job step with signal %d\nsrun: error: Unable to create step for "
                    "job %d: Job/step already completing or completed\n" % (number, self.job.job_id)
                )
            return
        if number == signal.SIGINT:
            self._interrupt(run)
        elif number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            self._say("srun: forcing job termination\n")
            self._abort(run)
        elif number in _FORWARDED:
            run.signal(number)
        else:
            run.signal(number)

    def _interrupt(self, run: steps.StepRun) -> None:
        now = time.monotonic()
        name = "StepId=%d.%s" % (self.job.job_id, run.step_id)
        if self.spec.quit_on_interrupt or (self._interrupted_at and now - self._interrupted_at <= 1.0):
            if not self._terminating:
                self._say("srun: sending Ctrl-C to %s\n" % name)
                run.signal(signal.SIGINT)
                self._say("srun: forcing job termination\n")
                self._abort(run)
            return
        self._interrupted_at = now
        if self.spec.disable_status:
            self._say("srun: sending Ctrl-C to %s\n" % name)
            run.signal(signal.SIGINT)
            return
        self._say("srun: interrupt (one more within 1 sec to abort)\n")
        self._tell_states(run)

    def _tell_states(self, run: steps.StepRun) -> None:
        name = "StepId=%d.%s" % (self.job.job_id, run.step_id)
        groups: dict[str, list[int]] = {"running": [], "exited": [], "exited abnormally": []}
        for rank in range(self.ntasks):
            status = run.statuses.get(rank)
            groups["running" if status is None else "exited abnormally" if status else "exited"].append(rank)
        for word, ranks in groups.items():
            if ranks:
                self._say("srun: %s %s: %s\n" % (name, _tasks(ranks), word))

    def _abort(self, run: steps.StepRun) -> None:
        run.cancel("CANCELLED", time.time(), signal.SIGKILL)
        self._terminating = True

    # --- from the step
    def output(self, rank: int, stream: int, data: bytes) -> None:
        """A task's bytes, to the terminal or a file."""
        target = self._files[self._component[rank]].target(stream)
        if target.rank is not None and target.rank != rank:
            return
        if self.spec.label:
            data = self._labelled(rank, stream, data)
        if target.fd >= 0:
            try:
                _write_all(target.fd, data)
            except OSError as error:
                self._say("srun: error: Could not write output: %s\n" % error.strerror)
                self._give_up(target.fd)
        elif not target.null:
            self.channel.send(target.kind, data)
            if self.channel.full and self.run is not None:
                self.run.pause(self)

    def _give_up(self, fd: int) -> None:
        """A file that cannot be written is closed; what goes to it is dropped."""
        for files in self._files:
            for stream in (files.stdout, files.stderr):
                if stream is not None and stream.fd == fd:
                    stream.fd, stream.null = -1, True
        os.close(fd)

    def _labelled(self, rank: int, stream: int, data: bytes) -> bytes:
        label = b"%*d: " % (self._width, rank)
        lines = data.split(b"\n")
        if lines[-1] == b"":
            lines.pop()
        return b"".join(label + line + b"\n" for line in lines)

    def cancelled(self, line: str, cause: str) -> None:
        """The step is ended from outside."""
        if self.run is not None and not self.run.parts:
            self._aside.signal(signal.SIGTERM)
        if not self._terminating and not self._signalled:
            self._signalled = True
            self._say(
                "srun: Job step aborted: Waiting up to %d seconds for job step to finish.\n"
                % (self.job.launch.kill_wait_s + _ABORT_MARGIN_S)
            )
        self._say(line)

    def exited(self, node: str, rank: int, status: int) -> None:
        """A task has ended: tell it when it went wrong, and apply -K and -W."""
        run = self.run
        if run is None:
            return
        if status or self.spec.verbose:
            self._exits.setdefault(node, {}).setdefault(status, []).append(rank)
            if not self._gathering:
                self._gathering = True
                self.agent.loop.after(_GATHER_S, self._tell_exits)
            if status and self._kills_on_bad_exit() and not self._terminating and len(run.statuses) < self.ntasks:
                self._tell_exits()
                self._terminate_rest(run)
        if not self._first_exit and len(run.statuses) < self.ntasks:
            self._first_exit = time.monotonic()
            wait = self.spec.wait_s
            if wait:
                self._timers.append(self.agent.loop.after(wait, self._waited))

    def _kills_on_bad_exit(self) -> bool:
        value = self.spec.kill_on_bad_exit
        if value is None:
            value = self.spec.job.kill_on_bad_exit
        return bool(value)

    def _terminate_rest(self, run: steps.StepRun) -> None:
        self._terminating = True
        self._say(
            "srun: launch/slurm: _step_signal: Terminating StepId=%d.%s\n" % (self.job.job_id, run.step_id)
        )
        run.cancel("CANCELLED", time.time())
        self._timers.append(self.agent.loop.after(self.job.launch.kill_wait_s, run.kill))

    def _waited(self) -> None:
        run = self.run
        if run is None or self._over or len(run.statuses) >= self.ntasks:
            return
        self._say("srun: First task exited %ds ago\n" % (self.spec.wait_s or 0))
        self._tell_states(run)
        self._terminating = self._killed_by_wait = True
        self._say(
            "srun: launch/slurm: _step_signal: Terminating StepId=%d.%s\n" % (self.job.job_id, run.step_id)
        )
        run.cancel("CANCELLED", time.time(), signal.SIGKILL)
        self._say(
            "srun: Job step aborted: Waiting up to %d seconds for job step to finish.\n"
            % (self.job.launch.kill_wait_s + _ABORT_MARGIN_S)
        )

    def _out_of_time(self) -> None:
        if self.run is not None:
            self._terminating = True  # srun waits for its own limit: nothing is said of an abort
            self.run.cancel("TIMEOUT", time.time())
            self._timers.append(self.agent.loop.after(self.job.launch.kill_wait_s, self.run.kill))

    def _tell_exits(self) -> None:
        self._gathering = False
        exits, self._exits = self._exits, {}
        for node in sorted(exits):
            for status, ranks in sorted(exits[node].items(), key=lambda item: min(item[1])):
                tasks = _tasks(sorted(ranks))
                self.note(verbose.finished(self._step_name, len(ranks), status))
                if status == 0:
                    self.note("launch/slurm: _task_finish: %s: %s: Completed" % (node, tasks))
                elif os.WIFSIGNALED(status):
                    core = " (core dumped)" if os.WCOREDUMP(status) else ""
                    self._say(
                        "srun: error: %s: %s: %s%s\n"
                        % (node, tasks, signal.strsignal(os.WTERMSIG(status)), core)
                    )
                else:
                    self._say(
                        "srun: error: %s: %s: Exited with exit code %d\n"
                        % (node, tasks, os.WEXITSTATUS(status))
                    )

    def over(self) -> None:
        """The step is done on all nodes."""
        if self._over:
            return
        self._over = True
        self._tell_exits()
        run = self.run
        assert run is not None
        code, number = steps.worst(run.statuses.values())
        for name in run.failed_nodes:
            self._say("srun: error: Node failure on %s\n" % name)
        forced = number in (signal.SIGKILL, signal.SIGTERM)  # what Slurm itself ends steps with
        if forced and not run.failed_nodes and not self._killed_by_wait and not self._signalled:
            self._say("srun: Force Terminated StepId=%d.%s\n" % (self.job.job_id, run.step_id))
        final = 128 + number if number else code
        if self.spec.epilog is None:
            self._end(final)
        else:
            self._aside.run("epilog", self.spec.epilog, lambda status: self._epilog_over(status, final))

    def _epilog_over(self, status: int, final: int) -> None:
        if status:
            self._say("srun: error: srun epilog failed status=%d\n" % status)
        self._end(final)

    def note(self, *lines: str) -> None:
        """What only -v tells."""
        if self.spec.verbose:
            self._say("".join("srun: %s\n" % line for line in lines))

    @property
    def _step_name(self) -> str:
        return "%d.%s" % (self.job.job_id, self.run.step_id if self.run is not None else "")

    # --- end
    def _say(self, text: str) -> None:
        if text.startswith("srun: ") and not text.startswith("srun: error") and self.spec.quiet:
            return
        if self._raw:
            text = text.replace("\n", "\r\n")  # the caller's terminal does not do it now
        self.channel.send(wire.STDERR, text.encode(errors="surrogateescape"))

    def _fail(self, text: str) -> None:
        self._say(text)
        self._over = True
        self._end(self._forced_code or int(self.request.env.get("SLURM_EXIT_ERROR") or 1))

    def _end(self, code: int) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._waiting and self._try in self.job.waiting:
            self.job.waiting.remove(self._try)
        self._close_files()
        self.channel.on_close = lambda: None
        self.channel.on_drain = lambda: None
        if self._raw:
            self.channel.send(wire.TTY, b"0")
        self.channel.send(wire.EXIT, b"%d" % (code & 255))
        self.channel.close()

    def _close_files(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1
        streams = (stream for files in self._files for stream in (files.stdout, files.stderr))
        for fd in {stream.fd for stream in streams if stream is not None and stream.fd >= 0}:
            os.close(fd)


#: what srun's environment says for the leader alone: another component has its own
_PER_COMPONENT = (
    "cpus_per_task",
    "ntasks_per_node",
    "mem_mib",
    "mem_per_cpu_mib",
    "mem_per_gpu_mib",
    "gpus_per_task",
    "cpus_per_gpu",
)

_TERMINAL_ERROR = _Stream("", wire.STDERR)


def _tasks(ranks: list[int]) -> str:
    """ "task 3" or "tasks 0-1,4"."""
    if len(ranks) == 1:
        return "task %d" % ranks[0]
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return "tasks " + ",".join(str(a) if a == b else "%d-%d" % (a, b) for a, b in runs)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
