"""Main module of the program that nodes run.

Called as ``python agent-DIGEST.pyz cloud|pilot FOLDER``. The program is unpacked once on a node, next to its archive.
Later starts, and the node's agent, import the modules that the first start has compiled; modules inside the archive
would be compiled at each start.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import zipfile


def unpacked(program: str) -> str:
    """Return the folder of the program's modules. The archive itself if it cannot be unpacked."""
    library = os.path.splitext(program)[0]
    if os.path.isdir(library):
        return library
    partial = ""
    try:
        partial = tempfile.mkdtemp(prefix=os.path.basename(library) + ".", dir=os.path.dirname(library))
        with zipfile.ZipFile(program) as archive:
            archive.extractall(partial)
        os.rename(partial, library)
    except OSError:
        # A full disk; or another start, perhaps on another node with the same home, was faster.
        shutil.rmtree(partial, ignore_errors=True)
    return library if os.path.isdir(library) else program


def main(argv: list[str]) -> int:
    """Run a node of a job (``cloud``), or a warm node (``pilot``)."""
    sys.path[0] = unpacked(os.path.realpath(argv[0]))
    if argv[1:2] == ["cloud"]:
        from slurmsky.agent.cloud.node_main import main as run
    elif argv[1:2] == ["pilot"]:
        from slurmsky.agent.cloud.pilot import main as run
    else:
        sys.exit("usage: agent.pyz cloud|pilot FOLDER")
    return run(argv[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
