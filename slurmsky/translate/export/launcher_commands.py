"""Recognizes commands of Ray, and launchers for every node."""

from __future__ import annotations

import re

from ..script.conversion_tables import COPIERS
from ..shell.shell_elements import Command, Statement


def called(command: Command, program: str, verb: str) -> bool:
    """Return whether the command calls ``program verb``. The call is direct or through srun, ssh or env."""
    texts = command.word_texts
    for index, text in enumerate(texts[:-1]):
        if text.rpartition("/")[2] == program and texts[index + 1] == verb:
            return True
    if command.name == "ssh":
        return any(re.search(r"\b%s\s+%s\b" % (program, verb), text) for text in texts[1:])
    return False


def ray_chore(command: Command, mine: list[Command]) -> bool:
    """Return whether a command only served the Ray cluster's start. Examples are sleep and pkill ray."""
    texts = command.word_texts
    if command.name in ("sleep", "wait"):
        return True
    if command.name in ("pkill", "killall"):
        return any(re.search("ray|python|redis|sglang", text) for text in texts[1:])
    return command.name == "echo" and bool(re.search(r"head|worker|\bray\b|ip", " ".join(texts).lower()))


def on_all_nodes(command: Command) -> bool:
    """Return whether a command is a launcher to start on every node."""
    texts = command.word_texts
    joined = " ".join(texts)
    return (
        command.name in ("torchrun", "accelerate") and bool(re.search(r"node[_-]rank|machine[_-]rank|rdzv", joined))
    ) or ("torch.distributed" in joined and "rank" in joined)


def copies(statement: Statement) -> bool:
    """Return whether a statement only copies or links files."""
    return {command.name for command in statement.commands} <= COPIERS
