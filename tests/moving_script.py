"""scripts/moving.py as a module: explains and exports scripts without a controller."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PATH = Path(__file__).resolve().parent / "scripts" / "moving.py"
_SPEC = importlib.util.spec_from_file_location("moving", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
moving = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(moving)
