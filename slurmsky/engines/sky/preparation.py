"""Converts a launch into a SkyPilot task and a folder with the job's files."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ...model.allocation import Launch
from ...protocol import seal
from ...protocol.messages import RECOVER
from ...site import Site
from ...translate.script.needs import Needs, beside, of, with_started
from ...translate.script.project_folder import Project
from ...translate.script.python_packages import packages
from ...translate.sky_task import credentials
from ...translate.sky_task.sky_components import plan_all
from ...translate.sky_task.sky_names import sky_name
from ...translate.sky_task.task import SkyTask
from ...translate.sky_task.translation_notes import Refused
from ..base import EngineError
from . import inbox, reachability, shipment
from .batch_launch import LaunchRequest
from .job_watch import Member, Record
from .launch_backends import Clusters
from .output_sync import resolved


def task_of(launch: Launch, site: Site) -> SkyTask:
    """The SkyPilot task of a launch. Raises EngineError with Slurm's text."""
    try:
        task = plan_all(
            [(part.spec, part.partition) for part in launch.het] or [(launch.spec, launch.partition)],
            site,
            job_id=launch.job_id,
            account=launch.account,
            qos=launch.qos if site.cluster.qos else "",
            wants=_wants(launch),
        )
    except Refused as error:
        raise EngineError(f"{error} ({error.hint})") from error
    if launch.het:
        # Ranks are assigned to the components in turn: each gets the number of nodes that the controller has recorded
        # for
        # it.
        task.fields["num_nodes"] = len(launch.every_share)
    launch.image = str(task.fields["resources"].get("image_id", "")).removeprefix("docker:")
    return task


async def prepare(
    launch: Launch, task: SkyTask, members: Sequence[Launch], slots: int, *, home: Path, site: Site, upload: bool
) -> Path:
    """Create a run's folder below ``home``: record.json, task.yaml, manifest.json and the shipment.

    ``slots``: how many of a pack's ``members`` run concurrently; 0: no pack. ``upload``: the API server is remote, and
    receives the files in an archive.
    """
    note = leave_credentials(members, site)
    base = launch.array_job_id if slots else launch.job_id
    folder = run_folder(home, launch)
    about: dict[str, Any] = {"elements": members, "slots": slots} if slots else {}
    record = _record(launch, unique_name(task.name, base), task)
    limit = site.sky.upload_mib << 20
    record.shipped_folder, stays = await asyncio.to_thread(folder_above, launch, limit, home.parent)
    record.job_id, record.note = base, "; ".join(filter(None, (note, stays)))
    about["shipped_folder"] = record.shipped_folder
    made = await _make(folder, launch, task, record.name, about, home=home, site=site, upload=upload)
    record.blob_id, record.secret = made.blob_id, made.secret.hex()

    def write() -> None:
        record.members = {str(member.job_id): Member(outputs=_outputs(member)) for member in members}
        record.write(folder)

    await asyncio.to_thread(write)
    return folder


async def prepare_batch(
    elements: Sequence[Launch], task: SkyTask, *, home: Path, site: Site, upload: bool
) -> tuple[Path, list[Path]]:
    """Prepare array elements that one request launches as one managed job each.

    Returns the folder that they share, and the folders of their runs.
    """
    note = leave_credentials(elements, site)
    first = elements[0]
    folders = [run_folder(home, element) for element in elements]
    shared = folders[0] / "together"
    name = unique_name(task.name, first.array_job_id)
    shipped_folder, stays = await asyncio.to_thread(folder_above, first, site.sky.upload_mib << 20, home.parent)
    about = {"ranks": elements, "shipped_folder": shipped_folder}
    made = await _make(shared, first, task, name, about, home=home, site=site, upload=upload)

    def write() -> None:
        LaunchRequest([str(folder) for folder in folders], name).write(shared)
        for rank, (element, folder) in enumerate(zip(elements, folders, strict=True)):
            record = _record(element, name, task)
            record.batch_folder, record.rank, record.blob_id = str(shared), rank, made.blob_id
            record.note, record.shipped_folder = "; ".join(filter(None, (note, stays))), shipped_folder
            record.secret = seal.of_rank(made.secret, rank).hex()
            record.members = {str(element.job_id): Member(outputs=_outputs(element))}
            record.write(folder)
            for part in ("ship", "manifest.json"):
                (folder / part).symlink_to(shared / part)

    await asyncio.to_thread(write)
    return shared, folders


def run_folder(home: Path, launch: Launch) -> Path:
    """The folder of a job's run."""
    return home / str(launch.job_id) / f"run{launch.restart_count}"


class _Made(NamedTuple):
    """The id of a shipment's archive, if it has one, and the secret shared with the nodes."""

    blob_id: str
    secret: bytes


async def _make(
    folder: Path,
    launch: Launch,
    task: SkyTask,
    name: str,
    about: dict[str, Any],
    *,
    home: Path,
    site: Site,
    upload: bool,
) -> _Made:
    """Create the shipment in the folder. ``about``: arguments of shipment.pack for array elements."""
    spot = bool(task.fields["resources"].get("use_spot"))
    ship = await asyncio.to_thread(
        shipment.pack,
        launch,
        name,
        folder / "ship",
        home / "programs",
        upload_mib=site.sky.upload_mib,
        return_mib=site.sky.return_mib,
        alone_min=site.sky.idle_minutes if launch.script is None else 0,
        bucket="" if task.pool else site.sky.bucket,  # SkyPilot mounts no bucket for a job in a pool
        environment=environment_of(launch, site),
        links=links_of(launch),
        request_ids=inbox.set_aside(home, len(about.get("ranks", "1"))),
        reach=reachability.known(home, reachability.kind(launch)),
        spot=spot,
        **about,
    )
    if task.pool:
        ship = await asyncio.to_thread(ship.in_workdir)
    fields = {**task.fields, "name": name, **ship.fields}
    if not task.pool:
        fields["file_mounts"] = {**task.fields.get("file_mounts", {}), **ship.fields["file_mounts"]}
    if launch.script is None:
        fields = Clusters.fields(fields)
    elif spot and launch.spec.requeue is not False:
        fields["resources"] = {**fields["resources"], "job_recovery": {"recover_on_exit_codes": [RECOVER]}}
    blob_id = ""
    if upload:
        blob_id = await asyncio.to_thread(shipment.zip_for_upload, ship, folder / "ship.zip")
        fields["file_mounts_mapping"] = {str(path): str(path) for path in ship.local_paths()}
    texts = {"task.yaml": fields, "manifest.json": ship.manifest}  # JSON is YAML
    for file, content in texts.items():
        await asyncio.to_thread((folder / file).write_text, json.dumps(content))
    return _Made(blob_id, ship.secret)


def folder_above(launch: Launch, limit: int, leave_out: Path) -> tuple[str, str]:
    """The folder above the submit folder that is sent because the script names files in it; "" for none.

    Second: the message about a folder that the script names and that is not sent. ``limit``: in bytes; ``leave_out``:
    the
    folder of this package's own state.
    """
    levels = of(_text(launch)).above
    if not levels:
        return "", ""
    top = _project(launch).above(levels)
    if top == launch.submit_dir:
        return "", ""
    if top and shipment.fits(Path(top), limit, shipment.home_of(launch), leave_out, Path(launch.submit_dir)):
        return top, ""
    above = top or "/".join([".."] * levels)
    return "", f"files above the submit folder were not copied: {above} is too large, shared, or a home folder"


def leave_credentials(launches: Sequence[Launch], site: Site) -> str:
    """Remove this machine's credentials from the environments of launches; returns the text that names them.

    Elements of an array share one environment, also afterwards.
    """
    before: dict[str, str] | None = None
    export: str | None = None
    kept: dict[str, str] = {}
    names: list[str] = []
    for launch in launches:
        if launch.environment is not before or launch.spec.export != export:
            before, export = launch.environment, launch.spec.export
            names = credentials.left_out(before, launch.spec, site.sky.credentials)
            kept = {name: value for name, value in before.items() if name not in names}
        launch.environment = kept
    return credentials.line(names)


def _outputs(launch: Launch) -> dict[str, str]:
    """The output files that a job names, with their resolved paths on this machine."""
    return {path: resolved(_placed(path, launch.submit_dir)) for path in (launch.stdout, launch.stderr) if path}


def _placed(path: str, submit_dir: str) -> str:
    """The path of an output file: in the submit folder, if its own folder exists only on a former cluster."""
    folder, name = os.path.split(path)
    return path if not folder or os.path.isdir(folder) or "%" in folder else os.path.join(submit_dir, name)


def _record(launch: Launch, name: str, task: SkyTask) -> Record:
    return Record(
        job_id=launch.job_id,
        name=name,
        restart=launch.restart_count,
        pool=task.pool,
        kind=reachability.kind(launch),
        submit_dir=launch.submit_dir,
        umask=launch.umask,
        requeue=launch.spec.requeue is not False,
        cluster=launch.script is None,
    )


def unique_name(job_name: str, job_id: int) -> str:
    """A name that no other managed job has: a restarted controller finds the job by it."""
    return f"{sky_name(job_name)}-s{job_id}-{uuid.uuid4().hex[:8]}"


def environment_of(launch: Launch, site: Site) -> dict[str, str]:
    """Variables that the site, or an old cluster's names of its file systems, set for a job."""
    return {**(dict(_wants(launch).stores) if site.cluster.open else {}), **dict(site.environment)}


def _wants(launch: Launch) -> Needs:
    """The requirements on nodes that the text of the job's script implies."""
    text = _text(launch)
    if not text:
        return Needs()
    found = replace(of(text), packages=packages(text, Path(launch.submit_dir)))
    project = _project(launch)
    return beside(with_started(found, text, project), project)


def _text(launch: Launch) -> str:
    """The text of the job's script; "" without one."""
    try:
        return Path(launch.script).read_bytes().decode("utf-8", "replace") if launch.script is not None else ""
    except OSError:
        return ""


def _project(launch: Launch) -> Project:
    home, user = launch.environment.get("HOME", ""), launch.environment.get("USER", "")
    return Project(launch.submit_dir, home, launch.work_dir, user)


def links_of(launch: Launch) -> tuple[str, ...]:
    """Paths by which the job's script names the submit folder, as another machine had it."""
    return _wants(launch).links
