"""sprio's only output: a message that priorities have no factors.

Under priority/basic jobs start in submission order.

Source: src/sprio/sprio.c, main.
"""

from __future__ import annotations

NO_FACTORS = (
    "You are not running a supported priority plugin",
    "(priority/basic).",
    "Only 'priority/multifactor' is supported.",
)
