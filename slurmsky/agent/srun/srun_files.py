"""Where the bytes of a step come from and go to at srun's end: the terminal, files, nowhere."""

from __future__ import annotations

import os
import stat
from typing import Callable, NamedTuple, Optional, Sequence

from ...model.spec import StepSpec
from ...protocol import wire
from ..job import file_opening, output_files
from ..net.channel import Channel
from ..net.event_loop import READ, WRITE, Loop
from ..steps.step_allocation import BadRequest
from ..steps.step_plan import OUT


class Stream:
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
        elif target.isdecimal():
            self.rank = int(target)
        elif output_files.is_per_task(target):
            self.node_pattern = target
        else:
            self.path = target


class Files:
    """Where the output of the tasks of one component of the command line is written."""

    def __init__(self, spec: StepSpec) -> None:
        self.stdout = Stream(spec.job.output or "", wire.STDOUT)
        self.stderr = Stream(spec.job.error or "", wire.STDERR) if spec.job.error else None

    def target(self, stream: int) -> Stream:
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


_NOT_OPENED = "Could not open %s file: %s"
_TERMINAL_ERROR = Stream("", wire.STDERR)


class Late(NamedTuple):
    """A file whose opening may block: what it is, how it is opened, and who takes its descriptor."""

    what: str
    opener: file_opening.Opener
    take: Callable[[int], None]


class Queue:
    """Output on its way into a FIFO, whose reader may be slow."""

    def __init__(self, loop: Loop, fd: int, on_drain: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._on_drain = on_drain
        self._left = b""

    def write(self, data: bytes) -> bool:
        """Take more bytes; False: no more for now, ``on_drain`` follows. Raises OSError when nobody reads any more."""
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
            self._left = b""  # the next write reports that nobody reads
        if not self._left:
            self._loop.forget(self._fd)
            self._on_drain()

    def drop(self) -> None:
        """Forget what is left."""
        if self._left:
            self._left = b""
            self._loop.forget(self._fd)

    def finish(self) -> None:
        """Leave what is left to a child, which waits for the reader."""
        if self._left:
            fd, left = self._fd, self._left
            self.drop()

            def rest() -> None:
                os.set_blocking(fd, True)
                _write_all(fd, left)

            file_opening.aside(self._loop, rest, 0, fd)


class Outputs:
    """The files of all components, and the terminal. ``component``: of each rank, which one it belongs to."""

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
        #: called when a FIFO that was slow takes output again
        self.on_drain: Callable[[], None] = lambda: None

    def of(self, rank: int) -> Files:
        """The files of a rank's component."""
        return self._files[self._component[rank]]

    def open(self, folder: str, umask: int, mode: Optional[str], facts: output_files.NameFacts) -> list[Late]:
        """Open the files that are srun's to open, each name once; returns those that may block. Raises BadRequest."""
        opened: dict[str, list[Stream]] = {}
        late: list[Late] = []
        for stream in self._streams():
            if not stream.path:
                continue
            name = os.path.join(folder, output_files.expand(stream.path, facts))
            sharing = opened.setdefault(name, [])
            sharing.append(stream)
            if len(sharing) > 1:
                stream.fd = sharing[0].fd
                continue
            what = "stdout" if stream.kind == wire.STDOUT else "stderr"
            if file_opening.may_block(name):
                late.append(Late(what, lambda name=name: output_files.open_output(name, mode), self._taker(sharing)))  # type: ignore[misc]
                continue
            previous = os.umask(umask)
            try:
                stream.fd = output_files.open_output(name, mode)
            except OSError as error:
                raise BadRequest(_NOT_OPENED % (what, error.strerror)) from None
            finally:
                os.umask(previous)
        return late

    def _taker(self, streams: list[Stream]) -> Callable[[int], None]:
        def take(fd: int) -> None:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.set_blocking(fd, False)
                self._queues[fd] = Queue(self._channel.loop, fd, self.on_drain)
            for stream in streams:
                stream.fd = fd

        return take

    def write(self, rank: int, stream: int, data: bytes) -> bool:
        """A task's bytes, to the terminal or a file. False: the terminal's end is slow, no more for now."""
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
                self._give_up(target.fd)
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

    def _give_up(self, fd: int) -> None:
        """A file that cannot be written is closed; what goes to it is dropped."""
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

    def _streams(self) -> list[Stream]:
        pairs = [(files.stdout, files.stderr) for files in self._files]
        return [stream for pair in pairs for stream in pair if stream is not None]


class Input:
    """What the tasks read: srun's own stdin, a file that it opens for them, or something the nodes see to.

    ``source`` is what the nodes are told: "stream", "null" or a name with patterns; ``rank`` the only task that
    reads the stream, or None. Raises BadRequest.
    """

    def __init__(self, text: Optional[str], terminal: bool, folder: str, facts: output_files.NameFacts) -> None:
        self.source = "stream"
        self.rank: Optional[int] = None
        self.fd = -1
        self.late: Optional[Late] = None  # a file whose opening may block
        self._loop: Optional[Loop] = None  # of a FIFO that is waited for
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
            # A file for all: srun reads it and sends it to the tasks.
            name = os.path.join(folder, output_files.expand(text, facts))
            if file_opening.may_block(name):
                self.late = Late("stdin", lambda: output_files.open_input(name), self._take)
                return
            try:
                self.fd = output_files.open_input(name)
            except OSError as error:
                raise BadRequest(_NOT_OPENED % ("stdin", error.strerror)) from None

    def _take(self, fd: int) -> None:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, False)
        self.fd = fd

    def read(self, count: int, loop: Loop, later: Callable[[], None]) -> Optional[bytes]:
        """The next bytes of the file; empty at its end, where it is closed. What cannot be read (a folder) is empty.

        None: a FIFO's writer is slow, ``later`` is called when there is more.
        """
        try:
            data = os.read(self.fd, count)
        except BlockingIOError:
            if self._loop is None:
                self._loop = loop

                def ready(_events: int) -> None:
                    self._wait_no_more()
                    later()

                loop.watch(self.fd, READ, ready)
            return None
        except OSError:
            data = b""
        if not data:
            self.close()
        return data

    def _wait_no_more(self) -> None:
        if self._loop is not None:
            self._loop.forget(self.fd)
            self._loop = None

    def close(self) -> None:
        """Close the file, if there is one."""
        self._wait_no_more()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
