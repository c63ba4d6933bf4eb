"""Writes launch errors into the job's error file. Users read that file first."""

from __future__ import annotations

import logging
import os

from ....model.allocation import Launch
from ....protocol.node_settings import FILE, ShipmentSettings
from ...files.output_sync import resolved
from ...files.safe_paths import open_to_write
from .job_watch import JobWatch

log = logging.getLogger("slurmsky.sky")


def explain(launch: Launch, text: str) -> None:
    """Append a line to the error file of a failed launch."""
    if launch.script is not None:
        _append(launch.job_id, launch.stderr or launch.stdout, launch.umask, text)


def explain_run(watch: JobWatch, job_id: int, text: str) -> None:
    """Append a line to the error file of a run that SkyPilot abandoned."""
    try:
        settings = ShipmentSettings.read(str(watch.folder / "ship" / FILE)).of_rank(watch.record.rank)
    except (OSError, ValueError):
        return
    element = next((one for one in settings.jobs if one.get("job_id") == job_id), {})
    launch = {**settings.launch, **element}
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
