"""Input and output of a step on srun's side."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import Callable, NamedTuple, Optional, Sequence

from ...model.step_spec import StepSpec
from ...protocol import wire
from ..job import file_opening, output_files
from ..net.channel import Channel
from ..net.event_loop import READ, WRITE, Loop
from ..steps.step_allocation import InvalidStep
from ..steps.step_sink import OUT


class TaskStream:
    """Target of the tasks' output: terminal, file, or none."""

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
        elif target.isdecimal():
            self.rank = int(target)
        elif output_files.is_per_task(target):
            self.node_pattern = target
        else:
            self.path = target


class Files:
    """Output targets of the tasks of one component."""

    def __init__(self, spec: StepSpec) -> None:
        self.stdout = TaskStream(spec.job.output or "", wire.STDOUT)
        self.stderr = TaskStream(spec.job.error or "", wire.STDERR) if spec.job.error else None

    def target(self, stream: int) -> TaskStream:
        """Return the target of OUT or ERR. With -o and no -e, stderr is written to stdout's target."""
        out = self.stdout
        if stream == OUT or (self.stderr is None and (out.path or out.null or out.rank is not None)):
            return out
        return self.stderr or _TERMINAL_ERROR

    def on_nodes(self, folder: str) -> tuple[str, str]:
        """stdout and stderr in the nodes' plans. "stream", "null", "=stdout" or a file on the node."""
        out, err = self.stdout, self.stderr
        stdout = "null" if out.null else os.path.join(folder, out.node_pattern) if out.node_pattern else "stream"
        if err is not None:
            pattern = os.path.join(folder, err.node_pattern) if err.node_pattern else "stream"
            return stdout, "null" if err.null else pattern
        return stdout, "null" if out.null else "=stdout" if out.node_pattern else "stream"


_NOT_OPENED = "Could not open %s file: %s"
_TERMINAL_ERROR = TaskStream("", wire.STDERR)


class BlockingFile(NamedTuple):
    """A file whose opening may block. Its name, its opener, and the function that receives its descriptor."""

    what: str
    opener: file_opening.Opener
    take: Callable[[int], None]


class Queue:
    """Buffers output to a FIFO whose reader may be slow."""

    def __init__(self, loop: Loop, fd: int, on_drain: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._on_drain = on_drain
        self._left = b""

    def write(self, data: bytes) -> bool:
        """Write or buffer bytes. Raises OSError without a reader.

        Return False to stop writing until ``on_drain`` is called.
        """
        if self._left:
            self._left += data
        else:
            self._left = data
            self._push()
            if self._left:
                self._loop.watch(self._fd, WRITE, self._ready)
        return not self._left

    def _push(self) -> None:
        try:
            while self._left:
                self._left = self._left[os.write(self._fd, self._left) :]
        except BlockingIOError:
            return

    def _ready(self, _events: int) -> None:
        try:
            self._push()
        except OSError:
            self._left = b""  # the next write reports the missing reader
        if not self._left:
            self._loop.forget(self._fd)
            self._on_drain()

    def drop(self) -> None:
        """Discard the buffered output."""
        if self._left:
            self._left = b""
            self._loop.forget(self._fd)

    def finish(self) -> None:
        """Write the buffered output in a child process, which may block."""
        if self._left:
            fd, left = self._fd, self._left
            self.drop()

            def rest() -> None:
                os.set_blocking(fd, True)
                _write_all(fd, left)

            file_opening.run_in_child(self._loop, rest, 0, fd)


class Outputs:
    """Output files of all components, and the terminal. ``component``: each rank's component."""

    def __init__(
        self, channel: Channel, specs: Sequence[StepSpec], component: Sequence[int], say: Callable[[str], None]
    ) -> None:
        self._channel = channel
        self._say = say
        self._files = [Files(spec) for spec in specs]
        self._component = component
        self._label = specs[0].label
        self._width = len(str(len(component) - 1))
        self._queues: dict[int, Queue] = {}  # of FIFOs
        #: called when a slow FIFO accepts output again
        self.on_drain: Callable[[], None] = lambda: None

    def of(self, rank: int) -> Files:
        """Return the files of a rank's component."""
        return self._files[self._component[rank]]

    def open(
        self, folder: str, umask: int, mode: Optional[str], name_values: output_files.NameValues
    ) -> list[BlockingFile]:
        """Open srun's files, each name once; return those that may block. Raises BadRequest."""
        opened: dict[str, list[TaskStream]] = {}
        blocking: list[BlockingFile] = []
        for stream in self._streams():
            if not stream.path:
                continue
            name = os.path.join(folder, output_files.expand(stream.path, name_values))
            sharing = opened.setdefault(name, [])
            sharing.append(stream)
            if len(sharing) > 1:
                stream.fd = sharing[0].fd
                continue
            what = "stdout" if stream.kind == wire.STDOUT else "stderr"
            if file_opening.may_block(name):
                opener = partial(output_files.open_output, name, mode)
                blocking.append(BlockingFile(what, opener, self._descriptor_setter(sharing)))
                continue
            previous = os.umask(umask)
            try:
                stream.fd = output_files.open_output(name, mode)
            except OSError as error:
                raise InvalidStep(_NOT_OPENED % (what, error.strerror)) from None
            finally:
                os.umask(previous)
        return blocking

    def _descriptor_setter(self, streams: list[TaskStream]) -> Callable[[int], None]:
        def take(fd: int) -> None:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.set_blocking(fd, False)
                self._queues[fd] = Queue(self._channel.loop, fd, self.on_drain)
            for stream in streams:
                stream.fd = fd

        return take

    def write(self, rank: int, stream: int, data: bytes) -> bool:
        """Write a task's bytes to the terminal or a file. Return False if the client is slow, to pause the output."""
        target = self.of(rank).target(stream)
        if target.rank is not None and target.rank != rank:
            return True
        if self._label:
            data = self._labelled(rank, data)
        if target.fd >= 0:
            queue = self._queues.get(target.fd)
            try:
                if queue is not None:
                    return queue.write(data)
                _write_all(target.fd, data)
            except OSError as error:
                self._say("srun: error: Could not write output: %s\n" % error.strerror)
                self._close_failed(target.fd)
        elif not target.null:
            self._channel.send(target.kind, data)
            return not self._channel.full
        return True

    def _labelled(self, rank: int, data: bytes) -> bytes:
        label = b"%*d: " % (self._width, rank)
        lines = data.split(b"\n")
        if lines[-1] == b"":
            lines.pop()
        return b"".join(label + line + b"\n" for line in lines)

    def _close_failed(self, fd: int) -> None:
        """Close a file after a failed write; discard its later output."""
        for stream in self._streams():
            if stream.fd == fd:
                stream.fd, stream.null = -1, True
        queue = self._queues.pop(fd, None)
        if queue is not None:
            queue.drop()
        os.close(fd)

    def close(self) -> None:
        """Close all files."""
        for fd in {stream.fd for stream in self._streams() if stream.fd >= 0}:
            queue = self._queues.pop(fd, None)
            if queue is not None:
                queue.finish()
            os.close(fd)
        for stream in self._streams():
            stream.fd = -1

    def _streams(self) -> list[TaskStream]:
        pairs = [(files.stdout, files.stderr) for files in self._files]
        return [stream for pair in pairs for stream in pair if stream is not None]


class Input:
    """Input of the tasks: stdin, srun's file, or files on nodes.

    ``source``: the input in the nodes' plans: "stream", "null" or a name with patterns; ``rank``: the only task that
    reads the stream, or None. Raises BadRequest.
    """

    def __init__(self, text: Optional[str], terminal: bool, folder: str, name_values: output_files.NameValues) -> None:
        self.source = "stream"
        self.rank: Optional[int] = None
        self.fd = -1
        self.blocking: Optional[BlockingFile] = None  # a file whose opening may block
        self._loop: Optional[Loop] = None  # set while waiting for a FIFO
        if terminal:
            self.rank = 0
        elif not text or text.startswith(("all", "-")):
            pass
        elif text.lower() == "none":
            self.source = "null"
        elif text.isdecimal():
            self.rank = int(text)
        elif output_files.is_per_task(text):
            self.source = os.path.join(folder, text)
        else:
            # One file for all tasks: srun reads the file and sends its content.
            name = os.path.join(folder, output_files.expand(text, name_values))
            if file_opening.may_block(name):
                self.blocking = BlockingFile("stdin", lambda: output_files.open_input(name), self._take)
                return
            try:
                self.fd = output_files.open_input(name)
            except OSError as error:
                raise InvalidStep(_NOT_OPENED % ("stdin", error.strerror)) from None

    def _take(self, fd: int) -> None:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, False)
        self.fd = fd

    def read(self, count: int, loop: Loop, later: Callable[[], None]) -> Optional[bytes]:
        """Read the next bytes; empty at the end.

        The file is closed at its end. An unreadable file (a folder) is empty. None: a FIFO's writer is slow, and
        ``later`` is called when more bytes arrive.
        """
        try:
            data = os.read(self.fd, count)
        except BlockingIOError:
            if self._loop is None:
                self._loop = loop

                def ready(_events: int) -> None:
                    self._stop_waiting()
                    later()

                loop.watch(self.fd, READ, ready)
            return None
        except OSError:
            data = b""
        if not data:
            self.close()
        return data

    def _stop_waiting(self) -> None:
        if self._loop is not None:
            self._loop.forget(self.fd)
            self._loop = None

    def close(self) -> None:
        """Close the file, if there is one."""
        self._stop_waiting()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
