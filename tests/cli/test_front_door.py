"""``slurmsky`` as users type it: help, doctor, status, stop, tunnel."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from local_engine import BIN, REPOSITORY, LocalEngine
from polling import PATIENCE_S


def call(tmp_path: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command called before any controller has run."""
    around = {"HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}", "SLURMSKY_HOME": str(tmp_path / "state"),
              "SLURMSKY_PYTHON": sys.executable, "SLURMSKY_ENGINE": "local", **env}  # fmt: skip
    return subprocess.run([BIN / "slurmsky", *words], env=around, capture_output=True, text=True, timeout=PATIENCE_S)


def test_help_needs_no_controller_and_no_site_file(tmp_path: Path) -> None:
    for words in (["--help"], ["stop", "--help"], ["site", "check", "--help"], ["why", "-h"], ["version"]):
        done = call(tmp_path, *words, SLURMSKY_SITE="/no/such/site.toml")
        assert (done.returncode, done.stderr) == (0, ""), words
    assert not (tmp_path / "state").exists()


def test_status_starts_no_controller(tmp_path: Path) -> None:
    assert call(tmp_path, "stop").stdout == "no controller is running\n"
    assert call(tmp_path, "status").stdout == "no controller is running\n"
    assert json.loads(call(tmp_path, "status", "--json").stdout) == {"controller": None}
    for wrong in ("x", "--jsn"):
        done = call(tmp_path, "status", wrong)
        assert (done.returncode, done.stdout) == (2, "") and wrong in done.stderr
    assert not (tmp_path / "state").exists()


def test_doctor_without_a_controller_that_can_start(tmp_path: Path) -> None:
    done = call(tmp_path, "doctor", "--json", SLURMSKY_SITE="/no/such/site.toml")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["ok"] is False
    levels = {one["check"]: one["level"] for one in found["findings"]}
    assert levels["site file"] == levels["controller"] == "FIX"
    assert levels["environment"] == levels["PATH"] == "ok"
    assert {"SkyPilot", "GPUs", "cgroups", "boot", "state folder"} <= set(levels)
    assert all(one["do"] for one in found["findings"] if one["level"] != "ok")


def test_doctor_of_a_good_installation(engine: LocalEngine) -> None:
    done = engine.run(["slurmsky", "doctor"], env={"HOME": str(engine.root)})  # whose user has no SkyPilot
    assert done.returncode == 0, done.stdout
    assert "ok    controller:   pid" in done.stdout and "FIX" not in done.stdout


@pytest.fixture
def running(engine: LocalEngine) -> LocalEngine:
    """An engine whose controller runs: ``status`` starts none."""
    assert engine.run(["sinfo"]).returncode == 0
    return engine


def test_status_as_json(running: LocalEngine) -> None:
    found = json.loads(running.run(["slurmsky", "status", "--json"]).stdout)
    assert found["site"] == running.env["SLURMSKY_SITE"]
    assert found["engine"]["name"] == "local" and found["problem"] is None and found["controller"]["pid"] > 1


def test_the_guide_lists_the_keys_of_both_documents(running: LocalEngine) -> None:
    text = (REPOSITORY / "docs" / "guide.md").read_text().partition("`slurmsky status --json` prints")[2]
    rows = re.findall(r"(?m)^\| (`.*?`) \|", text.partition("`slurmsky doctor --json` prints")[0])
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(json.loads(running.run(["slurmsky", "status", "--json"]).stdout))
    finding = json.loads(running.run(["slurmsky", "doctor", "--json"]).stdout)["findings"][0]
    words = re.findall(r"`(\w+)`", text.partition("`slurmsky doctor --json` prints")[2].partition("The exit code")[0])
    assert {"ok", "findings", *finding} <= set(words)


def test_a_missing_script_is_reported(engine: LocalEngine) -> None:
    done = engine.run(["slurmsky", "explain", "nosuch.sh"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "slurmsky: explain: nosuch.sh: No such file or directory\n"


@pytest.fixture
def served(engine: LocalEngine) -> tuple[str, int]:
    """A job that serves a page on a port of its node, and the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    script = Path(engine.root) / "serve.py"
    script.write_text(
        "#!/usr/bin/env python3\nimport http.server, sys\n"
        "class Page(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        body = b'x' * 3_000_000\n"
        "        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()\n"
        "        self.wfile.write(body)\n"
        f"http.server.ThreadingHTTPServer(('127.0.0.1', {port}), Page).serve_forever()\n"
    )
    return engine.run(["sbatch", "--parsable", "-o", "serve.out", str(script)]).stdout.strip(), port


def test_tunnel_to_a_job(engine: LocalEngine, served: tuple[str, int]) -> None:
    job, port = served
    with subprocess.Popen(
        ["slurmsky", "tunnel", "--json", job, f"0:{port}"], env=dict(engine.env), cwd=engine.root,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as tunnel:  # fmt: skip
        assert tunnel.stdout is not None and tunnel.stderr is not None
        line = tunnel.stdout.readline()
        assert line, tunnel.stderr.read()
        reported = json.loads(line)
        assert (reported["job"], reported["port"]) == (job, port) and reported["local_port"] != port
        for _ in range(3):
            with contextlib.closing(urllib.request.urlopen(f"http://127.0.0.1:{reported['local_port']}/")) as page:
                assert len(page.read()) == 3_000_000
        tunnel.send_signal(signal.SIGINT)
        assert tunnel.wait(PATIENCE_S) == 0
    engine.run(["scancel", job])
    gone = engine.run(["slurmsky", "tunnel", job, str(port)])
    assert gone.returncode == 1 and f"slurmsky: tunnel: job {job} is " in gone.stderr


def test_doctor_status_and_site_check_report_a_changed_site_file(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        '[[node]]\nnames = "n1"\ncpus = 4096\n[[partition]]\nname = "first"\nnodes = "n1"\nengine = "local"\n'
    )
    try:
        assert "first" in call(tmp_path, "site", "check", SLURMSKY_SITE=str(site)).stdout
        site.write_text(site.read_text().replace("first", "second"))
        checked = call(tmp_path, "site", "check", SLURMSKY_SITE=str(site))
        assert checked.returncode == 0
        assert "note  node n1: 4096 CPUs in the file, " in checked.stdout
        assert "note  no partition has default = true: a job without --partition is refused\n" in checked.stdout
        assert "note  the running controller read an earlier version: scontrol reconfigure\n" in checked.stdout
        assert json.loads(call(tmp_path, "status", "--json", SLURMSKY_SITE=str(site)).stdout)["site_changed"] is True
        doctor = call(tmp_path, "doctor", SLURMSKY_SITE=str(site))
        assert doctor.returncode == 1
        assert "FIX   site file:    changed since the running controller read it\n" in doctor.stdout
    finally:
        assert call(tmp_path, "stop", SLURMSKY_SITE=str(site)).stdout == "controller stopped\n"
