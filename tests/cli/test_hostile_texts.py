"""Hostile texts and bytes for a terminal, a mail program and the controller's socket."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine
from polling import PATIENCE_S

NAME = "a\x1b]0;owned\x07b\x9bc\rd\u202ee"


def on_a_terminal(engine: LocalEngine, command: str) -> str:
    """What a command prints to a terminal."""
    ours, theirs = os.openpty()
    words = ["bash", "-c", command]
    with subprocess.Popen(words, env=engine.env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data
        process.wait(PATIENCE_S)
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", ["squeue -ho %j", "scontrol show job", "squeue --json", "sacct -nPo jobname"])
def test_control_characters_do_not_reach_a_terminal(engine: LocalEngine, command: str) -> None:
    raw = os.fsencode(NAME) + b"\x9b"  # also as a byte of no UTF-8 text
    line = ["sbatch", "--parsable", "-H", "-J", NAME, "--comment", os.fsdecode(raw), "--wrap", "true"]
    job = engine.run(line).stdout.strip()
    try:
        shown = on_a_terminal(engine, f"{command} -j {job}" if command.startswith(("squeue -h", "sacct")) else command)
        assert not {char for char in shown if ord(char) < 32 or 127 <= ord(char) < 160 or ord(char) == 0x202E} - {"\n"}
        if command == "squeue -ho %j":
            assert shown == "a?]0;owned?b?c?d?e\n"
            assert engine.run(["squeue", "-ho", "%j", "-j", job]).stdout == NAME + "\n"  # a program gets it as it is
    finally:
        engine.run(["scancel", job])


def test_an_address_that_looks_like_an_option_is_not_one(tmp_path: Path) -> None:
    mailed = tmp_path / "mailed"
    program = tmp_path / "mail"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {mailed}\necho >> {mailed}\n')
    program.chmod(0o755)
    site = tmp_path / "site.toml"
    site.write_text(f'engine = "local"\n[mail]\nprogram = "{program}"\n')
    with local_engine(site) as engine:
        for user in ("-S.evil", "me@x"):
            name = "n\x1b[31m\u2028x"
            words = ["sbatch", "-W", "-o", "/dev/null", "-J", name, f"--mail-user={user}", "--mail-type=BEGIN"]
            assert engine.run([*words, "--wrap", "true"]).returncode == 0
        deadline = time.monotonic() + 30
        while not mailed.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        lines = mailed.read_text().splitlines()
    assert len(lines) == 1 and lines[0].startswith("-s|Slurm Job_id=") and lines[0].endswith("|me@x|")
    assert "Name=n [31m x Began" in lines[0]


@pytest.mark.parametrize("first", [b"R\xff\xff\xff\xff", b"Z\0\0\0\0", b"R\0\0\0\x04abcd", b"J\0\0\0\x02{}"])
def test_the_controller_closes_a_connection_after_a_malformed_frame(engine: LocalEngine, first: bytes) -> None:
    engine.run(["squeue"])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(str(engine.home / "controller.sock"))
        sock.sendall(first)
        answer = b""
        try:
            while data := sock.recv(65536):
                answer += data
        except ConnectionError:
            pass  # closed with bytes of ours unread
        assert answer.endswith(b"X\0\0\0\x011")
        with pytest.raises(OSError):
            for _ in range(100):
                sock.sendall(b"x" * 65536)
