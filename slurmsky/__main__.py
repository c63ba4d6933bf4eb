"""``python -m slurmsky``: runs the controller with all commands."""

from __future__ import annotations

import sys

from .client_start import HOLDS_LOCK
from .commands import find, in_idle_time
from .controller.daemon import main

if __name__ == "__main__":
    sys.exit(main(find, in_idle_time, stay="--stay" in sys.argv, holds_start_lock=HOLDS_LOCK in sys.argv))
