"""Starts a node's agent: ``python -m slurmsky.agent --node NAME --home DIR``.

Further options: ``--address unix:/path|host:port``, ``--controller unix:/path``, ``--bin DIR``, and for nodes of other
machines ``--listen``, ``--cert``, ``--key``, ``--ca``, ``--warm SECONDS``. With ``--root DIR``, the folder of this
package, the agent restarts a controller that died.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import sys
from typing import Callable

from .. import paths
from .core.agent import Agent
from .core.client_requests import Handler
from .core.controller_restart import ControllerRestart
from .job import output_files
from .net import endpoints
from .net.event_loop import Loop
from .process import daemonize, machine_claim, processes
from .process.cgroup import Cgroup


def _imported(module: str, name: str) -> Callable[[], Handler]:
    """Return a factory that imports a command's handler on its first call."""

    def find() -> Handler:
        handler: Handler = getattr(importlib.import_module("." + module, __package__), name)
        return handler

    return find


#: commands that the agent runs; it relays all others to the controller
COMMANDS = {
    "srun": _imported("srun.srun_request", "serve_srun"),
    "sbcast": _imported("srun.file_bcast", "serve_sbcast"),
    "sattach": _imported("srun.attach_session", "serve_sattach"),
    "sstat": _imported("srun.step_stats", "serve_sstat"),
}

_OPTIONS = (
    "--address", "--controller", "--node", "--home", "--bin", "--cert", "--key", "--ca", "--listen", "--warm", "--root",
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Run an agent until it is ordered to exit. Return 0, or 1 with a line on stderr."""
    known = dict.fromkeys(_OPTIONS, "")
    options = daemonize.options(argv, {**known, "--bin": os.environ.get(paths.BIN, "")})
    if options is None:
        return 1
    if not options["--node"] or not options["--home"]:
        print("agent: --node and --home are needed", file=sys.stderr)
        return 1
    try:
        return _serve(options)
    except OSError as error:
        print("agent: %s: %s" % (error.filename or options["--home"], error.strerror or error), file=sys.stderr)
        return 1


def _serve(options: dict[str, str]) -> int:
    """Run the agent until it exits. Raises OSError while it starts."""
    machine_claim.lock_entry()
    daemonize.tolerate_full_disk()
    daemonize.detach()
    home = os.path.abspath(options["--home"])
    if os.path.exists(os.path.join(home, output_files.NOTE)):
        output_files.record_in(os.path.join(home, output_files.NOTE))
    folder = os.path.join(home, "nodes", options["--node"])
    os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        paths.check_state(home)
        paths.check_state(folder, tighten=True)
    except paths.ForeignFolder as error:
        print("agent: %s" % error.strerror, file=sys.stderr)
        return 1
    os.umask(0o077)
    address = options["--address"] or endpoints.UNIX + os.path.join(folder, paths.AGENT_SOCKET)
    controller = options["--controller"] or endpoints.UNIX + os.path.join(home, paths.SOCKET_NAME)
    if not daemonize.lock(os.path.join(folder, paths.AGENT_LOCK)):
        print("agent: another agent of node %s runs in %s" % (options["--node"], folder), file=sys.stderr)
        return 1
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    processes.become_subreaper()
    processes.raise_open_files()
    _, core = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (core, core))  # as slurmd; jobs with --propagate=NONE have it
    group = Cgroup(address)
    group.take_over()
    loop = Loop()
    agent = Agent(loop, options["--node"], home, address, controller, options["--bin"])
    if options["--cert"]:
        agent.tls_server, agent.tls_client = endpoints.tls_contexts(
            options["--cert"], options["--key"], options["--ca"]
        )
    signal.signal(signal.SIGTERM, lambda *_: loop.soon(agent.shut_down))
    agent.commands.update(COMMANDS)
    if options["--root"]:
        daemonize.lock_shared(paths.__file__.rsplit("/", 2)[0])
        agent.controller_restart = ControllerRestart(
            loop, options["--root"], home, agent.needs_controller, group.leave_cgroup
        )
        agent.controller_restart.schedule()  # the controller may have died while this agent started
    if options["--warm"]:
        from .cloud.warm_node import WarmNodeService

        WarmNodeService(agent, float(options["--warm"]))
    agent.recover()
    agent.listen(options["--listen"])
    os.chdir("/")
    gc.collect()
    gc.freeze()  # collections do not write to these pages, so forked children share them for longer
    loop.run()
    agent.memory.leave()
    group.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
