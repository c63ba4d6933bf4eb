"""Runs a site's helper program (the mail program) without blocking the controller."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence

TIMEOUT_S = 60.0


async def run_program(argv: Sequence[str], environment: dict[str, str], stdin: bytes = b"") -> str | None:
    """Run a program until it exits; return the error, or None. The program need not read its stdin."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        return f"{argv[0]}: {error.strerror}"
    try:
        _, noise = await asyncio.wait_for(process.communicate(stdin or None), TIMEOUT_S)
    except asyncio.TimeoutError:
        process.kill()
        return f"{argv[0]}: no end after {TIMEOUT_S:.0f} s"
    if process.returncode:
        return f"{argv[0]}: exit code {process.returncode}: {noise.decode('utf-8', 'replace').strip()[:200]}"
    return None
