"""What a script wants of the folder that it runs in, and of its caller: files beside it, results, arguments."""

from __future__ import annotations

import re

from .shell import Script

_BESIDE = re.compile(
    r"(?:\./)?[\w.-]+/[\w./-]+$"
    r"|[\w.-]+\.(?:py|sh|R|jl|pl|m|yaml|yml|json|txt|cfg|toml|ini|sif|nml|conf|csh|exe|in|dat|csv)$"
)
_RESULT = re.compile(r"^--?(out|output|save|results?|log)([-_]?(dir|path|file|folder))?$")
_ARGUMENTS = frozenset("123456789@*#")
_SPEAKERS = frozenset(("echo", "printf", "export", "set", "cat"))  # their words are texts, not files


def names_files_beside(script: Script) -> bool:
    """Whether the script names files beside it."""
    for command in script.commands:
        if command.name in _SPEAKERS:
            continue
        named = [*command.words, *(word for _, word in command.redirects)]
        if any(_BESIDE.match(word.text or "") for word in named):
            return True
    return False


def takes_arguments(script: Script) -> bool:
    """Whether the script reads $1, $@ and the like outside of its functions."""
    return any(
        part.name in _ARGUMENTS
        for command in script.commands
        if not command.depth and not any(block.kind == "function" for block in command.blocks)
        for word in (*command.words, *(given.value for given in command.assignments))
        for part in word.variables
    )


def leaves_files(script: Script) -> bool:
    """Whether the script leaves files in the folder it runs in."""
    for command in script.commands:
        for operator, word in command.redirects:
            # by name: what a variable names may lie anywhere
            if operator in (">", ">>", "&>", "1>") and re.match(r"[\w.]", word.shown.strip("\"'")):
                return True
        texts = command.texts
        if command.name in ("cp", "mv", "rsync") and "SLURM_SUBMIT_DIR" in texts[-1]:
            return True
        if any(
            _RESULT.match(text.partition("=")[0]) and not (text.partition("=")[2] or following).startswith("/")
            for text, following in zip(texts, [*texts[1:], ""], strict=False)
        ):
            return True
    return False
