"""Errors of the small languages, with values instead of messages.

Each command formats its errors in Slurm's words: the same invalid number is ``Invalid --mem specification`` for sbatch
and another text for scontrol. Where the real parser prints its own line, the error has that line in `message`.
"""

from __future__ import annotations

from typing import ClassVar


class LanguageError(ValueError):
    """Error in a text of `language`, at offset `pos`.

    `message` is the line that Slurm itself prints, and empty where Slurm leaves the wording to the option with the
    text.
    """

    language: ClassVar[str] = ""

    def __init__(self, text: str, pos: int = 0, message: str = "") -> None:
        super().__init__(text, pos, message)
        self.text = text
        self.pos = pos
        self.message = message

    def __str__(self) -> str:
        return self.message or f"Invalid {self.language}: {self.text}"


class DirectiveError(LanguageError):
    """Error in a batch script or one of its #SBATCH lines."""

    language = "batch script"


class HostlistError(LanguageError):
    """Error in a node list. `detail` is the line that Slurm's parser prints before the list is refused."""

    language = "hostlist"

    def __init__(self, text: str, pos: int = 0, message: str = "", detail: str = "") -> None:
        super().__init__(text, pos, message)
        self.args = (text, pos, message, detail)
        self.detail = detail


class MultiProgError(LanguageError):
    """Error in a file of srun --multi-prog."""

    language = "multi-prog configuration"


def _error(name: str, language: str) -> type[LanguageError]:
    return type(name, (LanguageError,), {"language": language, "__module__": __name__})


AcctgFreqError = _error("AcctgFreqError", "acctg-freq")  # --acctg-freq
ArraySpecError = _error("ArraySpecError", "job array specification")  # --array
BindError = _error("BindError", "binding")  # --cpu-bind, --mem-bind, --gpu-bind
ConstraintError = _error("ConstraintError", "feature specification")  # --constraint, --prefer
CpuFreqError = _error("CpuFreqError", "cpu-freq")  # --cpu-freq
CronSpecError = _error("CronSpecError", "scrontab entry")  # entries of scrontab
DependencyError = _error("DependencyError", "dependency")  # --dependency
DistributionError = _error("DistributionError", "distribution")  # --distribution
ExportError = _error("ExportError", "export list")  # --export
FilenameError = _error("FilenameError", "file name pattern")  # -o, -e, -i
FormatError = _error("FormatError", "format")  # output formats
GresError = _error("GresError", "generic resource (gres) specification")  # --gres, --gpus*, TRES strings
JobIdError = _error("JobIdError", "job id")  # job, element, component and step ids
LicenseError = _error("LicenseError", "license specification")  # --licenses
MailTypeError = _error("MailTypeError", "mail-type")  # --mail-type
MemoryError_ = _error("MemoryError_", "memory size")  # --mem and related options
ModuleLineError = _error("ModuleLineError", "module line")  # module lines; only internal
NodeCountError = _error("NodeCountError", "node count")  # --nodes
RlimitError = _error("RlimitError", "rlimit")  # --propagate
SignalError = _error("SignalError", "signal")  # --signal, scancel --signal
TimeLimitError = _error("TimeLimitError", "time limit")  # --time and related options
TimeSpecError = _error("TimeSpecError", "time specification")  # --begin, --deadline, sacct -S and -E
TresError = _error("TresError", "list of trackable resources")  # limits of QOS and accounts
UserListError = _error("UserListError", "name list")  # comma lists of names
