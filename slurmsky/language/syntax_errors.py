"""Errors of the small languages: one class each, with facts instead of messages.

LanguageError
├── AcctgFreqError      ├── ExportError        ├── NodeCountError
├── ArraySpecError      ├── FilenameError      ├── RlimitError
├── BindError           ├── FormatError        ├── SignalError
├── ConstraintError     ├── GresError          ├── TaskCountError
├── CpuFreqError        ├── HostlistError      ├── TimeLimitError
├── CpuListError        ├── JobIdError         ├── TimeSpecError
├── DependencyError     ├── LicenseError       ├── UserListError
├── DirectiveError      ├── MailTypeError      └── (DirectiveError has its own children,
├── DistributionError   ├── MemoryError_            see directives.py)
├── ModuleLineError     ├── MultiProgError
├── TresError
└── ContainerError (image_names.py)

Each command formats its errors in Slurm's words: the same invalid number is ``Invalid --mem specification`` for sbatch
and another text for scontrol.  Where the real parser prints its own line, the error has that line in `message`.
"""

from __future__ import annotations

from typing import ClassVar


class LanguageError(ValueError):
    """`text` is not valid in `language`; `pos` is the offset at which the parser found that.

    `message` is the line that Slurm itself prints for it, and empty where Slurm leaves the wording to the option with
    the text.
    """

    language: ClassVar[str] = ""

    def __init__(self, text: str, pos: int = 0, message: str = "") -> None:
        super().__init__(text, pos, message)
        self.text = text
        self.pos = pos
        self.message = message

    def __str__(self) -> str:
        return self.message or f"Invalid {self.language}: {self.text}"


class AcctgFreqError(LanguageError):
    """--acctg-freq"""

    language = "acctg-freq"


class ArraySpecError(LanguageError):
    """--array"""

    language = "job array specification"


class BindError(LanguageError):
    """--cpu-bind, --mem-bind, --gpu-bind"""

    language = "binding"


class ConstraintError(LanguageError):
    """--constraint, --prefer"""

    language = "feature specification"


class CpuFreqError(LanguageError):
    """--cpu-freq"""

    language = "cpu-freq"


class CpuListError(LanguageError):
    """lists of CPUs, devices and tasks such as 0-3,5"""

    language = "CPU list"


class CronSpecError(LanguageError):
    """entries of scrontab"""

    language = "scrontab entry"


class DependencyError(LanguageError):
    """--dependency"""

    language = "dependency"


class DirectiveError(LanguageError):
    """a batch script, or one of its #SBATCH lines"""

    language = "batch script"


class DistributionError(LanguageError):
    """--distribution"""

    language = "distribution"


class ExportError(LanguageError):
    """--export"""

    language = "export list"


class FilenameError(LanguageError):
    """-o, -e, -i"""

    language = "file name pattern"


class FormatError(LanguageError):
    """output formats"""

    language = "format"


class GresError(LanguageError):
    """--gres, --gpus*, TRES strings"""

    language = "generic resource (gres) specification"


class HostlistError(LanguageError):
    """node lists; `detail` is the line that Slurm's parser prints before the list is refused"""

    language = "hostlist"

    def __init__(self, text: str, pos: int = 0, message: str = "", detail: str = "") -> None:
        super().__init__(text, pos, message)
        self.args = (text, pos, message, detail)
        self.detail = detail


class JobIdError(LanguageError):
    """job, element, component and step ids"""

    language = "job id"


class LicenseError(LanguageError):
    """--licenses"""

    language = "license specification"


class MailTypeError(LanguageError):
    """--mail-type"""

    language = "mail-type"


class MemoryError_(LanguageError):  # Python's own MemoryError keeps its name
    """--mem and related options"""

    language = "memory size"


class ModuleLineError(LanguageError):
    """module lines; only internal, since an unreadable line is skipped"""

    language = "module line"


class MultiProgError(LanguageError):
    """srun --multi-prog files"""

    language = "multi-prog configuration"


class NodeCountError(LanguageError):
    """--nodes"""

    language = "node count"


class RlimitError(LanguageError):
    """--propagate"""

    language = "rlimit"


class SignalError(LanguageError):
    """--signal, scancel --signal"""

    language = "signal"


class TaskCountError(LanguageError):
    """SLURM_TASKS_PER_NODE and related variables"""

    language = "task count list"


class TimeLimitError(LanguageError):
    """--time and related options"""

    language = "time limit"


class TimeSpecError(LanguageError):
    """--begin, --deadline, sacct -S and -E"""

    language = "time specification"


class TresError(LanguageError):
    """limits of QOS and accounts"""

    language = "list of trackable resources"


class UserListError(LanguageError):
    """comma lists of names"""

    language = "name list"
