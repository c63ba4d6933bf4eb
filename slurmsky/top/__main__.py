"""``slurmsky top``, as run in the caller's terminal.

The client replaces itself by `python __main__.py SECONDS`, with the controller's interpreter.
"""

from __future__ import annotations

import os
import sys


def _without_colours() -> bool:
    """Return whether the terminal's description lists no colours, as for vt100."""
    try:
        import curses

        curses.setupterm(fd=1)
        return curses.tigetnum("colors") < 8
    except Exception:  # no curses, or no description of this terminal: assume colours
        return False


def main() -> int:
    """Show the view until the caller quits it."""
    if "NO_COLOR" not in os.environ and _without_colours():
        os.environ["NO_COLOR"] = "1"
    from slurmsky.top.screen import Top

    return Top(float(sys.argv[1])).show()


if __name__ == "__main__":
    # Python put this file's folder first, which has modules of this package; the root is two folders above.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread may still wait for a reply
