"""Decides between SkyPilot and this machine where no server must be queried.

The controller imports this module at each start, so it imports neither HTTP nor YAML.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ... import paths
from ...site.record import Site
from ..base import Choice

#: the variable with which a user configures a SkyPilot server
ENDPOINT = "SKYPILOT_API_SERVER_ENDPOINT"


def is_set_up(environment: Mapping[str, str], site: Site) -> bool:
    """Return True if this user has used SkyPilot or configured a server. Only then is a server queried."""
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    return bool(environment.get(ENDPOINT) or site.sky.endpoint or (home / ".sky").is_dir())


def configured_engine(environment: Mapping[str, str], site: Site, wanted: str) -> Choice | None:
    """Return the engine that ``wanted`` (SLURMSKY_ENGINE) or the site names; None if SkyPilot's server decides."""
    word = wanted or site.engine
    if word in ("sky", "local"):
        return Choice(word, paths.ENGINE if wanted else "the site file")
    return None if is_set_up(environment, site) else Choice("local", "SkyPilot is not set up")
