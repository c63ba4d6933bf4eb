"""Looks up a script's paths, programs, environments and variables on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ...translate.finding import Here


def here(env: Mapping[str, str], folder: str) -> Here:
    """Build the lookup for a caller with these variables, who submits from ``folder``."""

    def expand(text: str) -> str:
        home = env.get("HOME", "")
        text = home + text[1:] if text == "~" or text.startswith("~/") else text
        return os.path.join(folder, text)

    @cache
    def program(name: str) -> bool:
        return shutil.which(name, path=env.get("PATH", os.defpath)) is not None

    @cache
    def environments() -> frozenset[str]:
        home = Path(env.get("HOME", "/"))
        try:
            listed = (home / ".conda" / "environments.txt").read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            listed = []
        folders = [Path(line) for line in listed if line]
        for variable in ("CONDA_PREFIX", "MAMBA_ROOT_PREFIX", "CONDA_ROOT"):
            if env.get(variable):
                folders += (Path(env[variable]) / "envs").glob("*")
        return frozenset(path.name for path in folders)

    def environment(name: str) -> bool:
        return os.path.exists(expand(name)) if "/" in name or name.startswith(".") else name in environments()

    return Here(
        path=lambda text: os.path.exists(expand(text)), program=program, environment=environment, variable=env.get
    )
