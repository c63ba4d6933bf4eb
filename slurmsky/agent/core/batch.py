"""Runs a job's batch script on its first node, with files and container."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Callable, Iterator, Optional

from ...model.states import OOM_SIGNAL, JobState
from ...model.step import Step
from ...protocol.messages import Started
from ..job import file_opening, output_files
from ..job.end_messages import SETUP_FAILED
from ..job.environment import gpu_indices
from ..process import processes, startup_files, topology
from ..process.usage_series import UsageSeries, merge_into

if TYPE_CHECKING:
    import resource

    from ..container.task_container import Container
    from ..process.memory_groups import MemoryGroup
    from .head_job import HeadJob

#: stdout, stderr and stdin
_ALL_FILES = 3
_NO_CONTAINER = "Failed to invoke spank plugin stack"


class _NoContainer(Exception):
    """The script's container could not be created. The script's stderr has the reason."""


class _NotOpened(OSError):
    """A file of the script cannot be opened; ``use``: its purpose."""

    use = ""


class BatchScript:
    """Runs the script, and reports its end to the job (``batch_ended``).

    ``fault``: the reason why the script was not started. It becomes the job's SystemComment, where users read it
    without an output file.
    """

    def __init__(self, job: HeadJob, now: float) -> None:
        self._job = job
        self._agent = job.agent
        self._launch = job.launch
        self._node = job.node
        share = job.launch.shares[0]
        gpus = len(gpu_indices(share.gres))
        self.step = Step(
            job_id=job.job_id,
            step_id="batch",
            name="batch",
            nodes=(share.name,),
            ntasks=1,
            cpus=share.cpus,
            memory_mib=share.memory_mib,
            gres="gres/gpu:%d" % gpus if gpus else "",
            tasks_per_node=(1,),
            start_time=now,
        )
        self.pid = 0
        self.over = False
        self._output_path = ""  # path of the file that is being opened, or was opened last
        self._stderr_path = ""
        self._setup_failed = False
        self.fault = ""
        self._exec_fault = processes.ExecFault()
        self._series: Optional[UsageSeries] = None
        self._container: Optional[Container] = None
        self._container_messages: list[str] = []  # messages of the container's creation, for the script's stderr
        self._preparing = False
        self._no_container = False
        self._opening: Optional[file_opening.Opening] = None  # opens files that may block, in a child process
        self._memory: Optional[MemoryGroup] = None  # if the job's memory is limited
        self._on_network = False  # the working folder is on a network file system, which may not respond
        self._files = self._named_files()

    def shell(self) -> list[int]:
        """The pid of the running script's shell; else empty."""
        return [self.pid] if self.pid and not self.over else []

    # --- start
    def start(self) -> None:
        """Run the script, in a container if the job requests it."""
        request = None
        if self._launch.spec.site_options:
            from ..container import task_container

            request = task_container.batch_request(self._launch)
        if request is None:
            self._start()
            return

        def ready() -> None:
            if self._preparing:
                self._preparing = False
                self._start()

        def failed(lines: tuple[str, ...]) -> None:
            messages.extend("slurmstepd-%s: error: %s" % (self._node, line) for line in (*lines, _NO_CONTAINER))
            self._no_container = True
            shortened = (line.replace("pyxis:", "").strip() for line in lines or (_NO_CONTAINER,))
            self.fault = "its container cannot be made: %s" % "; ".join(shortened)
            ready()

        messages = self._container_messages
        self._preparing = True
        self._container = task_container.Container(self._agent.loop, request, self._agent.images, messages.append)
        self._container.prepare(self._launch.environment, ready, failed)

    def abandon_start(self) -> None:
        """Abandon an unfinished start, because the job ends.

        The start waits for the container or for a file to open.
        """
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
            self._start()
        if self._preparing and self._container is not None:
            self._preparing = False
            self._container.close()
            self._start()

    def _start(self) -> None:
        """Open the files and start the script."""
        names = [path for _, path, _ in self._files]
        self._on_network = file_opening.folder_on_network(self._launch.work_dir)
        if self._job.cause or not (self._on_network or any(map(file_opening.may_block, names))):
            self._start_with_files(self._open_files)
            return

        def opened(results: list[file_opening.Result]) -> None:
            check_result, self._opening = child.check_result, None
            self._start_with_files(lambda: (self._descriptors(results), check_result))

        folder = self._launch.work_dir
        child = self._opening = file_opening.Opening(
            self._agent.loop,
            [opener for _, _, opener in self._files],
            opened,
            self._launch.umask,
            check=lambda: processes.chdir_fault(folder),
            stop_at_error=True,
        )

    def _descriptors(self, results: list[file_opening.Result]) -> list[int]:
        """Return the descriptors that the child process opened. Raises _NotOpened for a file that it could not open."""
        found = [one for one in results if isinstance(one, int)]
        for index, one in enumerate(results):
            if isinstance(one, OSError):
                file_opening.close(found)
                with self._as_not_opened(index):
                    raise OSError(one.errno, one.strerror, self._output_path)
        return found

    def _start_with_files(self, open_files: Callable[[], tuple[list[int], str]]) -> None:
        """Start the script. ``open_files`` returns the files' descriptors and the working folder's fault."""
        cause = self._job.cause
        try:
            if cause:
                raise OSError("ended (%s) before its output could be opened" % cause)
            self.pid = self._spawn(open_files)
        except _NoContainer:
            self._report_started()
            self._ended(1 << 8, None)
            return
        except OSError as error:
            self._setup_failed = not cause
            if self._setup_failed:
                self.fault = _reason(error, self._launch.work_dir)
            self._note("cannot start: %s" % (self.fault or error))
            self._report_started()
            self._ended(SETUP_FAILED if self._setup_failed else signal.SIGTERM, None)
            return
        self._report_started()
        self._agent.orphans.add_session(self.pid, (self._job.job_id, "batch"))
        self._series = self._agent.sampler.open_series(gpu_indices(self._launch.shares[0].gres))
        self._agent.sampler.watch(self.pid, self._series)
        self._agent.loop.child(self.pid, self._ended)

    def _report_started(self) -> None:
        self._job.emit(Started(time=self.step.start_time, pid=self.pid, step=self.step))

    def _spawn(self, open_files: Callable[[], tuple[list[int], str]]) -> int:
        launch = self._launch
        script = self._script()
        opened: list[int] = []
        try:
            opened, fault = open_files()
            stdout, stdin = opened[0], opened[-1]
            stderr = opened[1] if len(opened) == _ALL_FILES else stdout
            self._stderr_path = self._files[-2][1]
            if fault:
                # slurmstepd tries chdir before the task does, and prints its own error.
                os.write(stderr, ("slurmstepd-%s: error: %s\n" % (self._node, fault)).encode(errors="surrogateescape"))
            for line in self._container_messages:
                os.write(stderr, (line + "\n").encode(errors="surrogateescape"))
            if self._no_container:
                raise _NoContainer
            env = self._agent.batch_environment(launch)
            self._memory = self._agent.memory.open(
                launch.job_id,
                self.step.step_id,
                launch.memory_limit_mib(launch.shares[0]),
                together=bool(launch.spec.oom_kill_step),
            )
            command = startup_files.command(script, launch.argv, self._agent.bin_folder, env.get("PATH", ""))
            return processes.spawn(
                processes.Process(
                    node=self._node,
                    argv=command or [script, *launch.argv],
                    executable=command[0] if command else script,
                    before_exec=self._container.enter if self._container is not None else None,
                    environment=env,
                    directory=launch.work_dir,
                    umask=launch.umask,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    rlimits=launch.rlimits,
                    fault=self._exec_fault,
                    in_child_only=self._on_network,
                    group=self._memory.folder if self._memory is not None else "",
                    cpus=topology.allocated(launch),
                )
            )
        finally:
            for fd in opened:
                os.close(fd)

    def _named_files(self) -> list[tuple[str, str, file_opening.Opener]]:
        """Purpose, path and opener of each file. The files are stdout, stderr if it is another file, and stdin."""
        launch, node = self._launch, self._node

        def writes(use: str, pattern: str) -> tuple[str, str, file_opening.Opener]:
            path = output_files.expand_node(pattern, node)
            return use, path, lambda: output_files.open_output(path, launch.spec.open_mode)

        stdin = output_files.expand_node(launch.stdin, node)
        found = [writes("output file", launch.stdout)]
        if launch.stderr and launch.stderr != launch.stdout:
            found.append(writes("error file", launch.stderr))
        return [*found, ("input file", stdin, lambda: output_files.open_input(stdin))]

    def _open_files(self) -> tuple[list[int], str]:
        """Return descriptors of ``_files``, and the working folder's fault."""
        opened: list[int] = []
        previous = os.umask(self._launch.umask)
        try:
            for index, (_, _, opener) in enumerate(self._files):
                with self._as_not_opened(index):
                    opened.append(opener())
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        finally:
            os.umask(previous)
        return opened, processes.chdir_fault(self._launch.work_dir)

    @contextlib.contextmanager
    def _as_not_opened(self, index: int) -> Iterator[None]:
        """Convert an OSError into _NotOpened with the file's purpose."""
        use, self._output_path, _ = self._files[index]
        if index:
            self._stderr_path = self._files[min(index - 1, len(self._files) - 2)][1]
        try:
            yield
        except OSError as error:
            named = _NotOpened(error.errno, error.strerror, error.filename)
            named.use = use
            raise named from error

    def _script(self) -> str:
        """Return the path to execute. A spooled script is run in place: a copy takes longer than a short job."""
        source = self._launch.script
        assert source is not None
        folder, name = os.path.split(source)
        if name == "slurm_script":
            if not os.path.exists(source):
                # A script may delete its own file, which other elements of the array and the next run need.
                os.link(os.path.join(folder, "script"), source)
            return source
        os.makedirs(self._launch.spool, mode=0o700, exist_ok=True)
        script = os.path.join(self._launch.spool, "slurm_script")
        if source != script:
            _place_script(source, script)
        return script

    def memory_group_members(self) -> list[int]:
        """Processes of the script's memory group."""
        return self._memory.members() if self._memory is not None else []

    def close(self) -> None:
        """Remove the script's memory group after all processes have ended."""
        if self._memory is not None:
            self._memory.close()

    # --- messages
    def complain(self, text: str) -> None:
        """Append an error of slurmstepd to the script's stderr file."""
        if self._stderr_path:
            line = processes.error_line(self._job.node, text)
            file_opening.append(self._agent.loop, self._stderr_path, line)

    def _note(self, text: str) -> None:
        print("job %d: %s" % (self._job.job_id, text), file=sys.stderr, flush=True)

    # --- end
    def _ended(self, status: int, usage: Optional[resource.struct_rusage]) -> None:
        self.over = True
        unexecuted = self._exec_fault.read_error()
        if unexecuted:
            self.fault = "the script cannot be executed: %s" % unexecuted
        if self._container is not None:
            self._container.close()
        step = self.step
        step.end_time = time.time()
        if self._setup_failed or os.WIFSIGNALED(status):
            step.exit_signal = SETUP_FAILED if self._setup_failed else os.WTERMSIG(status)
            step.state = JobState.CANCELLED
        else:
            step.exit_code = os.WEXITSTATUS(status)
            step.state = JobState.FAILED if step.exit_code else JobState.COMPLETED
        exceeded = self._memory.oom_error("%d.batch" % self._job.job_id) if self._memory is not None else ""
        if exceeded:
            self.complain(exceeded)
            step.exit_code, step.exit_signal, step.state = 0, OOM_SIGNAL, JobState.OUT_OF_MEMORY
        if usage is not None:
            step.usage = self._agent.sampler.finish(self.pid, usage, self._node)
            if self._series is not None:
                merge_into(step.usage, [self._agent.sampler.close(self._series)])
        self._job.batch_ended()


def _reason(error: OSError, work_dir: str) -> str:
    """Return why the script was not started, in one line.

    >>> _reason(FileNotFoundError(2, "No such file or directory", "/no/such"), "/no")
    'the script cannot be started: /no/such: No such file or directory'
    """
    where = "%s: " % error.filename if error.filename else ""
    cause = "%s%s" % (where, error.strerror or error)
    if not isinstance(error, _NotOpened):
        return "the script cannot be started: %s" % cause
    folder = os.path.dirname(str(error.filename))
    if error.errno == errno.ENOENT and folder and not os.path.isdir(folder):
        which = "working folder" if folder == work_dir else "folder"
        return "its %s cannot be opened: there is no %s %s" % (error.use, which, folder)
    return "its %s cannot be opened: %s" % (error.use, cause)


def _place_script(source: str, target: str) -> None:
    """Create the script's file at the path of ``$0``, mode 0700; a hard link if possible, else a copy."""
    try:
        os.unlink(target)
    except FileNotFoundError:
        pass
    try:
        if os.stat(source).st_mode & 0o777 == 0o700:
            os.link(source, target)
            return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
    with open(source, "rb") as script, open(target, "wb") as copy:
        copy.write(script.read())
    os.chmod(target, 0o700)
