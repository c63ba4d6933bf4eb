"""``slurmsky top``: started by the client in the caller's terminal, by the controller's interpreter.

`python __main__.py SECONDS`
"""

from __future__ import annotations

import os
import sys


def _without_colours() -> bool:
    """Whether the terminal says that it has none, as a vt100 does."""
    try:
        import curses

        curses.setupterm(fd=1)
        return curses.tigetnum("colors") < 8
    except Exception:  # no curses here, or no description of this terminal: as if it were a usual one
        return False


def main() -> int:
    """Show the view until the caller leaves it."""
    if "NO_COLOR" not in os.environ and _without_colours():
        os.environ["NO_COLOR"] = "1"
    from slurmsky.top.app import Top

    return Top(float(sys.argv[1])).show()


if __name__ == "__main__":
    # This file's folder, which Python put first, holds modules of ours; the package is two above.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread may still wait for an answer
