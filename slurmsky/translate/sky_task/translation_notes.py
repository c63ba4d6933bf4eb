"""Results of a translation: notes on options, and refusals."""

from __future__ import annotations

from dataclasses import dataclass

NODE_CONFIG = "Requested node configuration is not available"  # ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE
NODE_COUNT = "Node count specification invalid"  # ESLURM_INVALID_NODE_COUNT
GRES = "Invalid generic resource (gres) specification"  # ESLURM_INVALID_GRES
FEATURE = "Invalid feature specification"  # ESLURM_INVALID_FEATURE


@dataclass(frozen=True)
class Note:
    """Effect of one option.

    It is ``kept`` by SkyPilot, done by slurmsky's ``agent``, ``changed``, or only ``recorded``.
    """

    option: str
    effect: str
    text: str


class Refused(Exception):
    """Error: SkyPilot cannot run the job. ``str()`` is Slurm's text; ``hint`` explains it in SkyPilot's terms."""

    def __init__(self, text: str, option: str, hint: str) -> None:
        super().__init__(text)
        self.option, self.hint = option, hint
