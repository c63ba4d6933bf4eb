"""Finds uses of Slurm that no idiom rewrites. They are in texts that run later, or in programs that submit jobs."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from ..shell.launched_program import launched
from ..shell.script_commands import Script
from ..shell.shell_elements import Command
from .conversion import Reading
from .inlined_launchers import only_shown
from .run_text import run_text

_CALLS = re.compile(
    r"(?:^|[=\"'`;|&({]|\beval|\bexec|\btime)\s*(srun|sbatch|salloc|ibrun|scontrol|squeue|sbcast|scancel)(?=[\s\"']|$)"
)


def commands_in_texts(script: Script, reading: Reading) -> None:
    """Slurm's commands in variables and here-documents. RUN="srun -n 4": the idioms do not rewrite it."""
    shown = [
        (word.start, word.end, "")
        for command in script.commands
        if command.name in ("echo", "printf", ":")
        for word in command.arguments
        if "$(" not in word.raw and "`" not in word.raw
    ]
    shown += [
        (one.value.start, one.value.end, "")
        for command in script.commands
        for one in command.assignments
        if _CALLS.search(one.value.raw) and only_shown(script, one.name)
    ]
    printing = [command for command in script.commands if command.name == "cat" and not command.arguments]
    for start, end, _ in script.documents:
        reader = max((one for one in script.commands if one.start < start), key=lambda one: one.start, default=None)
        files = (
            [word for operator, word in reader.redirects if ">" in operator and "&" not in operator] if reader else []
        )
        if reader in printing and reader.after != "|" and not files:
            shown.append((start, end, ""))
    for text in run_text(script.source, replace(reading, edits=[*reading.edits, *shown])).splitlines():
        bare = re.sub(r"(^|\s)#.*", "", text)
        called = None if re.match(r"\s*(echo|printf)\b", bare) else _CALLS.search(bare)
        if called:
            reading.need(0, text.strip(), f"{called[1]} in a text that the script runs later")


_OPTION = re.compile(r"(?i)-{0,2}[\w./-]*(profile|executor|batch-?system|cluster|submit-cmd|launcher|drmaa)")
_SLURM = re.compile(r"(?i)(.*[/,_.-])?(slurm|sbatch)([/,_. -].*)?")


def slurm_use(command: Command) -> str:
    """Reason for which a program needs Slurm, or ""."""
    found = launched(command)
    texts = [word.text or "" for word in found.arguments]
    pairs = [text.partition("=")[::2] for text in texts]
    pairs += [(option, text) for option, text in pairwise(texts) if not text.startswith("-")]
    for option, text in pairs:
        if (
            found.name == "snakemake"
            or option == "NXF_EXECUTOR"
            or (option in ("-profile", "-process.executor") and "slurm" in text.split(","))
        ):
            continue  # run on the node
        if _OPTION.fullmatch(option) and _SLURM.fullmatch(text):
            return f"{option} {text}: {found.name} submits jobs or reads Slurm's variables"
    return ""
