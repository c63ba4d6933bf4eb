"""Requirements of a job's script: folders, variables and links. Credentials are not sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...model.allocation import Launch
from ...site import Site
from ...translate.script.language_packages import named_packages
from ...translate.script.needs import Needs, needs_in_folder, of, with_started
from ...translate.script.project_folder import Project
from ...translate.script.python_packages import packages
from ...translate.sky_task import credentials
from . import folder_contents


def folder_above(launch: Launch, limit: int, leave_out: Path) -> tuple[str, str]:
    """Return the sent folder above the submit folder, or "".

    It is sent because the script names files in it. Second: the message about a folder that the script names and that
    is not sent. ``limit``: number of bytes; ``leave_out``: the folder of this package's own state.
    """
    levels = needs_of(launch).above
    if not levels:
        return "", ""
    top = _project(launch).above(levels)
    if top == launch.submit_dir:
        return "", ""
    if top and folder_contents.may_be_sent(
        Path(top), limit, folder_contents.home_of(launch), leave_out, Path(launch.submit_dir)
    ):
        return top, ""
    above = top or "/".join([".."] * levels)
    return "", f"files above the submit folder were not copied: {above} is too large, shared, or a home folder"


def leave_credentials(launches: Sequence[Launch], site: Site) -> str:
    """Remove credentials from the environments of launches.

    Return the text that names them. Elements of an array share one environment, also afterwards.
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


def environment_of(launch: Launch, site: Site) -> dict[str, str]:
    """Variables that the site or an old cluster's file systems set."""
    return {**(dict(needs_of(launch).stores) if site.cluster.open else {}), **dict(site.environment)}


def needs_of(launch: Launch) -> Needs:
    """Requirements of the job's script on nodes."""
    text = _text(launch)
    if not text:
        return Needs()
    folder = Path(launch.submit_dir)
    found = replace(of(text), python=packages(text, folder), languages=named_packages(text, folder))
    project = _project(launch)
    return needs_in_folder(with_started(found, text, project), project)


def _text(launch: Launch) -> str:
    """Return the text of the job's script; "" without one."""
    try:
        return Path(launch.script).read_bytes().decode("utf-8", "replace") if launch.script is not None else ""
    except OSError:
        return ""


def _project(launch: Launch) -> Project:
    home, user = launch.environment.get("HOME", ""), launch.environment.get("USER", "")
    return Project(launch.submit_dir, home, launch.work_dir, user)


def links_of(launch: Launch) -> tuple[str, ...]:
    """Paths by which the script names the submit folder. Another machine had the folder there."""
    return needs_of(launch).links
