"""Jobs on the real SkyPilot of tests/rig, side by side with SkyPilot's own command.

    python bench/skypilot.py [commands] [starts] [arrays] [requests] [--rounds 3] [--elements 100] [--launches 6]
                             [--jobs 8] [--seconds 60] [--check]

Runs all parts, or the named ones. commands: sbatch and squeue with the SkyPilot engine and with the local engine.
starts: time from submit until the script runs, beside a bare `sky jobs launch -d` with the same resources. arrays: an
array of `sleep 1` beside a loop of `sky jobs launch -d`, of which only a few are launched and the time is scaled.
requests: what our commands send to the API server while jobs run, counted by a proxy. Each table states the load of the
machine. `--check` fails when sbatch or squeue takes more than 1.25 times as long as with the local engine, when our job
starts more than 1.1 times as late, when the array is less than 20 times as fast, or when the server receives more than
one request a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from common import Sandbox, sandbox, side_by_side, table

from slurmsky.engines.sky.api import api_server
from slurmsky.engines.sky.api.api_client import Client
from slurmsky.engines.sky.watch.state_poller import TERMINAL
from slurmsky.site import load

ENDPOINT = os.environ.get("SKYPILOT_API_SERVER_ENDPOINT", "http://127.0.0.1:46580")
INFRA = "slurm/oracle/debug"
SITE = f'engine = "sky"\n[[partition]]\nname = "debug"\ndefault = true\ninfra = "{INFRA}"\n'
RIG_SKY = Path(os.environ.get("RIG_DIR") or Path.home() / ".cache" / "slurmsky-rig") / "sky" / "bin" / "sky"
SKY = shutil.which("sky") or str(RIG_SKY)
NOW = "date +%s.%N"
PATIENCE_S = 1800


#: the first line of a request
_REQUEST = re.compile(rb"(?:GET|POST|HEAD) \S+ HTTP/1\.1\r\n")


class Gate(threading.Thread):
    """Proxy before the API server that counts requests."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        url = urlsplit(ENDPOINT)
        self.server = (url.hostname or "127.0.0.1", url.port or 80)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.requests = 0

    @property
    def endpoint(self) -> str:
        """Address that our commands are given."""
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            caller, _ = self.socket.accept()
            there = socket.create_connection(self.server)
            for source, target in ((caller, there), (there, caller)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                self.requests += len(_REQUEST.findall(data))  # a connection carries several
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            target.close()  # close, so that the other side sees the end of the connection


class Bare:
    """SkyPilot's own command line."""

    def __init__(self) -> None:
        self.client: Client = api_server.connect(os.environ, load(SITE, "site.toml"), os.environ.get("USER", "root"))
        self.count = 0

    def launch(self, command: str) -> str:
        """Run `sky jobs launch`; return the job's name."""
        self.count += 1
        name = f"bare-{os.getpid()}-{self.count}"
        line = [SKY, "jobs", "launch", "-y", "-d", "-n", name, "--infra", INFRA, "--cpus", "1+", command]
        path = f"{Path(SKY).parent}:{os.environ['PATH']}"
        subprocess.run(line, check=True, capture_output=True, cwd="/", env={**os.environ, "PATH": path})
        return name

    def finish(self, names: list[str]) -> list[int]:
        """Wait until the jobs have ended; return their ids."""

        async def wait() -> list[int]:
            ids = [number for name in names for number in await self.client.find(name)]
            left = set(ids)
            while left:
                await asyncio.sleep(1)
                for number in sorted(left):
                    events = await self.client.events(number, limit=1)
                    if events and events[0].new_status in TERMINAL:
                        left.discard(number)
            return ids

        return asyncio.run(asyncio.wait_for(wait(), PATIENCE_S))

    def first_word(self, number: int) -> float:
        """The time that the job's script printed."""

        async def read() -> str:
            return b"".join([part async for part in self.client.logs(number, follow=False)]).decode(errors="replace")

        for _ in range(24):  # SkyPilot fetches the log of an ended job only after it has reported the end
            if found := re.search(r"\b\d{10}\.\d{9}\b", asyncio.run(read())):
                return float(found[0])
            time.sleep(5)
        raise RuntimeError(f"managed job {number} told no time")


def start_ours(box: Sandbox, number: int) -> float:
    """Seconds from sbatch until the script runs; returns once SkyPilot has released the nodes."""
    output = box.folder / f"began-{number}"
    began = time.time()
    job = box.output("sbatch", "--parsable", "-c1", "-o", str(output), f"--wrap={NOW}").strip()
    until_over(box, job)
    took = float(output.read_text().split()[0]) - began
    time.sleep(20)  # SkyPilot releases the nodes after it has reported the end
    return took


def start_bare(bare: Bare) -> float:
    """The same measure with SkyPilot's own command."""
    began = time.time()
    (number,) = bare.finish([bare.launch(NOW)])
    took = bare.first_word(number) - began
    time.sleep(20)
    return took


def until_over(box: Sandbox, job: str) -> None:
    """Wait until a job or an array has left the queue."""
    deadline = time.monotonic() + PATIENCE_S
    while box.ask("squeue", "--noheader", "--job", job):
        if time.monotonic() > deadline:
            raise RuntimeError(f"job {job} has no end: {box.ask('scontrol', 'show', 'job', job)}")
        time.sleep(0.2)


def array(box: Sandbox, elements: int) -> float:
    """Seconds from submit until the last element has ended."""
    began = time.perf_counter()
    line = ["sbatch", "--parsable", "-c1", "-o", "/dev/null", f"--array=1-{elements}", "--wrap=sleep 1"]
    job = box.output(*line).strip()
    until_over(box, job)
    took = time.perf_counter() - began
    states = box.output("sacct", "-nX", "-P", "-o", "state", "-j", job).split()
    if states != ["COMPLETED"] * elements:
        raise RuntimeError(f"array {job}: {states}")
    return took


def loop(bare: Bare, launches: int) -> float:
    """Seconds of a loop of launches, until the last job has ended."""
    began = time.perf_counter()
    bare.finish([bare.launch("sleep 1") for _ in range(launches)])
    return time.perf_counter() - began


def load_on_server(box: Sandbox, gate: Gate, jobs: int, seconds: float) -> tuple[float, float]:
    """Requests per second: while that many jobs run, and from their submit to their end."""
    began, before = time.perf_counter(), gate.requests
    length = f"--wrap=sleep {seconds + 60:.0f}"
    ids = [box.output("sbatch", "--parsable", "-c1", "-o", "/dev/null", length).strip() for _ in range(jobs)]
    # Jobs may start minutes apart; the time while some run and others start counts as running.
    while box.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i") == "":
        time.sleep(1)
    first, at_first = time.perf_counter(), gate.requests
    time.sleep(seconds)
    running = (gate.requests - at_first) / (time.perf_counter() - first)
    for job in ids:
        until_over(box, job)
    return running, (gate.requests - before) / (time.perf_counter() - began)


def busy(since: float) -> str:
    """Load of the machine, for a table's title."""
    return f"(load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs, took {time.monotonic() - since:.0f} s)"


def commands(box: Sandbox, gate: Gate, options: argparse.Namespace) -> dict[str, bool]:
    """sbatch and squeue, beside the same commands with the local engine."""
    began = time.monotonic()
    held = ("--hold", "--output=/dev/null", "-c1", "--wrap=true")  # another part measures what follows a submit
    with sandbox() as local:
        boxes = {"": box, " local": local}
        measures: dict[str, Callable[[], float]] = {}
        for name, one in boxes.items():
            for _ in range(10):
                one.ask("sbatch", *held)
            measures["sbatch" + name] = partial(one.seconds, "sbatch", *held)
            measures["squeue" + name] = partial(one.seconds, "squeue", "--states=PENDING", "--noheader")
        medians = side_by_side(measures, 25)
        box.ask("scancel", "--me")
    ratios = {name: medians[name] / medians[name + " local"] for name in ("sbatch", "squeue")}
    rows = [("", "to SkyPilot, ms", "local, ms", "ratio")]
    rows += [
        (name, f"{medians[name] * 1000:.1f}", f"{medians[name + ' local'] * 1000:.1f}", f"{ratio:.2f}")
        for name, ratio in ratios.items()
    ]
    table(f"Commands, medians of 25 {busy(began)}", rows)
    return {f"{name} is slower than on this machine": ratio > 1.25 for name, ratio in ratios.items()}


def starts(box: Sandbox, gate: Gate, options: argparse.Namespace) -> dict[str, bool]:
    """Time from submit until the script runs."""
    began, bare = time.monotonic(), Bare()
    ours, theirs = [], []
    for number in range(options.rounds):  # alternate, so that load on the machine affects both
        ours.append(start_ours(box, number))
        theirs.append(start_bare(bare))
    late = statistics.median(ours) / statistics.median(theirs)
    rows = [("", "seconds", "median")]
    for name, times in (("sbatch", ours), ("sky jobs launch -d", theirs)):
        rows.append((name, " ".join(f"{one:.0f}" for one in times), f"{statistics.median(times):.1f}"))
    table(f"From submit until the script runs: ours takes {late:.2f} times as long {busy(began)}", rows)
    return {"it starts too late": late > 1.1}


def arrays(box: Sandbox, gate: Gate, options: argparse.Namespace) -> dict[str, bool]:
    """One array, beside a loop of launches."""
    began = time.monotonic()
    before = gate.requests
    packed = array(box, options.elements)
    rate = (gate.requests - before) / packed
    launched = loop(Bare(), options.launches)
    scaled = launched * options.elements / options.launches
    rows = [
        ("", "seconds"),
        ("sbatch --array", f"{packed:.0f}"),
        (f"{options.launches} of sky jobs launch -d", f"{launched:.0f}"),
        (f"... scaled to {options.elements}", f"{scaled:.0f}"),
        ("our requests to the API server, per second", f"{rate:.2f}"),
    ]
    table(f"{options.elements} times sleep 1: ours is {scaled / packed:.0f} times as fast {busy(began)}", rows)
    return {"the array is too slow": scaled < 20 * packed}


def requests(box: Sandbox, gate: Gate, options: argparse.Namespace) -> dict[str, bool]:
    """Requests that the API server receives."""
    began = time.monotonic()
    running, whole = load_on_server(box, gate, options.jobs, options.seconds)
    rows = [("", "per second"), ("while they run", f"{running:.2f}"), ("from submit to end", f"{whole:.2f}")]
    table(f"Requests to the API server with {options.jobs} jobs {busy(began)}", rows)
    return {"the server hears too much": running > 1.0}


PARTS = {part.__name__: part for part in (commands, starts, arrays, requests)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--elements", type=int, default=100)
    parser.add_argument("--launches", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if strange := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(strange))}")
    gate = Gate()
    gate.start()
    over: dict[str, bool] = {}
    environment = {"SLURMSKY_ENGINE": "sky", "SKYPILOT_API_SERVER_ENDPOINT": gate.endpoint}
    with sandbox(site=SITE, environment=environment) as box:
        for name in options.parts or PARTS:
            over |= PARTS[name](box, gate, options)
    for words in (words for words, is_so in over.items() if is_so):
        print(words, file=sys.stderr)
    return 1 if any(over.values()) and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
