"""Findings for Python environments, and packages of R and Julia."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..script import mount_points
from ..script.conversion_tables import one_line
from ..script.entered_environments import environments
from ..script.language_packages import JULIA, R, julia_projects
from ..script.python_packages import OF_TENSORFLOW_1
from ..shell.launched_program import launched
from ..sky_task.setup_commands import environment_packages
from .explain_input import View
from .finding import CHANGED, DECISION, KEPT, MISSING, Finding
from .site_suggestions import toml


def package_findings(view: View) -> Iterator[Finding]:
    """Packages that setup installs, and Julia projects without them."""
    if not view.sky or not view.site.shipped_modules:
        return
    made = any(" python=3" in line for line in str(view.fields.get("setup", "")).splitlines())
    if OF_TENSORFLOW_1[0] in view.wants.python.pip and not made:
        why = "needs Python 3.7, which the nodes lack: activate an environment in the script, and setup creates it"
        yield Finding(0, "environment", "code for TensorFlow 1", DECISION, why)
    for install in view.wants.languages:
        if install.language:
            reason = f"setup: {one_line(install.text, 120)}"
            name = f"packages of {install.language} files"
            yield Finding(_first_line(view, install.language), "environment", name, CHANGED, reason)
    for line, folder in julia_projects(view.script, view.scope):
        project = f"{folder or '.'}/Project.toml"
        if view.lookup is None or "$" in folder or view.lookup.path(project):
            run = f"julia --project={folder or '.'} -e 'using Pkg; Pkg.instantiate()'"
            reason = f"the packages of the project are not on the nodes: run {one_line(run, 90)} first in the script"
            yield Finding(line, "environment", one_line(f"julia --project={folder}", 60), DECISION, reason)
            return


def _first_line(view: View, language: str) -> int:
    """First line that starts a file of this language."""
    starts = {R: ("R", "Rscript"), JULIA: ("julia",)}[language]
    commands = (one for one in view.script.commands if launched(one, view.scope.containers).name in starts)
    return next((one.line for one in commands), 0)


def environment_findings(view: View) -> Iterator[Finding]:
    """Python environments that the script activates but does not create."""
    seen: set[str] = set()
    for line, name in environments(view.script, view.scope):
        name = view.project.with_user(name) if view.project else name
        if name in seen:
            continue
        seen.add(name)
        shown, suggestion = one_line(name, 60), f'[environments]\n"{toml(name, 80)}" = "PACKAGES"'
        found = environment_packages(view.site, name, view.wants)
        if view.sky and found is not None and (name.startswith(("/", "~", "./", "../")) or "/" not in name):
            listed = one_line(" ".join((*found.conda, *found.pip)), 80)
            what = (
                f"setup makes it with {listed}"
                if listed
                else "setup makes it; the script's files need no package in it"
            )
            yield Finding(line, "environment", shown, CHANGED, what)
        elif "$" in name and not re.match(r"[~/]", name):
            yield Finding(line, "environment", shown, KEPT, "its name is known only when the job runs")
        elif view.sky and mount_points.is_mounted(name, view.mounted):
            yield Finding(line, "environment", shown, KEPT, "is on a mounted path")
        elif view.sky:
            why = "an environment of the old cluster: name its packages, and setup creates it"
            yield Finding(line, "environment", shown, DECISION, why, suggestion)
        else:
            absent = view.lookup is not None and not view.lookup.environment(name)
            reason = "there is no such environment on this machine" if absent else "as on this machine"
            yield Finding(line, "environment", shown, MISSING if absent else KEPT, reason)
