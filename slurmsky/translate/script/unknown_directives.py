"""Directives with options unknown to sbatch. They belong to plug-ins or older releases."""

from __future__ import annotations

import re

from .conversion_tables import Dropped, one_line

#: new names of options that newer releases of Slurm renamed
RENAMED = {"workdir": "chdir"}
#: parts of sbatch's refusals that are due to other directives or to the queue -> the option, and another for its value
_REFUSED = {
    "--cpus-per-gpu are mutually exclusive": ("cpus-per-gpu", ""),
    "--gpus-per-task or --tres-per-task used without": ("gpus-per-task", "gpus-per-node"),
    "Job dependency problem": ("dependency", ""),
}
_UNKNOWN = re.compile(r"unrecognized option '--([\w-]+)")
#: sbatch's texts for placeholders (--account=<project number>, --mem=MEM)
_INVALID = re.compile(r"Invalid (?:directive found in batch script: (\S+)|(--[\w-]+) specification)$")


def without_unknown(data: bytes, refusal: str) -> tuple[bytes, Dropped] | None:
    """Script without the directive that sbatch refuses, with a record.

    None for another refusal. ``refusal``: the first line of sbatch's message. An option that has another name today
    gets that name. A directive that is not valid, like a placeholder, is omitted with its line.
    """
    invalid = _INVALID.search(refusal)
    if invalid:
        word = re.escape(invalid[1] or invalid[2]).encode()
        line_of = re.search(rb"(?m)^#SBATCH\b[^\n]*?%s(?!\w)[^\n]*$" % word, data)
        if line_of is None:
            return None
        text = one_line(line_of[0].decode("utf-8", "replace"))
        number = data.count(b"\n", 0, line_of.start()) + 1
        rest = data[: line_of.start()] + b"#" + data[line_of.end() :]
        return rest, Dropped(number, text, "sbatch refuses it: no valid option")
    found = _UNKNOWN.search(refusal)
    if found:
        name, new = found[1], RENAMED.get(found[1], "")
        why = f"Slurm calls it --{new}" if new else "no option of Slurm: a plug-in or an older release had it"
    else:
        name, new = next((options for text, options in _REFUSED.items() if text in refusal), ("", ""))
        why = f"sbatch refuses it with the other directives{f': read as --{new}' if new else ''}"
    directive = re.compile(rb"(?m)^(#SBATCH\b[^\n]*?\s)--%s\b(=\S*|[ \t]+[^-\s#]\S*)?" % name.encode())
    match = directive.search(data) if name else None
    if match is None:
        return None
    text = one_line(match[0].decode("utf-8", "replace").partition("--")[2])
    rest = match[1] + (b"--" + new.encode() + (match[2] or b"") if new else b"")
    line = data.count(b"\n", 0, match.start()) + 1
    return data[: match.start()] + rest + data[match.end() :], Dropped(line, f"--{text}", why)
