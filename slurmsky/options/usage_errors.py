"""Command-line errors with Slurm's exact lines and exit codes.

CommandError          bad input, in Slurm's words
└── Printed           no error: --help, --version, --hint=help ... print and exit
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class CommandError(Exception):
    """Error that ends a command.

    ``stdout`` is printed before ``lines``, which go to stderr; ``exit_code`` ends the command.
    """

    def __init__(self, lines: tuple[str, ...], exit_code: int, stdout: str = "") -> None:
        super().__init__(lines, exit_code, stdout)
        self.lines = lines
        self.exit_code = exit_code
        self.stdout = stdout

    def __str__(self) -> str:
        return "\n".join(self.lines) or self.stdout


@contextmanager
def with_printed_lines(printed: Sequence[str]) -> Iterator[None]:
    """Add lines already printed to a CommandError of the block. Clients print as they proceed."""
    try:
        yield
    except CommandError as fault:
        fault.lines = (*printed, *fault.lines)
        raise


class Printed(CommandError):
    """Output of an option that replaces the command's work."""

    def __init__(self, stdout: str, exit_code: int = 0) -> None:
        super().__init__((), exit_code, stdout)


#: Exit code for malformed options and most bad values (exit(-1) in slurm_opt.c).
USAGE = 255


def failure(command: str, *messages: str, exit_code: int = 1, level: str = "error") -> CommandError:
    """Error with ``command: level: message`` for each message. Slurm's log functions print this form."""
    return CommandError(tuple(f"{command}: {level}: {message}" for message in messages), exit_code)


#: The lines that end --test-only after the command itself has refused a job: srun prints errno, which is 0 then.
#: Source: srun_job.c (test_only), sbatch.c
NOT_CREATED = {"srun": ("allocation failure: No error",)}
#: Prefix of each command for a refusal by the controller.
REFUSED = {
    "sbatch": "Batch job submission failed: ",
    "salloc": "Job submit/allocate failed: ",
    "srun": "Unable to allocate resources: ",
}


def rejected(command: str, reason: str, *details: str, exit_code: int = 1) -> CommandError:
    """Error for a refusal by the controller. ``details`` are printed before ``reason``."""
    return failure(command, *details, REFUSED[command] + reason, exit_code=exit_code)
