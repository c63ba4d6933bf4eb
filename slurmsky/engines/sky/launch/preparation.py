"""Converts a launch into a SkyPilot task and a run's folder."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ....model.allocation import Launch
from ....protocol import seal
from ....protocol.messages import RECOVER
from ....site import Site
from ....translate.sky_task.sky_components import plan_all
from ....translate.sky_task.sky_names import sky_name
from ....translate.sky_task.task import SkyTask
from ....translate.sky_task.translation_notes import Refused
from ...base import EngineError
from ...files import launch_needs
from ...files.output_sync import resolved
from ..head import reachability
from ..job_log import inbox
from ..job_log.job_watch import Member, Record
from . import shipment
from .batch_launch import LaunchRequest
from .launch_backends import Clusters


def task_of(launch: Launch, site: Site) -> SkyTask:
    """Return the SkyPilot task of a launch. Raises EngineError with Slurm's text."""
    try:
        task = plan_all(
            [(part.spec, part.partition) for part in launch.het] or [(launch.spec, launch.partition)],
            site,
            job_id=launch.job_id,
            account=launch.account,
            qos=launch.qos if site.cluster.qos else "",
            wants=launch_needs.needs_of(launch),
        )
    except Refused as error:
        raise EngineError(f"{error} ({error.hint})") from error
    if launch.het:
        # Ranks are assigned to the components in turn: each gets the number of nodes in the controller's record.
        task.fields["num_nodes"] = len(launch.every_share)
    launch.image = str(task.fields["resources"].get("image_id", "")).removeprefix("docker:")
    return task


async def prepare(
    launch: Launch, task: SkyTask, members: Sequence[Launch], slots: int, *, home: Path, site: Site, upload: bool
) -> Path:
    """Create a run's folder below ``home``.

    With record.json, task.yaml, manifest.json and the shipment. ``slots``: number of a pack's ``members`` that run
    concurrently; 0: no pack. ``upload``: the API server is remote, and receives the files in an archive.
    """
    note = launch_needs.leave_credentials(members, site)
    base = launch.array_job_id if slots else launch.job_id
    folder = run_folder(home, launch)
    about: dict[str, Any] = {"elements": members, "slots": slots} if slots else {}
    record = _record(launch, unique_name(task.name, base), task)
    limit = site.sky.upload_mib << 20
    record.shipped_folder, stays = await asyncio.to_thread(launch_needs.folder_above, launch, limit, home.parent)
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
    """Prepare elements that one request launches as a managed job each.

    Return the folder that they share, and the folders of their runs.
    """
    note = launch_needs.leave_credentials(elements, site)
    first = elements[0]
    folders = [run_folder(home, element) for element in elements]
    shared = folders[0] / "together"
    name = unique_name(task.name, first.array_job_id)
    shipped_folder, stays = await asyncio.to_thread(
        launch_needs.folder_above, first, site.sky.upload_mib << 20, home.parent
    )
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
    """Return the folder of a job's run."""
    return home / str(launch.job_id) / f"run{launch.restart_count}"


class _Made(NamedTuple):
    """Id of a shipment's archive, if any, and the nodes' secret."""

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
    """Create the shipment in the folder. ``about``: contents of the shipment for array elements."""
    spot = bool(task.fields["resources"].get("use_spot"))
    contents = shipment.ShipmentContents(
        launch,
        name,
        upload_mib=site.sky.upload_mib,
        return_mib=site.sky.return_mib,
        alone_min=site.sky.idle_minutes if launch.script is None else 0,
        bucket="" if task.pool else site.sky.bucket,  # SkyPilot mounts no bucket for a job in a pool
        environment=launch_needs.environment_of(launch, site),
        links=launch_needs.links_of(launch),
        request_ids=inbox.reserve_ids(home, len(about.get("ranks", "1"))),
        reach=reachability.last_result(home, reachability.kind(launch)),
        spot=spot,
        **about,
    )
    ship = await asyncio.to_thread(shipment.pack, contents, folder / "ship", home / "programs")
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


def _outputs(launch: Launch) -> dict[str, str]:
    """Output files of a job, with their resolved paths here."""
    return {path: resolved(_placed(path, launch.submit_dir)) for path in (launch.stdout, launch.stderr) if path}


def _placed(path: str, submit_dir: str) -> str:
    """Return an output file's path, in the submit folder if needed.

    A folder outside the submit folder may exist only on a former cluster. Missing folders inside it are created.
    """
    folder, name = os.path.split(path)
    inside = folder.startswith(submit_dir + "/")
    return path if not folder or inside or os.path.isdir(folder) or "%" in folder else os.path.join(submit_dir, name)


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
    """Return a unique name for a managed job. A restarted controller finds the job by it."""
    return f"{sky_name(job_name)}-s{job_id}-{uuid.uuid4().hex[:8]}"
