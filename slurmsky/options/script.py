"""Options of a batch script, or Slurm's refusal of it.

``language.directives`` scans the script (``language.other_schedulers`` scans #PBS and #BSUB); this module adds prefixes
and exit codes to their errors.
"""

from __future__ import annotations

import os.path
from dataclasses import dataclass

from ..language import directives
from .usage_errors import failure
from .values import ReadContext


@dataclass(frozen=True)
class ScriptOptions:
    """Words of option lines by het component, and lines to print."""

    components: tuple[tuple[str, ...], ...] = ((),)
    warnings: tuple[str, ...] = ()


def read(data: bytes, path: str, context: ReadContext) -> ScriptOptions:
    """Read the options of a script. Raises CommandError for a file that is not a batch script."""
    try:
        directives.check(data)
        # A script read from standard input has no name to show.
        found = directives.parse(data, os.path.basename(path) or "stdin")
    except directives.ScriptError as fault:
        if fault.fatal:
            raise failure("sbatch", *fault.lines, level="fatal") from None
        raise failure("sbatch", *fault.lines, exit_code=context.error_exit) from None
    messages = [f"sbatch: error: {line}" for line in found.errors]
    messages += [f"sbatch: warning: {line}" for line in found.warnings]
    return ScriptOptions(tuple(tuple(map(str, words)) for words in found.components), tuple(messages))


def other_directives(data: bytes, path: str, context: ReadContext) -> tuple[str, ...]:
    """Convert #PBS or #BSUB lines to words of sbatch. Raises CommandError."""
    if b"#PBS" not in data and b"#BSUB" not in data:
        return ()
    from ..language import other_schedulers as language

    try:
        return language.parse(data, os.path.basename(path)).words
    except directives.ScriptError as fault:
        raise failure("sbatch", *fault.lines, exit_code=context.error_exit) from None
