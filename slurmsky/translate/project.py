"""The submit folder under the names that a script has for it.

The submit folder travels to the nodes and has the same path there. A script may name it by the path that it had on
another machine: ``cd /home/me/proj/src`` in a copy of ``proj`` elsewhere. The nodes get a link at that path.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .wordsets import words

#: names that many folders share; they identify no project
_COMMON = words(
    """
    src scripts script work data jobs job home slurm test tests code project projects run runs tmp scratch bin results
    result output outputs out logs log examples example train training experiments models model user users
    """
)


@dataclass(frozen=True)
class Project:
    """A submit folder. ``home``: the caller's home folder, which ``~`` stands for. ``work_dir``: by ``--chdir``."""

    folder: str
    home: str = ""
    work_dir: str = ""

    def holds(self, path: str) -> bool:
        """Whether a path is in the submit folder."""
        whole = self.home + path[1:] if self.home and (path == "~" or path.startswith("~/")) else path
        return bool(self.folder.strip("/")) and (whole == self.folder or whole.startswith(self.folder + "/"))

    def former(self, path: str) -> str:
        """The part of a path that names the submit folder on another machine; "" for none.

        The part ends in the folder's name, and the rest of the path, as far as it is known, exists in the folder.
        """
        name = os.path.basename(self.folder)
        if len(name) < 3 or self.folder == self.home or "$" in path.partition(name)[0]:
            return ""
        parts = path.split("/")
        for index in range(2 if path.startswith("/") else 1, len(parts)):
            rest = "/".join(parts[index + 1 :]).partition("$")[0].rstrip("/")
            if parts[index] != name or (name.lower() in _COMMON and not rest):
                continue
            if not rest or os.path.lexists(os.path.join(self.folder, rest)):
                return "/".join(parts[: index + 1])
        return ""
