"""``srun --mpi=pmix``: the agent's part of a PMIx server.

The server is in pmix_server.py; there is one for a step on each node.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from typing import TYPE_CHECKING, Callable, Mapping, Optional

from ...protocol.mpi_messages import MpiMessage, ServerFailed, ServerReady, TaskText
from ..process.helper_process import Helper
from . import pmix_library

if TYPE_CHECKING:
    from ...protocol.step_plan import PmixPlan
    from ..net.event_loop import Loop
    from .pmi import Uplink


class PmixNode:
    """Starts the server's process, and relays its messages."""

    def __init__(self, loop: Loop, plan: PmixPlan, node_id: int, env: Mapping[str, str], uplink: Uplink) -> None:
        self._loop = loop
        self._plan = plan
        self._node_id = node_id
        self._env = env
        self._uplink = uplink
        self._variables: dict[int, dict[str, str]] = {}
        self._server: Optional[Helper] = None
        self._folder = ""
        self._ready: Callable[[], None] = lambda: None
        self._failed: Callable[[str], None] = lambda text: None

    def prepare(self, ready: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Call ready() when tasks may be started, or failed(why)."""
        path = pmix_library.find(self._env)
        if path is None:
            failed("mpi/pmix: can not load PMIx library")
            return
        self._ready, self._failed = ready, failed
        self._server = Helper(
            self._loop,
            lambda sock: self._serve(sock, path),
            MpiMessage,
            self._on_server_message,
            lambda: self._fail("mpi/pmix: the PMIx server has ended"),
        )

    def _serve(self, sock: socket.socket, path: str) -> None:
        """Run the server in its process, with the library at ``path``."""
        # The server uses the MCA parameters of srun's caller instead of the agent's.
        for name in [name for name in os.environ if name.startswith(("PMIX_", "OMPI_", "PRTE_"))]:
            del os.environ[name]
        os.environ.update({name: value for name, value in self._env.items() if name.startswith("PMIX_MCA_")})
        from .pmix_server import serve

        folder = tempfile.mkdtemp(prefix="slurmsky.pmix.")
        serve(sock, self._plan, self._node_id, path, folder)

    def _on_server_message(self, message: MpiMessage) -> None:
        if isinstance(message, ServerReady):
            self._variables, self._folder = message.variables, message.folder
            self._ready()
        elif isinstance(message, ServerFailed):
            self._fail("mpi/pmix: %s" % message.reason)
        elif isinstance(message, TaskText):
            self._uplink.write_text(message.rank, message.text)
        else:
            self._uplink.mpi(message)

    def _fail(self, text: str) -> None:
        failed, self._failed = self._failed, lambda text: None
        failed(text)

    def open(self, rank: int) -> tuple[dict[str, str], int]:
        """Register a task; return its variables and -1. The task inherits no descriptor."""
        return self._variables[rank], -1

    def on_message(self, message: MpiMessage) -> None:
        """Handle a message from the head agent."""
        if self._server is not None:
            self._server.send(message)

    def close(self) -> None:
        """End the server after the step's end on this node."""
        self._failed = lambda text: None
        if self._server is not None:
            self._server.close()  # the server removes its folder
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)  # in case the server was killed
