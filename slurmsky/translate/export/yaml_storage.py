"""``file_mounts`` and ``volumes`` of a script's YAML. Comments name the paths that the user must provide."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from typing import Any

from ..script import mount_points, outside_paths
from ..script.work_folder import plain
from ..shell.path_texts import is_path
from ..shell.script_commands import parse
from ..sky_task.sky_names import sky_name
from . import conversion
from .conversion import one_line
from .yaml_document import YamlDocument
from .yaml_resources import NodeDraft

#: variable with the URL of the bucket that holds the old cluster's folders
BUCKET = "DATA_BUCKET"
#: single files, which are copied: only folders can be mounted
_FILE = re.compile(
    r"\.(sh|bash|py|R|r|jl|pl|txt|csv|tsv|ya?ml|json|toml|cfg|sif|simg|img|h5|nc|npz|npy|pth?|ckpt|gz|zip|tar|fa|fasta|vcf|bed)$"
)


class StorageDraft(NodeDraft):
    """Storage of one script's YAML."""

    @cached_property
    def _storage(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, str], list[str]]:
        """Mounts, volumes, notes on mounts, and folders of the old cluster that have neither."""
        checkpoints = self.reading.checkpoints
        used = [path for _, path in self.reading.paths] + checkpoints
        source = self.source
        mounts: dict[str, Any] = {}
        volumes: dict[str, Any] = {}
        for path, item in self.task.fields.get("file_mounts", {}).items():
            if path in source:
                mounts[path] = item
        for path, item in self.task.fields.get("volumes", {}).items():
            if path in source or path in dict(self.site.sky_partition(self.partition).volumes):
                volumes[path] = item
        notes: dict[str, str] = {}
        used += outside_paths.read_unchanged(self.script, self._gone_lines())
        used += self._alternatives()
        exported = "".join(f"export {name}={conversion.quoted(value)}\n" for name, value in self.reading.envs.items())
        used += outside_paths.read_unchanged(parse(exported))
        if former := self.reading.former:
            used = [path for path in used if not mount_points.is_mounted(path, (former,))]
            checkpoints = [
                path for path in checkpoints if path in used and not mount_points.is_mounted(former, (path,))
            ]
        fields = self.task.fields
        others = {path.path for path in self.site.paths} - {*fields.get("file_mounts", {}), *fields.get("volumes", {})}
        for path in dict.fromkeys(map(mount_points.checkpoint_folder, checkpoints)):
            if not mount_points.is_mounted(path, [*mounts, *volumes, *others]):  # others: by pod_config
                bucket = self.site.sky.bucket.rstrip("/")
                place = path.strip("/").replace("/", "-")
                mounts[path] = (
                    {"source": f"{bucket}/{self.task.name}/{place}", "mode": "MOUNT"}
                    if bucket
                    else {"name": self._bucket(sky_name(place, 30)), "mode": "MOUNT"}
                )
                notes[path] = f"a bucket{'' if bucket else ' of this name is created; it'} remains after the nodes"
        known = (*mounts, *volumes, *others)
        bare = [
            plain(path.rstrip(":*")) for path in used if "," not in path and not mount_points.is_mounted(path, known)
        ]
        bare = [path for path in bare if not (mount_points.on_every_node(path) or mount_points.is_scratch(path))]
        apart = [path for path in (former, *mounts, *volumes) if path]  # no mount may contain these
        below: dict[str, list[str]] = {}
        for path in bare:
            below.setdefault(_below(path, apart), []).append(path)
        deep = not re.search(r"(?<![\w./])\.\./", source)  # the script enters no folder above one of these
        tops = {_narrowed(top, paths) if deep else top for top, paths in below.items()}
        above = {top for top in tops if any(path.startswith(f"{top}/") for path in apart)} | {"/"}
        missing = sorted(top for top in tops if len(top) > 1 and not mount_points.is_mounted(top, tops - {top} - above))
        made = re.findall(r"for d in ([^;]*); do \[ -w", "\n".join(self.reading.setup))  # perhaps only to write there
        copied = [path for path in missing if not self._unnamed(path, above | {*" ".join(made).split()})]
        for path in copied:
            place = self._copy(path)
            mounts[path] = place if _FILE.search(path) else {"source": place, "mode": "MOUNT"}
        return mounts, volumes, notes, missing

    @staticmethod
    def _copy(path: str) -> str:
        """Place of an old folder in the bucket."""
        return f"${{{BUCKET}}}/{path.replace('~', 'home').strip('/')}"

    @staticmethod
    def _unnamed(path: str, above: Container[str] = ()) -> bool:
        """Return whether only the user can name the folder or bucket to mount."""
        several = len(mount_points.mount_of(f"{path}/x")) > len(path) or path in above or "$" in path
        return several or path.startswith(("/path/", "~/."))

    def _mounts(self, document: YamlDocument, own: Mapping[str, str] | None = None) -> None:
        mounts, volumes, notes, missing = self._storage
        comments = []
        for path in missing:
            place = one_line(path)
            if path in mounts:
                comments.append(f"TODO: {place} is on the old cluster: copy it to {one_line(self._copy(path))}")
            elif place.startswith("/path/"):
                comments.append(f"TODO: {place} is a placeholder of the script: write your path")
            elif place.startswith("~/.") and "$" not in place:
                comments.append(f"TODO: {place} is in the home directory of the old cluster: copy it here, and add")
                comments.append(f"  file_mounts: {{{place}: {place}}}")
            else:
                comments.append(f"TODO: folders in {place} of the old cluster: mount a bucket, and write its path")
        if mounts or own:
            document.add_field("file_mounts", {**(own or {}), **mounts}, comments, inline=notes)
        elif comments:
            document.blank()
            for text in comments:
                document.comment(text)
        if volumes:
            document.add_field("volumes", volumes)

    def _bucket(self, place: str) -> str:
        """Name of a bucket, made unique by the script's text. Bucket names are globally unique."""
        unique = hashlib.sha256(self.source.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return f"{self.task.name[:20].rstrip('-')}-{place}-{unique}"[:63]

    def _alternatives(self) -> list[str]:
        """Paths in variables with different values in the script's branches."""
        given: dict[str, list[str]] = {}
        for command in self.script.commands:
            for one in command.assignments if not command.words else ():
                given.setdefault(one.name, []).append(one.value.text or "")
        texts = [text for values in given.values() if len({*values}) > 1 for text in values]
        return [text for text in texts if is_path(text) and not mount_points.on_every_node(text)]

    def _gone_lines(self) -> set[int]:
        """Lines of the script that are removed completely."""
        source, at, gone = self.source, 0, set[int]()
        removed = [(start, end) for start, end, text in self.reading.edits if not text]
        for number, line in enumerate(source.split("\n"), 1):
            first, last = at + len(line) - len(line.lstrip()), at + len(line.rstrip())
            if any(start <= first and last <= end for start, end in removed):
                gone.add(number)
            at += len(line) + 1
        return gone


#: folders of a program beside each other, of which it needs all
_PARTS = re.compile(r"/(bin|sbin|lib|lib64|include|etc|share|libexec)(/.*)?$")


def _narrowed(top: str, paths: Sequence[str]) -> str:
    """Deepest folder below ``top`` that contains all paths.

    >>> _narrowed("/home/me", ["/home/me/p/data/a.csv", "/home/me/p/x.py"]), _narrowed("/sw/a", ["/sw/a/b/bin/run"])
    ('/home/me/p', '/sw/a/b')
    """
    folders = []
    for path in paths:
        known = mount_points.known_part(path)  # the last component may be a file
        folders.append(known.rpartition("/")[0] if known == path else known.rstrip("/"))
    common = _PARTS.sub("", posixpath.commonpath(folders))
    return common if common.startswith(f"{top}/") else top


def _below(path: str, apart: Sequence[str]) -> str:
    """Folder to mount for a path. It contains no path of ``apart``, like the workdir's link, if possible."""
    top = mount_points.top_of(path)
    while top != path and any(one.startswith(f"{top}/") for one in apart):
        top = "/".join(path.split("/")[: top.count("/") + 2])
    return top
