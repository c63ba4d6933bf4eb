"""--mail-type: `BEGIN,END` <-> events that send mail.

Source: slurm src/common/proc_args.c parse_mail_type, print_mail_type.  A comma list, read by names.lark.
"""

from __future__ import annotations

from dataclasses import dataclass

from slurmsky.language import userlist
from slurmsky.language.syntax_errors import MailTypeError as MailTypeError

# In the order in which scontrol prints them.
EVENTS = (
    "ARRAY_TASKS",
    "INVALID_DEPEND",
    "BEGIN",
    "END",
    "FAIL",
    "REQUEUE",
    "STAGE_OUT",
    "TIME_LIMIT_50",
    "TIME_LIMIT_80",
    "TIME_LIMIT_90",
    "TIME_LIMIT",
)
ALL = frozenset({"INVALID_DEPEND", "BEGIN", "END", "FAIL", "REQUEUE", "STAGE_OUT"})


@dataclass(frozen=True)
class MailType:
    """A subset of EVENTS; the empty set is NONE."""

    events: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.events <= set(EVENTS):
            raise ValueError(f"no mail events: {self.events!r}")

    def __contains__(self, event: str) -> bool:
        return event in self.events

    def __str__(self) -> str:
        return ",".join(event for event in EVENTS if event in self.events) or "NONE"


def parse(text: str) -> MailType:
    """Parse a comma list of events, in any case.

    ALL is every event but ARRAY_TASKS and TIME_LIMIT*; NONE clears the events before it and ends the list; unknown
    words are skipped if any word is known. Raises MailTypeError if none is.

    >>> str(parse("fail,begin")), str(parse("END,NONE,FAIL")), str(parse("ALL"))
    ('BEGIN,FAIL', 'NONE', 'INVALID_DEPEND,BEGIN,END,FAIL,REQUEUE,STAGE_OUT')
    """
    events: set[str] = set()
    for word in map(str.upper, userlist.parse(text)):
        if word == "NONE":
            return MailType()
        if word == "ALL":
            events |= ALL
        elif word in EVENTS:
            events.add(word)
    if not events:
        raise MailTypeError(text)
    return MailType(frozenset(events))
