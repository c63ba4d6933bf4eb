"""Code that executes the command reads the field of every honoured option."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from syntax_trees import tree_of
from tables import every

from slurmsky.options.family import FAMILY
from slurmsky.options.table import COMMANDS, SUBMIT, Option, load

PACKAGE = Path(__file__).resolve().parents[3] / "slurmsky"

#: Modules that do the rest of a command, beyond commands/NAME.py and what every query uses.
ALSO = {
    "sacct": ("commands/accounting/run_selection.py", "commands/accounting/cached_rows.py"),
    "scontrol": (
        "commands/scontrol/show_verbs.py",
        "commands/scontrol/show_jobs.py",
        "commands/scontrol/show_output.py",
        "commands/scontrol/job_verbs.py",
        "commands/scontrol/update_jobs.py",
    ),
    "sattach": ("agent/srun/attach_session.py",),
    "sbcast": ("agent/srun/file_bcast.py",),
    "sstat": ("agent/srun/step_stats.py", "report/text/sstat_rows.py"),
    **dict.fromkeys(("sacctmgr", "sdiag", "sshare"), ("commands/common/data_output.py",)),
}
#: modules that describe options to people and act on none
DESCRIBES = ("translate/sky_task/option_support.py", "translate/explain/explanation.py")
SHARED = ("commands/common/report_settings.py", "commands/common/command_errors.py")
#: What the parser itself answers or acts on: help pages, and what decides how the rest is read.
IN_THE_PARSER = {"help", "usage", "version", "autocomplete", "ignore-pbs"}
#: Fields of a submission that the option parser turns into others, or that are taken from these: field -> the other.
BECOMES = {
    "nodefile": "nodelist",  # its content
    "nodes": "nodes_min",  # the text is kept for what prints it
}


@cache
def words_of(module: str, of_query: bool = False) -> frozenset[str]:
    """Attributes and texts in a module of the package; ``of_query``: only attributes of what is called query."""
    path = PACKAGE / module
    if not path.exists():
        return frozenset()
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            if not of_query or owner == "query":
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not of_query:
            found.add(node.value)
    return frozenset(found)


def module_of(command: str) -> str:
    module = f"commands/{command}.py"
    return module if (PACKAGE / module).exists() else f"commands/{command}/__init__.py"


@cache
def query_words(command: str) -> frozenset[str]:
    """What the modules of a query ask of its request."""
    if command in FAMILY:
        modules = (module_of(command), "options/family.py", *ALSO.get(command, ()))
        return frozenset().union(*(words_of(module) for module in modules))
    modules = (module_of(command), *SHARED, *ALSO.get(command, ()))
    return frozenset().union(*(words_of(module, of_query=True) for module in modules))


@cache
def submit_words() -> frozenset[str]:
    """What anything but the option parser asks of a job or step."""
    modules = (path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
    return frozenset().union(
        *(words_of(name) for name in modules if not name.startswith(("options/", "model/")) and name not in DESCRIBES)
    )


def honoured() -> list[Option]:
    return [option for command in (*COMMANDS, *FAMILY) for option in load(command).options
            if option.policy in ("mapped", "agent") and not option.later]  # fmt: skip


@every("option", honoured(), lambda option: f"{option.command}--{option.long}{option.env}")
def test_a_reader_exists(option: Option) -> None:
    if option.reader in IN_THE_PARSER or option.long in IN_THE_PARSER:
        return
    words = submit_words() if option.command in SUBMIT else query_words(option.command)
    if not option.long and not option.field:
        assert words.intersection(option.env), "nothing reads the variable"
        return
    fields = [BECOMES.get(field, field) for field in option.field.split(",")]
    assert fields != [""], "no field: nobody can read it"
    missing = [field for field in fields if field not in words]
    assert not missing, f"{option.policy}, and nothing reads {missing}"


def test_every_listed_exception_is_needed() -> None:
    fields = {field for option in honoured() for field in option.field.split(",")}
    assert set(BECOMES) <= fields
