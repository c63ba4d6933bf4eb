"""What travels with a job: settings, script, certificates, program, and a copy of the submit folder.

It travels as SkyPilot file mounts, never in the task's YAML, which the API server keeps and shows.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...agent.cloud import private, submit_folder
from ...agent.cloud.cloud_node import ENDED
from ...agent.job.launch_codec import settings_of
from ...model.allocation import Launch
from ..base import EngineError
from . import certificates, inbox, node_program
from .job_watch import Record

REMOTE = "~/.slurmsky"
KEPT = "~/.slurmsky-kept"  # where the site's bucket is mounted
IGNORE_FILES = (".skyignore", ".slurmskyignore")
MAX_FILES = 200_000

START = r"""#!/bin/sh
# Started by SkyPilot on every node of a job: finds a Python and gives the node to slurmsky.
folder=$(cd "$(dirname "$0")" && pwd)
for python in python3 /usr/bin/python3 "$HOME/skypilot-runtime/bin/python" "$HOME/sky-user-env/bin/python3" \
    "$HOME/miniconda3/bin/python3" /opt/conda/bin/python3; do
    if "$python" -c 'import sys, ssl; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
        "$python" -E -s "$folder/../AGENT" cloud "$folder"
        exit
    fi
done
echo "slurmsky: this node has no Python 3.9 or newer" >&2
exit 70
"""


@dataclass(frozen=True)
class Shipment:
    """A folder made ready, and the SkyPilot task fields that bring it to the nodes."""

    folder: Path
    program: Path
    fields: dict[str, Any]
    manifest: dict[str, tuple[int, int]]
    secret: bytes = b""  # shared with the job's nodes: what they write into the log is authenticated with it

    def local_paths(self) -> list[Path]:
        """What a remote API server must be given."""
        return [Path(self.fields["workdir"])] if "workdir" in self.fields else [self.folder, self.program]

    def in_workdir(self) -> Shipment:
        """The same as a task's workdir: a pool's workers were set up before, and take no file mounts of a job.

        Workers keep what earlier jobs brought, so it lies there under the job's unique name.
        """
        name = self.fields["run"].split("/")[-2]
        root = _workdir(self.folder, name, self.program)
        return replace(self, fields={"workdir": str(root), "run": f"sh {name}/start.sh\n"})


def _workdir(folder: Path, name: str, program: Path) -> Path:
    """Move a shipment's folder into a workdir. What is renewed for a restart is still found in its old place."""
    root = folder.parent / "workdir"
    root.mkdir(mode=0o700, exist_ok=True)
    folder.rename(root / name)
    folder.symlink_to(Path("workdir") / name)
    os.link(program, root / program.name)
    return root


def pack(
    launch: Launch,
    name: str,
    folder: Path,
    programs: Path,
    *,
    upload_mib: int,
    return_mib: int,
    environment: dict[str, str],
    elements: Sequence[Launch] = (),
    slots: int = 1,
    ranks: Sequence[Launch] = (),
    alone_min: int = 0,
    bucket: str = "",
    letter_ids: tuple[int, int] = (0, 0),
    reach: str = "",
) -> Shipment:
    """Make the folder for a job; or for ``elements`` of an array, ``slots`` of which run at a time; or for elements
    that are a managed job each, ``ranks``.

    ``alone_min``: the nodes end it when nobody has been there for so many minutes; 0: never. ``bucket``: where files
    go that are too large to come back through the log; "": nowhere.

    Raises EngineError when the submit folder is too large to travel.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = node_program.build(programs)
    certificates.make(folder / "tls", name)
    if launch.script is not None:
        _private(folder / "script", Path(launch.script).read_bytes())
    manifest = archive(
        Path(launch.submit_dir),
        folder / "submit_folder.tar",
        upload_mib << 20,
        home=Path(launch.environment.get("HOME") or os.path.expanduser("~")),
        leave_out=programs.parent.parent,
    )
    secret = os.urandom(32)
    settings = {
        "name": name,
        "agent": f"../{program.name}",
        "launch": launch.to_dict(),
        "seed": int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"),
        "host_prefix": name[:40],
        "environment": environment,
        "alone_s": alone_min * 60,
        "reach": reach,
        "letters": inbox.settings(secret, letter_ids),
        "files": {
            "identity": submit_folder.identity(launch.submit_dir),
            "archive": "submit_folder.tar",
            "return_bytes": return_mib << 20,
            "folders": _folders(launch),
            "bucket": f"{bucket.rstrip('/')}/{name}" if bucket else "",
            "mounted": f"{KEPT}/{name}" if bucket else "",
        },
    }
    if elements:
        settings["elements"] = [difference(launch, element) for element in elements]
        settings["slots"] = slots
    if ranks:
        settings["ranks"] = [difference(launch, element) for element in ranks]
    _private(folder / "settings.json", json.dumps(settings).encode())
    _private(folder / "start.sh", START.replace("AGENT", program.name).encode())
    fields: dict[str, Any] = {
        "file_mounts": {f"{REMOTE}/{program.name}": str(program), f"{REMOTE}/{name}": str(folder)},
        # Not exec: SkyPilot appends a wait for its uploads to buckets (task_codegen.py).
        "run": f"sh {REMOTE}/{name}/start.sh\n",
    }
    if bucket:
        fields["file_mounts"] |= {KEPT: {"source": bucket, "mode": "MOUNT"}}
    return Shipment(folder, program, fields, manifest, secret)


def difference(launch: Launch, element: Launch) -> dict[str, Any]:
    """The fields of an element in which it differs from the launch that was shipped; JSON-ready."""
    base = launch.to_dict()
    own = {name: value for name, value in element.to_dict().items() if name != "record" and value != base[name]}
    return own | {"job_id": element.job_id}


def prepare_restart(folder: Path, count: int, unfinished: Collection[int], rank: int = 0) -> None:
    """Settings for the next run on other nodes: how often the job was restarted, and which elements remain.
    ``rank``: of the job among those that were launched together.

    A local API server reads what was shipped again at a recovery.
    """
    path = folder / "settings.json"
    settings = json.loads(path.read_text())
    (settings["ranks"][rank] if "ranks" in settings else settings["launch"])["restart_count"] = count
    if "elements" in settings:
        settings["elements"] = [
            {**element, "restart_count": count} for element in settings["elements"] if element["job_id"] in unfinished
        ]
    _private(path, json.dumps(settings).encode())


def note_end(folder: Path, job_id: int, code: int) -> None:
    """Append a job's end to what a relaunch by a local API server reads: its script does not begin again."""
    descriptor = os.open(folder / ENDED, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{job_id} {code}\n")


def ship_again(folder: Path, record: Record) -> None:
    """Make a run's folder ready to be launched once more, under another name, with what it holds now."""
    fields = json.loads((Path(record.together or folder) / "task.yaml").read_text())
    record.name = fields["name"] = f"{record.name.partition('_')[0]}_{record.restart}"
    if record.together:
        # Another one of them may be lost in the same moment.
        record.name = fields["name"] = f"{record.name}_{record.rank}"
        fields |= _leave(folder, record, fields)
    (folder / "task.yaml").write_text(json.dumps(fields))
    paths = [Path(fields["workdir"])] if "workdir" in fields else [Path(path) for path in fields["file_mounts_mapping"]]
    record.blob_id = _zip(paths, folder / "ship.zip")


def _leave(folder: Path, record: Record, fields: dict[str, Any]) -> dict[str, Any]:
    """Give a job that was launched together with others a shipment of its own, in its run's folder; the task's fields
    that bring it to the nodes.
    """
    shared, own = (folder / "ship").resolve(), folder / "ship"
    own.unlink()
    shutil.copytree(shared, own, copy_function=os.link)
    settings = settings_of(json.loads((shared / "settings.json").read_text()), record.rank)
    _private(own / "settings.json", json.dumps(settings).encode())
    record.together, record.rank = "", 0
    if "workdir" in fields:
        program = Path(fields["workdir"]) / Path(settings["agent"]).name
        return {"workdir": str(_workdir(own, shared.name, program))}

    def moved(path: str) -> str:
        return str(own) if Path(path).resolve() == shared else path

    mounts = {there: moved(here) if isinstance(here, str) else here for there, here in fields["file_mounts"].items()}
    paths = map(moved, fields["file_mounts_mapping"])
    return {"file_mounts": mounts, "file_mounts_mapping": {path: path for path in paths}}


def archive(folder: Path, target: Path, limit: int, home: Path, leave_out: Path) -> dict[str, tuple[int, int]]:
    """Tar a folder's content; relative path of every regular file in it -> (size, mtime in ns). Left out: what the
    ignore files name, private files of the user, and the folder ``leave_out``.

    Raises EngineError for a folder that is too large, or private itself.
    """
    guard = private.Private(private.homes(str(home)), [str(leave_out)])
    kept_in = guard.around(str(folder))
    if kept_in:
        raise EngineError(f"the submit folder {folder} holds credentials ({kept_in}) and does not travel")
    manifest: dict[str, tuple[int, int]] = {}
    total = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        os.chmod(target, 0o600)
        for path, facts in walk(folder, guard):
            if stat.S_ISREG(facts.st_mode):
                manifest[str(path.relative_to(folder))] = (facts.st_size, facts.st_mtime_ns)
                total += facts.st_size
            if total > limit or len(manifest) > MAX_FILES:
                raise EngineError(
                    f"the submit folder {folder} holds more than {limit >> 20} MiB or {MAX_FILES} files: "
                    f"name what a job does not need in {folder / IGNORE_FILES[0]}, or map it in [paths]"
                )
            try:
                tar.add(path, str(path.relative_to(folder)), recursive=False)
            except (OSError, ValueError):
                continue  # it vanished, or may not be read by its own user
    return manifest


def walk(folder: Path, guard: private.Private) -> Iterator[tuple[Path, os.stat_result]]:
    patterns = [
        line.strip().rstrip("/")
        for name in IGNORE_FILES
        if (folder / name).is_file()
        for line in (folder / name).read_text(errors="replace").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]

    def ignored(path: Path) -> bool:
        relative = str(path.relative_to(folder))
        return any(
            fnmatch.fnmatch(relative, pattern.lstrip("/"))
            or ("/" not in pattern and fnmatch.fnmatch(path.name, pattern))
            for pattern in patterns
        )

    for root, folders, names in os.walk(folder):
        base = Path(root)
        try:
            inside = os.stat(root)
        except OSError:
            folders.clear()
            continue  # it vanished
        entries = {name: _facts(base / name, inside, guard) for name in [*folders, *names] if not ignored(base / name)}
        folders[:] = sorted(name for name in folders if entries.get(name) is not None)
        for name, facts in sorted(entries.items()):
            if facts is not None:
                yield base / name, facts


def _facts(path: Path, inside: os.stat_result, guard: private.Private) -> os.stat_result | None:
    """What lies at a path, in the folder ``inside``; None for what does not travel: private files, sockets, pipes."""
    try:
        facts = os.lstat(path)
    except OSError:
        return None  # it vanished
    link = stat.S_ISLNK(facts.st_mode)
    try:
        if guard.named(inside, (path.name,)) or guard.holds(os.stat(path) if link else facts):
            return None
    except OSError:
        return facts  # a link to nothing
    return facts if link or stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode) else None


def _folders(launch: Launch) -> list[str]:
    """Folders that exist here, so that the job may rely on them there."""
    wanted = {launch.work_dir, *(os.path.dirname(path) for path in (launch.stdout, launch.stderr))}
    return sorted(path for path in wanted if path.startswith("/") and os.path.isdir(path))


def _private(path: Path, data: bytes) -> None:
    """Write a file as a whole: SkyPilot may be reading the one that was there."""
    partial = path.with_name(f".{path.name}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(partial, path)


def zip_for_upload(shipment: Shipment, target: Path) -> str:
    """A zip of all local paths as the server's /upload_v2 takes it: absolute names without the first
    slash; its id.
    """
    return _zip(shipment.local_paths(), target)


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
