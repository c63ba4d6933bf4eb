"""Options and programs that a YAML cannot contain, with replacements."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

from ...model.spec import INFINITE, JobSpec
from ...site.modules import Module
from ..script.needs import Needs
from ..shell.word_sets import words
from ..sky_task.option_support import WITHOUT_EFFECT
from .conversion import Dropped, one_line


class _Row(NamedTuple):
    field: str
    option: str  # with {} for the value
    why: str
    applies: Callable[[Any], bool] = bool


_OUTPUT = "sky jobs logs shows all output"
_ROWS = (
    _Row("output", "--output", _OUTPUT),
    _Row("error", "--error", _OUTPUT),
    _Row("mail_type", "--mail-type", "event_callback can notify you"),
    _Row("dependency", "--dependency={}", "launch the tasks one after the other, or as one pipeline YAML"),
    _Row("signal", "--signal={}", "SkyPilot sends no warning; write checkpoints at intervals"),
    _Row("requeue", "--requeue", "managed jobs recover from lost nodes automatically"),
    _Row(
        "requeue",
        "--no-requeue",
        "managed jobs recover from lost nodes; job_recovery: {max_restarts_on_errors: 0} concerns errors only",
        lambda value: value is False,
    ),
    _Row("begin", "--begin", "SkyPilot starts jobs at once"),
    _Row("comment", "--comment={}", "a label can contain it"),
    _Row(
        "export",
        "--export={}",
        "the task gets only the variables of envs",
        lambda value: bool(value) and value.upper() != "ALL",
    ),
    _Row("partition", "--partition={}", "infra selects where the job runs; the site file can map partitions"),
    _Row("constraint", "--constraint={}", "accelerators and instance_type are what can be requested"),
    _Row("nodelist", "--nodelist={}", WITHOUT_EFFECT["exclude"]),
    _Row("hint", "--hint={}", "the cloud decides the threads of its nodes"),
)


#: programs of software suites; the module map names some of them
_OF_SUITES = re.compile(r"Foam$|Mesh$|Par$|Dict$")


def programs_to_bring(asked: Needs, modules: Sequence[Module], imaged: bool) -> list[Dropped]:
    """Programs that neither setup nor an image brings."""
    loaded = {module.name.partition("/")[0].lower() for module in modules}
    licensed = "licensed software: use an image that contains it, and a route to its licence server"
    unknown = "no package is known for it: install it in setup, or use an image that contains it"
    if asked.environments:
        unknown = "no package is known for it: if the environment has none, install it in setup"
    given = {name for module in modules for name in module.gives}
    missing = [name for name in asked.unknown if name.lower() not in loaded and name not in given]
    missing = [name for name in missing if name.endswith(".sh") or re.split("[_.]", name.lower())[0] not in loaded][:6]
    missing = [] if imaged else [name for name in missing if not (given and _OF_SUITES.search(name))]
    other = [name for name in asked.others if name not in given]
    why = "a command of another scheduler: run the program that it submits, or translate its script, too"
    entries = [(name, why) for name in other]
    entries += [(name, licensed) for name in asked.licensed]
    entries += [(name, unknown) for name in missing]
    return [Dropped(0, one_line(name), reason, to_do=True) for name, reason in entries]


#: programs whose scripts need one version, although the script's module may name none
_FRAMEWORKS = words("pytorch torch tensorflow tensorflow-gpu keras jax horovod transformers deepspeed theano")


def module_versions(modules: Sequence[Module]) -> list[Dropped]:
    """Modules with another version than in the script. Without a version in the script the YAML has the newest."""
    other = ", ".join(dict.fromkeys(one_line(module.name) for module in modules if module.unpinned))
    newest = [module.name for module in modules if module.name.lower() in _FRAMEWORKS and module.source == "shipped"]
    why = "setup installs a current version, not this one"
    found = [Dropped(0, f"module load {other}", why)] if other else []
    why = "no version is named: choose the version for which the script was written"
    return found + [Dropped(0, f"module load {name}", why, to_do=True) for name in dict.fromkeys(newest)]


def modules_without_effect(modules: Sequence[Module], matlab: bool) -> list[Dropped]:
    """Modules that bring nothing to the YAML. ``matlab``: the task's image is MATLAB's."""
    found = []
    for module in modules:
        if module.kind or not (module.image or module.setup):
            why = module.note or "nothing is needed"
            if matlab and "matlab" in module.name.lower():
                why = "licensed software: MLM_LICENSE_FILE names your licence server"
            to_do = module.kind in ("licensed", "unknown version")
            found.append(Dropped(0, f"module load {one_line(module.name)}", why, to_do))
    return found


def by_contents(modules: Sequence[Module]) -> list[Module]:
    """Modules with images, sorted by content.

    Images of frameworks (which contain CUDA) precede those of CUDA and of compilers.
    """
    found = [module for module in modules if module.image]
    return sorted(found, key=lambda module: ("hpckit" in module.image, "nvcc" in module.gives))


def other_images(modules: Sequence[Module]) -> list[Dropped]:
    """Modules whose image the task's image does not contain."""
    images = by_contents(modules)
    why = "a task has one image, which does not contain this module: install it in setup"
    return [
        Dropped(0, f"module load {one_line(module.name)}", why, to_do=True)
        for module in images[1:]
        if module.image != images[0].image and not ("nvcc" in module.gives and "cuda" in images[0].image)
    ]


#: characters that no terminal shows, and U+00A0, which is no space to a shell
_INVISIBLE = re.compile("[\u00a0\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def invisible(source: str) -> list[Dropped]:
    """Invisible characters in commands. A shell reads them as part of a word."""
    lines = enumerate(source.split("\n"), 1)
    found = [
        (number, match[0]) for number, line in lines if (match := _INVISIBLE.search(re.sub(r"(^|\s)#.*", "", line)))
    ]
    why = "an invisible character, which the shell reads as part of a word: remove it from the script"
    return [Dropped(number, f"U+{ord(char):04X}", why, to_do=True) for number, char in found[:4]]


def left_out(spec: JobSpec, recorded: Container[str] = ()) -> list[Dropped]:
    """Options of the job that the YAML omits. ``recorded``: options that the plan could not translate."""
    found: list[tuple[str, str]] = []
    if spec.time_limit_min not in (None, 0, INFINITE):
        minutes = int(spec.time_limit_min or 0)
        instead = f"SkyPilot has no wall-clock limit; `timeout {minutes}m` before the program sets one"
        found.append((f"--time={minutes // 60}:{minutes % 60:02}:00", instead))
    for row in _ROWS:
        value = getattr(spec, row.field)
        if row.field == "constraint" and "constraint" not in recorded:
            continue  # converted to an instance type or accelerators
        if row.applies(value):
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            found.append((row.option.replace("{}", text), row.why))
    for name, why in WITHOUT_EFFECT.items():
        if name in spec.to_dict() and name != "requeue":
            value = getattr(spec, name)
            shown = "" if value in (True, "") else f"={value}"
            found.append((f"--{name.replace('_', '-')}{shown}", why))
    return [Dropped(0, one_line(option), why) for option, why in found]


def by_reason(entries: Sequence[Dropped]) -> list[str]:
    """One line for each reason, with its options."""
    lines: list[str] = []
    for why in dict.fromkeys(entry.why for entry in entries):
        same = list({entry.text: entry for entry in reversed(entries) if entry.why == why}.values())[::-1]
        shown = [f"{entry.text} (line {entry.line})" if entry.line else entry.text for entry in same[:4]]
        more = f" and {len(same) - 4} more" if len(same) > 4 else ""
        lines.append(f"{', '.join(shown)}{more}: {why}")
    return lines
