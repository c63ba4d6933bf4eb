"""Findings for the packages of R and Julia files."""

from __future__ import annotations

from collections.abc import Iterator

from ..script.conversion_tables import one_line
from ..script.language_packages import JULIA, R, julia_projects
from ..shell.launched_program import launched
from .explain_input import View
from .finding import CHANGED, DECISION, Finding


def package_findings(view: View) -> Iterator[Finding]:
    """Packages that setup installs, and Julia projects without them."""
    if not view.sky or not view.site.shipped_modules:
        return
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
