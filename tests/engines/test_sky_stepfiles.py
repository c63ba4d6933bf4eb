"""Output files of steps on cloud nodes.

They arrive while the job runs, and are complete at its end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from sky_world import World

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]

STEPS = r"""#!/bin/bash
srun -o live.%t bash -c 'echo one; while [ ! -e $GO ]; do sleep 0.1; done; printf "two\r\xff"' &
for i in $(seq 600); do sleep 0.1; done &
wait %1
srun -n1 -o again.txt echo a longer first version
srun -n1 -o again.txt echo second
srun -n1 --open-mode=append -o old.txt echo more
srun -n1 -o edited.txt echo draft; echo final > edited.txt
kill %2
"""


def test_step_files(world: World) -> None:
    (world.project / "old.txt").write_text("old\n")
    live = [world.project / f"live.{rank}" for rank in (0, 1)]

    async def what(world: World) -> None:
        await world.engine.start(world.launch(STEPS, nodes=2,
                                              environment={"PATH": "/usr/bin:/bin", "HOME": str(world.user),
                                                           "GO": str(world.home / "go")}))  # fmt: skip
        await world.until(lambda: all(path.exists() and path.read_bytes() == b"one\n" for path in live))
        assert not world.ended()
        (world.home / "go").touch()
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "COMPLETED", world.out
    assert [path.read_bytes() for path in live] == [b"one\ntwo\r\xff"] * 2
    texts = {name: (world.project / f"{name}.txt").read_text() for name in ("again", "old", "edited")}
    assert texts == {"again": "second\n", "old": "old\nmore\n", "edited": "final\n"}
    assert b"was changed here" not in world.out
