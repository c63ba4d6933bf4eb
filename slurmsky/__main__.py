"""``python -m slurmsky``: runs the controller with all commands."""

from __future__ import annotations

import sys

from .commands import find, in_idle_time
from .controller.daemon import main

if __name__ == "__main__":
    sys.exit(main(find, in_idle_time, stay="--stay" in sys.argv))
