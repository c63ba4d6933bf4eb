"""A batch script as a source of options: its #SBATCH words by component, or Slurm's refusal of the script.

The scan itself is ``language.directives``; here its faults get their words and exit codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import CommandError, failure
from .values import Context


@dataclass(frozen=True)
class Directives:
    """Words of the script's option lines:

    One tuple per het component, and what #PBS or #BSUB lines translate to.
    """

    components: tuple[tuple[str, ...], ...] = ((),)
    foreign: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read(data: bytes, path: str, context: Context) -> Directives:
    """The options in the script ``path``. Raises CommandError for what is no batch script."""
    from ..language import directives

    try:
        directives.check(data)
        found = directives.parse(data, path)
    except directives.ScriptError as error:
        level = "fatal" if error.fatal else "error"
        raise failure("sbatch", *error.lines, exit_code=context.error_exit, level=level) from None
    warnings = (*(f"sbatch: error: {text}" for text in found.errors),
                *(f"sbatch: warning: {text}" for text in found.warnings))
    words = tuple(tuple(str(word) for word in component) for component in found.components)
    return Directives(words, (), warnings)


def unreadable(path: str, context: Context) -> CommandError:
    """The script cannot be opened."""
    return failure("sbatch", f"Unable to open file {path}", exit_code=context.error_exit)
