"""The submit folder under the names of a script.

The submit folder is copied to the nodes and has the same path there. A script may name it by the path that it had on
another machine: ``cd /home/me/proj/src`` in a copy of ``proj`` elsewhere. The nodes get a link at that path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..shell.word_sets import words

#: common names of folders; they identify no project
_COMMON = words(
    """
    src scripts script work data jobs job home slurm test tests code project projects run runs tmp scratch bin results
    result output outputs out logs log examples example train training experiments models model user users
    """
)


#: files that a project has beside its scripts, and that a script may name by whole paths
_PROGRAMS = (".py", ".R", ".r", ".jl", ".sh", ".pl", ".m", ".ipynb", ".nf", ".smk", ".lua", ".do", ".sas")


#: data and settings that a project in a home folder has, too
_DATA = re.compile(
    r"(~|/(\w+/)?(homes?|users?|u)/).*\.(txt|csv|tsv|json|ya?ml|toml|cfg|ini|conf|dat|fa|fasta|bed|sif|def|inp|mat|rds|pkl|npy)$"
)
#: endings of a program and of its source
_SOURCES = ("", ".c", ".cc", ".cpp", ".cu", ".f", ".f90", ".F90")
MAKEFILES = ("Makefile", "makefile", "GNUmakefile", "CMakeLists.txt")
#: larger files are no scripts written by hand
MAX_BYTES = 1 << 18


@dataclass(frozen=True)
class Project:
    """A submit folder.

    ``home``: the caller's home folder, the value of ``~``. ``work_dir``: the value of ``--chdir``. ``user``: the value
    of ``$USER``, which a job keeps on its nodes.
    """

    folder: str
    home: str = ""
    work_dir: str = ""
    user: str = ""

    def with_user(self, path: str) -> str:
        """Path of the script with ``$USER`` expanded."""
        return path.replace("$USER", self.user) if self.user else path

    def holds(self, path: str) -> bool:
        """Return whether a path is in the submit folder."""
        whole = self._whole(path)
        return bool(self.folder.strip("/")) and (whole == self.folder or whole.startswith(self.folder + "/"))

    def text_of(self, name: str) -> str:
        """Text of a script in the submit folder, or "". ``name`` is relative to the working directory."""
        path = os.path.normpath(os.path.join(self.folder, self.work_dir, name))
        if not self.holds(path):
            return ""
        try:
            if os.path.isfile(path) and os.path.getsize(path) <= MAX_BYTES:
                with open(path, "rb") as file:
                    data = file.read()
                return "" if b"\0" in data else data.decode("utf-8", "surrogateescape")
        except OSError:
            pass
        return ""

    def above(self, levels: int) -> str:
        """Copied folder ``levels`` above the working directory, or "".

        A home folder, a folder in the root folder, and the parent of a symbolic link to the submit folder are not
        copied.
        """
        base = self.work_dir if self.holds(self.work_dir) else self.folder
        up = os.path.normpath(os.path.join(base, *[".."] * levels))
        if self.holds(up):
            return self.folder
        if not self.folder.startswith(up + "/") or up.count("/") < 2:
            return ""
        there, home = os.path.join(base, *[".."] * levels), os.path.realpath(self.home or os.path.expanduser("~"))
        own = os.path.isdir(there) and os.path.samefile(up, there)
        return up if own and not f"{home}/".startswith(os.path.realpath(up) + "/") else ""

    def elsewhere(self, path: str) -> bool:
        """Return whether this machine has the path, outside the submit folder."""
        return "$" not in path and not self.holds(path) and os.path.lexists(self._whole(path))

    def _whole(self, path: str) -> str:
        return self.home + path[1:] if self.home and (path == "~" or path.startswith("~/")) else path

    def stands_for(self, path: str, files: Iterable[str] = ()) -> str:
        """Part of the submit folder that ``path`` means, or "".

        ``path`` is a folder of the old cluster. ``files``: relative names that the script reads there; "" for an
        unknown one. A folder without any of them is another one, as is a folder of this machine. If the submit folder
        has a subfolder of that name, the script means the subfolder.
        """
        if files and not any(os.path.lexists(os.path.join(self.folder, name)) for name in files):
            return ""
        if not self.folder.strip("/") or self.folder == self.home or self.holds(path) or self.elsewhere(path):
            return ""
        parent, _, name = path.rpartition("/")
        if name == os.path.basename(self.folder) or not os.path.isdir(os.path.join(self.folder, name)):
            return path
        return parent if parent.count("/") > (0 if parent.startswith("~") else 1) else ""

    def former(self, path: str) -> str:
        """Prefix of a path that names the submit folder elsewhere, or "".

        The prefix ends in the folder's name. The rest of the path exists in the folder, as far as it is known, or
        would be in a folder that exists there, like a program that is built later.
        """
        name = os.path.basename(self.folder)
        if len(name) < 2 or self.folder == self.home:
            return ""
        parts, own = path.split("/"), _spelling(name)
        for index in range(2 if path.startswith("/") else 1, len(parts)):
            rest = "/".join(parts[index + 1 :]).partition("$")[0].rstrip("/")
            if "$" in "".join(parts[:index]):
                break
            copy = parts[index] in (name, f"{name}-master", f"{name}-main")
            if not (copy or (rest and _spelling(parts[index]) == own)) or (
                (name.lower() in _COMMON or len(name) < 3) and not rest
            ):
                continue
            found = os.path.join(self.folder, rest)
            if not rest or os.path.lexists(found) or ("/" in rest and os.path.isdir(os.path.dirname(found))):
                return "/".join(parts[: index + 1])
        beside = path.endswith(_PROGRAMS) or _DATA.match(path)
        return self._by_program(parts) if beside and "$" not in path else ""

    @classmethod
    def of_script(cls, path: str, top: str, named: Iterable[str], home: str = "", user: str = "") -> Project:
        """Project of a script in a folder of projects.

        The paths that the script names decide. ``top``: the folder of projects, the result for scripts that name none.
        ``named``: paths in the script.
        """
        folders, folder = [], os.path.dirname(path)
        while folder.startswith(top.rstrip("/") + "/"):
            folders.append(folder)
            folder = os.path.dirname(folder)
        projects = (cls(folder, home, user=user) for folder in reversed(folders))
        paths = list(named)
        return next((one for one in projects if any(map(one.former, paths))), cls(top, home, user=user))

    def _by_program(self, parts: list[str]) -> str:
        """Prefix of a program's path before the submit folder's part, or ""."""
        for index in range(2 if parts[0] == "~" else 3, len(parts)):
            if os.path.isfile(os.path.join(self.folder, *parts[index:])):
                former = "/".join(parts[:index])
                return "" if self.elsewhere(former) else former
        return ""


def builds(folders: Iterable[str], name: str) -> bool:
    """Return whether a folder has a program, or builds it.

    It does if it has the program's source, or a makefile that names the program.
    """
    word = re.compile(rb"(?<![\w./-])%s(?![\w./-])" % re.escape(os.fsencode(name)))
    for folder in folders:
        if any(os.path.lexists(os.path.join(folder, name + ending)) for ending in _SOURCES):
            return True
        for makefile in MAKEFILES:
            try:
                with open(os.path.join(folder, makefile), "rb") as file:
                    if word.search(file.read(MAX_BYTES)):
                        return True
            except OSError:
                continue
    return False


def _spelling(name: str) -> str:
    """Normalised name of a folder and its copies. model-main and Model are both ``model``."""
    return re.sub(r"[-_](?:master|main)$", "", name).lower().replace("-", "_")
