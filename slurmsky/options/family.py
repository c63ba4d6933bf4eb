"""Command lines of sprio, sshare, sreport, sacctmgr, sdiag and others.

These commands have few options and parse their operands themselves, so a request is a dict of the option table's
fields and the operands, without a class per command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Sequence

from .query import gather
from .table import OptionTable
from .values import ReadContext

#: Commands of this module.
FAMILY = ("sprio", "sshare", "sreport", "sacctmgr", "sdiag", "strigger", "scrontab", "seff", "swait")


@dataclass(frozen=True)
class FamilyRequest:
    """Parsed command line. ``values`` are keyed by the table's field, ``words`` are the operands."""

    values: Mapping[str, Any]
    words: tuple[str, ...]
    time_format: str = ""
    bitstr_len: Optional[int] = None

    def get(self, field: str, default: Any = None) -> Any:
        """Return a field's value, or ``default`` if unset."""
        value = self.values.get(field)
        return default if value is None else value

    @property
    def parsable(self) -> int:
        """Table style: 0 for columns, 1 for -p, 2 for -P."""
        return 2 if self.get("parsable2") else 1 if self.get("parsable") else 0


def parse(
    command: str, argv: Sequence[str], context: ReadContext, table: Optional[OptionTable] = None
) -> FamilyRequest:
    """Parse the command line of one of FAMILY. Raises CommandError (Printed for --help and similar)."""
    part, words = gather(command, argv, context, table)
    return FamilyRequest(dict(part.values), words, context.env.get("SLURM_TIME_FORMAT", ""))
