"""The user's SkyPilot configuration, sent with each request.

The user's file is ``$SKYPILOT_GLOBAL_CONFIG``, else ``~/.sky/config.yaml``; the project's file is
``$SKYPILOT_PROJECT_CONFIG``, else ``.sky.yaml`` in the folder of the submit, and overrides it.
Source: sky/skypilot_config.py and sky/server/requests/payloads.py of SkyPilot 0.14.1.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import re
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GLOBAL, PROJECT = "SKYPILOT_GLOBAL_CONFIG", "SKYPILOT_PROJECT_CONFIG"
PROJECT_FILE = ".sky.yaml"
#: settings of the client only: never sent to a server
_CLIENT_ONLY = ("api_server", "admin_policy")
#: parts of a configuration with Kubernetes objects: lists are concatenated, named objects merged
_OBJECTS = ("pod_config", "custom_metadata")
_REPLACED = ("args", "command")  # lists in them that are replaced as a whole
_HASH = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]*")
_HASH_LENGTH = 8


class ConfigError(Exception):
    """A required configuration file is unreadable. The text names the file and the reason."""


class UserConfig:
    """The user's configuration; changed files are read again."""

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self._environment = environment
        self._home = home
        self._read: dict[Path, tuple[int, int, dict[str, Any]]] = {}  # size, mtime in ns, content

    def user(self) -> dict[str, Any]:
        """Return the user's file. Raises ConfigError."""
        return self._file(GLOBAL, self._home / ".sky" / "config.yaml")

    def project(self, folder: Path) -> dict[str, Any]:
        """Return the project file in a folder. Raises ConfigError."""
        return self._file(PROJECT, folder / PROJECT_FILE)

    def sent(self, folder: Path | None = None, workspace: str = "") -> dict[str, Any]:
        """Return the configuration for a request. Raises ConfigError. ``folder``: the folder of the submit."""
        merged = copy.deepcopy(self.user())
        if folder is not None:
            overlay(merged, self.project(folder))
        if workspace:
            merged["active_workspace"] = workspace
        return {key: value for key, value in merged.items() if key not in _CLIENT_ONLY}

    def _file(self, variable: str, usual: Path) -> dict[str, Any]:
        named = self._environment.get(variable, "")
        path = Path(named.replace("~", str(self._home), 1) if named.startswith("~/") else named) if named else usual
        try:
            metadata = path.stat()
            known = self._read.get(path)
            if known is not None and known[:2] == (metadata.st_size, metadata.st_mtime_ns):
                return known[2]
            content = _parse(path.read_bytes(), path)
        except FileNotFoundError:
            if named:
                raise ConfigError(f"{path}, which {variable} names, does not exist") from None
            return {}
        except NotADirectoryError:
            return {}
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        self._read[path] = (metadata.st_size, metadata.st_mtime_ns, content)
        return content


def _parse(data: bytes, path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a mapping")
    return content


def overlay(base: dict[str, Any], over: Mapping[str, Any], objects: bool = False) -> None:
    """Merge ``over`` into ``base``. ``objects``: both are parts of Kubernetes objects."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            overlay(base[key], value, objects or key in _OBJECTS)
        elif objects and key not in _REPLACED and isinstance(value, list) and isinstance(base.get(key), list):
            base[key] = _merged(base[key], value)
        else:
            base[key] = copy.deepcopy(value)


def _merged(base: list[Any], over: list[Any]) -> list[Any]:
    named = {item["name"]: item for item in base if isinstance(item, dict) and "name" in item}
    added = []
    for item in over:
        known = named.get(item.get("name")) if isinstance(item, dict) else None
        if known is not None:
            overlay(known, item, objects=True)
        else:
            added.append(copy.deepcopy(item))
    return [*base, *added]


def user_hash(environment: Mapping[str, str], home: Path, user: str) -> str:
    """Return the user's id at servers without accounts.

    It is created and stored as by SkyPilot's client. A server uses its own id for a request without one, and searches
    for uploads under that id.
    """
    given = environment.get("SKYPILOT_USER_ID", "")
    if _HASH.fullmatch(given):
        return given
    path = home / ".sky" / "user_hash"
    try:
        known = path.read_text("utf-8").strip()
        if _HASH.fullmatch(known):
            return known
    except (OSError, UnicodeDecodeError):
        pass  # the file is created below
    host = hashlib.md5(socket.gethostname().encode(), usedforsecurity=False).hexdigest()[-4:]
    made = hashlib.md5(f"{user}-{host}".encode(), usedforsecurity=False).hexdigest()[:_HASH_LENGTH]
    partial = path.with_name(f"user_hash.{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # without the file the id is constant while the host name is
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(made)
        os.replace(partial, path)
    return made
