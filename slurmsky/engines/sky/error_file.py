"""Writes the reason why a job never started into the job's error file, which users read first."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from ...agent.job.launch_codec import settings_of
from ...model.allocation import Launch
from .beneath import open_to_write
from .job_watch import JobWatch
from .output_sync import resolved

log = logging.getLogger("slurmsky.sky")


def explain(launch: Launch, text: str) -> None:
    """Append a line to the error file of a job that could not be launched."""
    if launch.script is not None:
        _append(launch.job_id, launch.stderr or launch.stdout, launch.umask, text)


def explain_run(watch: JobWatch, job_id: int, text: str) -> None:
    """Append a line to the error file of a job whose run SkyPilot gave up."""
    try:
        settings: dict[str, Any] = json.loads((watch.folder / "ship" / "settings.json").read_text())
    except (OSError, ValueError):
        return
    if "ranks" in settings:
        settings = settings_of(settings, watch.record.rank)
    elements: list[dict[str, Any]] = settings.get("elements", [])
    element = next((one for one in elements if one["job_id"] == job_id), {})
    launch = {**settings["launch"], **element}
    if launch.get("script") is not None:
        _append(job_id, launch.get("stderr") or launch["stdout"], watch.record.umask, text)


def _append(job_id: int, path: str, umask: int, text: str) -> None:
    target = resolved(path.replace("%N", "none"))
    if not target or target == "/dev/null":
        return
    try:
        descriptor = open_to_write("/", target.lstrip("/"), umask, os.O_APPEND)
        try:
            os.write(descriptor, f"slurmsky: job {job_id} did not begin: {' '.join(text.split())}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("job %d: %s: %s", job_id, path, error.strerror or error)
