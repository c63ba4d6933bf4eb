"""Packs the files of a job for its nodes.

A shipment contains settings, script, certificates, program, and a copy of the submit folder. It is sent as SkyPilot
file mounts, not in the task's YAML, which the API server stores and shows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....agent.cloud import submit_folder
from ....agent.cloud.cloud_node import ENDED
from ....model import plain
from ....model.allocation import Launch
from ....protocol.node_settings import FILE, FileSettings, ShipmentSettings
from ...files import folder_contents
from ..head import certificates
from ..job_log import inbox
from ..job_log.job_watch import Record
from . import node_program

REMOTE = "~/.slurmsky"
KEPT = "~/.slurmsky-kept"  # where the site's bucket is mounted

START = r"""#!/bin/sh
# Started by SkyPilot on every node of a job: finds a Python and gives the node to slurmsky.
folder=$(cd "$(dirname "$0")" && pwd)
for python in python3 /usr/bin/python3 "$HOME/skypilot-runtime/bin/python" "$HOME/sky-user-env/bin/python3" \
    "$HOME/miniconda3/bin/python3" /opt/conda/bin/python3; do
    if "$python" -I -S -c 'import sys, _ssl; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        "$python" -E -s "$folder/../AGENT" cloud "$folder"
        exit
    fi
done
echo "slurmsky: this node has no Python 3.9 or newer" >&2
exit 70
"""


@dataclass(frozen=True)
class Shipment:
    """A prepared folder, and the task fields that copy it to nodes."""

    folder: Path
    program: Path
    fields: dict[str, Any]
    manifest: dict[str, tuple[int, int]]
    secret: bytes = b""  # shared with the job's nodes: authenticates their lines in the log

    def local_paths(self) -> list[Path]:
        """Paths to upload to a remote API server."""
        return [Path(self.fields["workdir"])] if "workdir" in self.fields else [self.folder, self.program]

    def in_workdir(self) -> Shipment:
        """Return this shipment as a task's workdir.

        A pool's workers accept no file mounts of a job. Workers keep the files of earlier jobs, so the shipment is
        stored under the job's unique name.
        """
        name = self.fields["run"].split("/")[-2]
        root = _workdir(self.folder, name, self.program)
        return replace(self, fields={"workdir": str(root), "run": f"sh {name}/start.sh\n"})


def _workdir(folder: Path, name: str, program: Path) -> Path:
    """Move a shipment's folder into a workdir. A link at the old path remains for updates at a restart."""
    root = folder.parent / "workdir"
    root.mkdir(mode=0o700, exist_ok=True)
    folder.rename(root / name)
    folder.symlink_to(Path("workdir") / name)
    os.link(program, root / program.name)
    return root


@dataclass(frozen=True)
class ShipmentContents:
    """Contents of a shipment, of one job or of array elements.

    ``elements``: elements of a pack, ``slots`` of which run concurrently; ``ranks``: elements that are one managed job
    each. ``alone_min``: minutes without a controller's connection after which the nodes end the job; 0: no end.
    ``bucket``: destination of files that are too large for the log; "": none. ``links``: further paths of the submit
    folder on the nodes. ``shipped_folder``: a folder above the submit folder to send instead; "": none. ``spot``: the
    nodes watch for their cloud's notice.
    """

    launch: Launch
    name: str
    upload_mib: int
    return_mib: int
    environment: Mapping[str, str]
    elements: Sequence[Launch] = ()
    slots: int = 1
    ranks: Sequence[Launch] = ()
    alone_min: int = 0
    bucket: str = ""
    request_ids: tuple[int, int] = (0, 0)
    reach: str = ""
    links: Sequence[str] = ()
    shipped_folder: str = ""
    spot: bool = False

    @property
    def sent_folder(self) -> str:
        """The folder whose files are sent."""
        return self.shipped_folder or self.launch.submit_dir

    def settings(self, program: Path, secret: bytes) -> ShipmentSettings:
        """Return the settings of the job's nodes."""
        settings = ShipmentSettings(
            name=self.name,
            agent=f"../{program.name}",
            launch=self.launch.to_dict(),
            seed=int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4], "big"),
            host_prefix=self.name[:40],
            environment=dict(self.environment),
            alone_s=self.alone_min * 60,
            reach=self.reach,
            spot=self.spot,
            letters=inbox.settings(secret, self.request_ids),
            files=FileSettings(
                folder=self.sent_folder,
                identity=tuple(submit_folder.identity(self.sent_folder)),
                archive="submit_folder.tar",
                links=tuple(self.links),
                return_bytes=self.return_mib << 20,
                folders=tuple(_folders(self.launch)),
                bucket=f"{self.bucket.rstrip('/')}/{self.name}" if self.bucket else "",
                mounted=f"{KEPT}/{self.name}" if self.bucket else "",
            ),
        )
        if self.elements:
            elements = tuple(difference(self.launch, element) for element in self.elements)
            settings = settings.evolve(elements=elements, slots=self.slots)
        if self.ranks:
            settings = settings.evolve(ranks=tuple(difference(self.launch, element) for element in self.ranks))
        return settings


def pack(contents: ShipmentContents, folder: Path, programs: Path) -> Shipment:
    """Create a shipment in ``folder``. Raises EngineError if the submit folder is too large to be sent."""
    launch, name = contents.launch, contents.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = node_program.build(programs)
    certificates.make(folder / "tls", name)
    if launch.script is not None:
        _private(folder / "script", Path(launch.script).read_bytes())
    manifest = folder_contents.archive(
        Path(contents.sent_folder),
        folder / "submit_folder.tar",
        contents.upload_mib << 20,
        home=folder_contents.home_of(launch),
        leave_out=programs.parent.parent,
        submit_dir=Path(launch.submit_dir),
    )
    secret = os.urandom(32)
    _private(folder / FILE, json.dumps(contents.settings(program, secret).encode()).encode())
    _private(folder / "start.sh", START.replace("AGENT", program.name).encode())
    fields: dict[str, Any] = {
        "file_mounts": {f"{REMOTE}/{program.name}": str(program), f"{REMOTE}/{name}": str(folder)},
        # Not exec: SkyPilot appends a wait for its bucket uploads (task_codegen.py).
        "run": f"sh {REMOTE}/{name}/start.sh\n",
    }
    if contents.bucket:
        fields["file_mounts"] |= {KEPT: {"source": contents.bucket, "mode": "MOUNT"}}
    return Shipment(folder, program, fields, manifest, secret)


def difference(launch: Launch, element: Launch) -> dict[str, Any]:
    """Fields of an element that differ from the launch; JSON-ready."""
    base = launch.__dict__
    own = {name: value for name, value in element.__dict__.items() if name != "record" and value != base[name]}
    return plain.write_fields(Launch, own) | {"job_id": element.job_id}


def prepare_restart(folder: Path, count: int, unfinished: Collection[int], rank: int = 0) -> None:
    """Update the settings for the next run on other nodes.

    The restart count, and the remaining elements. ``rank``: the job's rank in its launch request. A local API server
    reads the shipment again at a recovery.
    """
    path = folder / FILE
    settings = json.loads(path.read_text())  # raw JSON: an earlier version may have written it
    (settings["ranks"][rank] if "ranks" in settings else settings["launch"])["restart_count"] = count
    if "elements" in settings:
        settings["elements"] = [
            {**element, "restart_count": count} for element in settings["elements"] if element["job_id"] in unfinished
        ]
    _private(path, json.dumps(settings).encode())


def note_end(folder: Path, job_id: int, code: int) -> None:
    """Append a job's end to the list for a relaunch.

    A relaunch by a local API server reads it, and does not start the job's script again.
    """
    descriptor = os.open(folder / ENDED, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{job_id} {code}\n")


def ship_again(folder: Path, record: Record) -> None:
    """Prepare a run's folder for another launch, under another name."""
    fields = json.loads((Path(record.batch_folder or folder) / "task.yaml").read_text())
    record.name = fields["name"] = f"{record.name.partition('_')[0]}_{record.restart}"
    if record.batch_folder:
        # Another job of the same request may lose its nodes at the same moment.
        record.name = fields["name"] = f"{record.name}_{record.rank}"
        fields |= _separate(folder, record, fields)
    (folder / "task.yaml").write_text(json.dumps(fields))
    paths = [Path(fields["workdir"])] if "workdir" in fields else [Path(path) for path in fields["file_mounts_mapping"]]
    record.blob_id = _zip(paths, folder / "ship.zip")


def _separate(folder: Path, record: Record, fields: dict[str, Any]) -> dict[str, Any]:
    """Create a separate shipment for a job of a shared request. Return the task fields for it."""
    shared, own = (folder / "ship").resolve(), folder / "ship"
    own.unlink()
    shutil.copytree(shared, own, copy_function=os.link)
    settings = ShipmentSettings.read(str(shared / FILE)).of_rank(record.rank)
    _private(own / FILE, json.dumps(settings.encode()).encode())
    record.batch_folder, record.rank = "", 0
    if "workdir" in fields:
        program = Path(fields["workdir"]) / Path(settings.agent).name
        return {"workdir": str(_workdir(own, shared.name, program))}

    def relocated(path: str) -> str:
        return str(own) if Path(path).resolve() == shared else path

    mounts = {
        there: relocated(here) if isinstance(here, str) else here for there, here in fields["file_mounts"].items()
    }
    paths = map(relocated, fields["file_mounts_mapping"])
    return {"file_mounts": mounts, "file_mounts_mapping": {path: path for path in paths}}


def _folders(launch: Launch) -> list[str]:
    """Existing folders on which the job may rely on its nodes."""
    wanted = {launch.work_dir, *(os.path.dirname(path) for path in (launch.stdout, launch.stderr))}
    return sorted(path for path in wanted if path.startswith("/") and os.path.isdir(path))


def _private(path: Path, data: bytes) -> None:
    """Replace a file atomically: SkyPilot may read the old one."""
    partial = path.with_name(f".{path.name}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(partial, path)


def zip_for_upload(shipment: Shipment, target: Path) -> str:
    """Zip the paths for the server's /upload_v2; return the id.

    Names in the archive are absolute, without the first slash.
    """
    return _zip(shipment.local_paths(), target)


def zip_folder(folder: Path, target: Path) -> str:
    """Zip one folder for the server's /upload_v2; return the id."""
    return _zip([folder], target)


def _zip(tops: Sequence[Path], target: Path) -> str:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for top in tops:
            for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
                if path.is_file():
                    out.write(path, str(path).lstrip("/"))
    digest = hashlib.sha256()
    with target.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
