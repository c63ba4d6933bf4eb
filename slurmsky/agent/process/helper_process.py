"""A process of our own beside the agent: for what takes long, needs threads, or must outlive the agent a moment.

It is a fork, not a program: it costs a few milliseconds, and has all modules at hand. It ends when its work is done;
that the agent lets go of the socket between them, or dies, tells it to end.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ..net.channel import Channel

if TYPE_CHECKING:
    from ..net.event_loop import Loop

#: where the helper has its end of the socket, above which it has nothing open
_SOCKET = 3


class Helper:
    """The agent's side. ``heard`` is called with each message of the helper, ``ended`` when it is no more."""

    def __init__(
        self,
        loop: Loop,
        serve: Callable[[socket.socket], None],
        heard: Callable[[dict[str, Any]], None],
        ended: Callable[[], None],
    ) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            _become(theirs, serve)
        theirs.close()
        self._ended = ended
        self._channel = Channel(loop, ours)
        self._channel.on_frame = lambda _kind, payload: heard(json.loads(payload))
        loop.child(pid, lambda _status, _usage: self._gone())

    def _gone(self) -> None:
        self._channel.drain()  # its last words may come in the same round as the news of its end
        self._ended()

    def send(self, message: dict[str, Any]) -> None:
        """Tell it something; nothing happens when it is gone."""
        self._channel.send_json(message)

    def close(self) -> None:
        """Nothing more is wanted of it: it tidies up and ends."""
        self._channel.close(at_once=True)


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
                    continue  # the one that listed them
        serve(socket.socket(fileno=_SOCKET))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)
