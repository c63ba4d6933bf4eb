"""The password in the API server's URL is never printed, logged or stored."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

PASSWORD = "s3cr3t%21pw"  # as in the URL; it is decoded for the header
SITE = """engine = "sky"
[sky]
{endpoint}
start_server = false
[[partition]]
name = "debug"
default = true
infra = "kubernetes/x"
[[partition]]
name = "here"
nodes = "n1"
engine = "local"
[[node]]
names = "n1"
"""
COMMANDS = [
    "sbatch -o out --wrap hostname", "sbatch --parsable -o out --comment=x a.sh", "scontrol show job",

    "scontrol show config", "scontrol show job --json",
    "squeue -o %all", "squeue --json", "sacct -a -o all -P", "sinfo -N -o %all", "sdiag",
    "scontrol show node", "sprio", "slurmsky status", "slurmsky doctor", "slurmsky site check {site}",
    "slurmsky explain a.sh", "slurmsky translate a.sh", "slurmsky translate --check a.sh", "slurmsky report -o r.html",
    "slurmsky why", "seff 1", "timeout 5 srun hostname", "timeout 5 salloc true",
]  # fmt: skip


@pytest.fixture
def server() -> Iterator[str]:
    """API server that leaks its URL and requires a login.

    Some answers contain the request's URL; other requests require the login.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith("/api/health"):
                body = json.dumps({"api_version": "62", "version": "0.14.1", "status": "healthy"}).encode()
                self.send_response(200)
            else:
                url = f"http://me:{PASSWORD}@{self.headers['Host']}{self.path}"
                body = json.dumps({"detail": {"type": "ValueError", "message": f"{url} is not ready"}}).encode()
                self.send_response(500)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def everything_written(engine: LocalEngine) -> Iterator[tuple[str, bytes]]:
    for top in (engine.home, engine.root):
        for path in sorted(top.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()


@pytest.mark.parametrize("given", ["in the site file", "in the environment"])
@pytest.mark.parametrize("answers", [True, False])
def test_the_servers_password_is_nowhere(tmp_path: Path, server: str, given: str, answers: bool) -> None:
    url = f"http://me:{PASSWORD}@{server if answers else '127.0.0.1:9'}"
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(endpoint=f'endpoint = "{url}"' if given == "in the site file" else ""))
    extra = {"SKYPILOT_API_SERVER_ENDPOINT": url} if given == "in the environment" else {}
    outputs = []
    with local_engine(site, **extra) as engine:
        (engine.root / "a.sh").write_text("#!/bin/bash\n#SBATCH -c2\nsrun hostname\n")
        for command in COMMANDS:
            done = engine.run(command.format(site=site))
            outputs.append((command, done.stdout + done.stderr))
        engine.run(["slurmsky", "stop"])
        written = dict(everything_written(engine))
    assert any("127.0.0.1:" in text for _, text in outputs)
    for name, text in outputs:
        assert PASSWORD not in text and "s3cr3t!pw" not in text, name
    for name, data in written.items():
        if name.endswith("/environment") and extra:
            continue  # the job's own environment, as its user set it
        assert PASSWORD.encode() not in data and b"s3cr3t!pw" not in data, name
