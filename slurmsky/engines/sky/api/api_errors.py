"""Errors of requests to SkyPilot's API server.

SkyError
├── Unreachable        no server answers there; try again later
├── Busy               503: restarting or overloaded; try again later
├── LoginExpired       401, 403, a redirection or a login page
├── WrongVersion       the server does not support our version; it may be upgraded
├── BadConfig          the user's own SkyPilot configuration cannot be read
├── Interrupted        the request was lost in a restart of the server: send it again
└── Rejected           the server understood and refused; .kind is SkyPilot's exception
"""

from __future__ import annotations

from ....language.colours import without_colours
from ....translate.sky_task.credentials import redacted
from ...base import EngineError
from ...cloud import LoginRequired, RequestRefused


class SkyError(EngineError):
    """SkyPilot did not complete a request. The text gives the reason in one line, without passwords of URLs."""

    def __init__(self, text: str = "") -> None:
        super().__init__(redacted(text))

    #: cause of a job's wait until then, for squeue's reason
    waits_for = "SkyPilot lost the request"


class Unreachable(SkyError):
    """No server answers at the endpoint."""

    may_succeed_later = True
    waits_for = "SkyPilot server cannot be reached"


class Busy(SkyError):
    """The server is restarting or overloaded."""

    may_succeed_later = True
    waits_for = "SkyPilot server is busy"


class LoginExpired(SkyError, LoginRequired):
    """The server requires a login."""

    may_succeed_later = True
    waits_for = "SkyPilot login needed"


class WrongVersion(SkyError):
    """Server and client do not support each other's version. An upgrade of either may mend it."""

    may_succeed_later = True
    waits_for = "SkyPilot server has another version"


class BadConfig(SkyError):
    """The user's SkyPilot configuration is unreadable. A correction of the file mends it."""

    may_succeed_later = True
    waits_for = "SkyPilot configuration cannot be read"


class Interrupted(SkyError):
    """A restart of the server lost the request."""

    may_succeed_later = True


class Rejected(SkyError, RequestRefused):
    """The server refused. ``kind``: the name of SkyPilot's exception."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(" ".join(without_colours(message).split()) or kind)
        self.kind = kind
