"""sprio's only output: jobs start in submission order, so their priority has no factors.

Source: src/sprio/sprio.c, main.
"""

from __future__ import annotations

NO_FACTORS = (
    "You are not running a supported priority plugin",
    "(priority/basic).",
    "Only 'priority/multifactor' is supported.",
)
