"""Helper processes of the agent.

They do long work, use threads, or clean up after the agent's death. The helper is a fork without exec: it starts within
a few milliseconds, with all modules loaded. It ends when its work is done, or when the agent closes the socket between
them or exits.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Callable, NoReturn, Type, TypeVar

from ...protocol import wire
from ...protocol.message_codec import Message
from ..net.channel import Channel

if TYPE_CHECKING:
    from ..net.event_loop import Loop

M = TypeVar("M", bound=Message)
#: descriptor of the helper's end of the socket; higher descriptors are closed
_SOCKET = 3


class Helper:
    """The agent's side of a helper.

    ``on_message`` is called with each message, which is of ``family``; ``ended`` after the helper's end.
    """

    def __init__(
        self,
        loop: Loop,
        serve: Callable[[socket.socket], None],
        family: Type[M],
        on_message: Callable[[M], None],
        ended: Callable[[], None],
    ) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            _become(theirs, serve)
        theirs.close()
        self._ended = ended
        self._channel = Channel(loop, ours)
        self._channel.on_frame = lambda _kind, payload: on_message(family.decode(json.loads(payload)))
        loop.child(pid, lambda _status, _usage: self._gone())

    def _gone(self) -> None:
        self._channel.drain()  # its last messages may arrive in the same loop iteration as SIGCHLD
        self._ended()

    def send(self, message: Message) -> None:
        """Send a message to the helper; no effect after its end."""
        self._channel.send_json(message.encode())

    def close(self) -> None:
        """Close the socket; the helper then cleans up and ends."""
        self._channel.close(at_once=True)


def send_to_agent(sock: socket.socket, message: Message) -> None:
    """Send a message from the helper."""
    sock.sendall(wire.encode(wire.JSON, json.dumps(message.encode(), separators=(",", ":")).encode()))


def _become(sock: socket.socket, serve: Callable[[socket.socket], None]) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if sock.fileno() != _SOCKET:
            os.dup2(sock.fileno(), _SOCKET, inheritable=False)
        for other in map(int, os.listdir("/proc/self/fd")):
            if other > _SOCKET:
                try:
                    os.close(other)
                except OSError:
                    continue  # the descriptor of the listing, which is closed already
        serve(socket.socket(fileno=_SOCKET))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)
