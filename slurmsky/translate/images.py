"""Finds the images that the srun lines of a batch script name, before the script runs."""

from __future__ import annotations

from ..language import image_names
from ..options.getopt import split
from ..options.table import load
from .shell import Script, parse
from .shellcommands import Word

_OPTION = "container-image"


def of_steps(source: str) -> tuple[str, ...]:
    """Images of the script's steps that the script itself determines, without duplicates, in order.

    A variable is used if the script assigns it one plain value. Files (squashfs) are not registry images and are left
    out.

    >>> of_steps('#!/bin/bash\\nI=nvcr.io#nvidia/pytorch:24.01-py3\\nsrun --container-image="$I" python train.py\\n')
    ('nvcr.io#nvidia/pytorch:24.01-py3',)
    """
    if _OPTION not in source:
        return ()
    script = parse(source)
    values = _values(script)
    table = load("srun")
    found: list[str] = []
    for command in script.commands:
        if command.name != "srun":
            continue
        texts = [_text(word, values) for word in command.arguments]
        for option, text in split(table, texts).found:
            if option.name == _OPTION and text and "$" not in text and text not in found:
                found.append(text)
    return tuple(image for image in found if not image_names.is_path(image))


def _values(script: Script) -> dict[str, str]:
    given: dict[str, set[str | None]] = {}
    for command in script.commands:
        for entry in command.assignments:
            given.setdefault(entry.name, set()).add(None if entry.append or entry.array else entry.value.text)
        if command.name in ("export", "declare", "readonly", "local"):
            for text in command.texts[1:]:
                name, sign, value = text.partition("=")
                if sign:
                    given.setdefault(name, set()).add(None if "$" in value else value.strip("'\""))
    return {name: text for name, (text, *others) in given.items() if text is not None and not others}


def _text(word: Word, values: dict[str, str]) -> str:
    if word.text is not None:
        return word.text
    pieces = [
        part.text if part.kind == "text" else values.get(part.name, "$") if part.kind == "variable" else "$"
        for part in word.parts
    ]
    return "".join(pieces)
