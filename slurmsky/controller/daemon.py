"""The resident process behind the commands of one user."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from .. import paths, private_environment
from ..agent.net.spare_descriptor import LIMITS
from ..agent.process import processes
from ..client_start import START_LOCK_FD
from ..engines import machine_hardware
from ..site.load import default_site, load
from ..site.record import Site, SiteError
from ..translate.sky_task.credentials import redacted
from .app import Controller
from .server import FindCommand, Service
from .services import machine_ledger
from .store.database_file import StoreError

#: seconds to wait for threads at shutdown
_THREADS_S = 2.0
#: SlurmdPort's default; printed, but no process listens on it
SLURMD_PORT = 6818


def read_site(env: dict[str, str]) -> Site:
    """Return the site of this user. Raises SiteError, OSError. Without a site file, it consists of this machine."""
    file = paths.site_file(env)
    machine = machine_hardware.detect()
    if file is None:
        return default_site(machine)
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SiteError(str(file), error.object[: error.start].count(b"\n") + 1, 1, "not UTF-8") from error
    site = load(text, str(file), machine)
    # Nodes of the site file get this machine's properties for values that the file omits. Properties of warm nodes are
    # known once the nodes are up.
    warm = {name for _, one in site.warm_nodes for name in one.names}
    nodes = tuple(
        node
        if node.name in warm
        else replace(
            node,
            arch=node.arch or machine.arch,
            os=node.os or machine.os,
            port=node.port or SLURMD_PORT,
            host_name=node.host_name or machine.host_name,
        )
        for node in site.cluster.nodes
    )
    return replace(site, cluster=replace(site.cluster, nodes=nodes))


class _Formatter(logging.Formatter):
    """Writes log lines, tracebacks included, without the passwords of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


#: idle_exit_s of a controller that a service manager keeps running
_NEVER_S = 1e9


def main(
    find: FindCommand,
    in_idle_time: Callable[[Controller], AsyncGenerator[None, None]],
    stay: bool = False,
    holds_start_lock: bool = False,
) -> int:
    """Run until idle, stopped, or unable to run.

    ``stay``: do not exit when idle. ``holds_start_lock``: close the client's lock once this controller accepts
    connections. An error is printed on stderr as one line.
    """
    env = dict(os.environ)
    home = paths.state(env)
    if holds_start_lock:
        os.set_inheritable(START_LOCK_FD, False)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    logging.getLogger().handlers[0].setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    lacks = private_environment.missing_part()
    if lacks:
        print(f"slurmsky: ModuleNotFoundError: the private environment lacks {lacks}", file=sys.stderr)
        return 1
    try:
        home.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths.check_state(str(home.home), tighten=True)
        home.jobs.mkdir(mode=0o700, exist_ok=True)
        paths.check_state(str(home.jobs), tighten=True)
        guard = os.open(home.home / "controller.pid", os.O_RDWR | os.O_CREAT | paths.OPEN_FLAGS, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("slurmsky: a controller is already running for this state folder", file=sys.stderr)
            return 1
        os.ftruncate(guard, 0)
        os.pwrite(guard, f"{os.getpid()}\n".encode(), 0)
        processes.raise_open_files()
        site = read_site(env)
        idle_exit_s = _NEVER_S if stay else site.cluster.idle_exit_s
        listening = partial(os.close, START_LOCK_FD) if holds_start_lock else lambda: None
        return asyncio.run(_serve(site, home, env, find, in_idle_time, idle_exit_s, listening))
    except (SiteError, StoreError) as error:
        print(f"slurmsky: {error}", file=sys.stderr)
    except paths.ForeignFolder as error:
        print(f"slurmsky: {error.strerror}", file=sys.stderr)
    except OSError as error:
        print(f"slurmsky: {error.filename or home.home}: {error.strerror}", file=sys.stderr)
    return 1


async def _serve(
    site: Site, home: paths.StatePaths, env: dict[str, str], find: FindCommand,
    in_idle_time: Callable[[Controller], AsyncGenerator[None, None]], idle_exit_s: float, listening: Callable[[], None],
) -> int:  # fmt: skip
    for name in (paths.AGENT, "SLURM_JOB_ID", "SLURM_JOBID"):
        env.pop(name, None)
    bin_dir = Path(env[paths.BIN]) if env.get(paths.BIN) else _bin_dir()
    controller = Controller(site, home, bin_dir, env, time.time, machine_ledger.ledger(str(home.home)))
    service = Service(controller, find, idle_exit_s)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.leave)
    loop.set_exception_handler(lambda loop, context: _report(service, context))
    controller.stop = service.leave
    await controller.choose_engine()
    await controller.recover()
    controller.idle_time.work = lambda: in_idle_time(controller)
    gc.collect()
    gc.freeze()
    # Jobs stay for minutes and form no cycles: a garbage collection at every 700th new object would cost as much
    # as a tenth of all work when many jobs start and end.
    gc.set_threshold(20_000, 20, 50)
    await service.run(home.socket, listening)
    threads = asyncio.ensure_future(loop.shutdown_default_executor())
    done, _ = await asyncio.wait({threads}, timeout=_THREADS_S)  # wait_for would cancel, and its thread would fail then
    if not done:
        # A thread waits for a read that never returns. All changes are committed, and a remaining process would keep
        # the lock.
        logging.getLogger("slurmsky.controller").warning("leaving a thread that still runs")
        os._exit(0)
    return 0


def _report(service: Service, context: dict[str, object]) -> None:
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in LIMITS and "socket" in context:
        service.refuse()  # asyncio would retry and log once per connection in its backlog
        return
    logging.getLogger("slurmsky.controller").error(
        "%s", context.get("message"), exc_info=error if isinstance(error, BaseException) else None
    )


def _bin_dir() -> Path | None:
    package = Path(__file__).resolve().parent.parent
    for folder in (package.parent / "bin", package / "bin", Path(sys.executable).parent):
        if (folder / "sbatch").exists():
            return folder
    return None
