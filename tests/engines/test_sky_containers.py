"""pyxis' options on SkyPilot nodes.

A step fails with a message if its node cannot download images.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from sky_world import World

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]

BARE = r"""#!/bin/bash
mkdir tools
for tool in bash sh cat touch env python3 dirname ls; do ln -s "$(command -v $tool)" tools/$tool; done
export PATH=$(dirname "$(command -v srun)"):$PWD/tools
"""


def play(world: World, script: str, nodes: int = 1) -> None:
    async def what(world: World) -> None:
        await world.engine.start(world.launch(script, nodes=nodes, environment={"PATH": "/usr/bin:/bin"}))
        await world.until(world.ended)

    world.play(what)


def test_two_images_on_nodes_without_podman_docker_or_apptainer(world: World) -> None:
    play(
        world,
        BARE + "srun -N2 --container-image=nvcr.io#team/one:1 touch ran; echo code $?\n"
        "srun -N1 -n1 --container-image=team/two --container-mounts=../../etc:/x touch ran; echo code $?\n"
        "[ -e ran ] || echo nothing ran\nsrun -N1 -n1 sh -c 'echo after'\n",
        nodes=2,
    )
    text = world.out.decode()
    assert "there is no podman, docker or apptainer on this node to fetch nvcr.io/team/one:1" in text
    assert "there is no podman, docker or apptainer on this node to fetch team/two" in text
    assert [line for line in text.splitlines() if line.startswith(("code", "nothing", "after"))] == [
        "code 1", "code 1", "nothing ran", "after",
    ]  # fmt: skip


def test_the_only_image_of_a_job_is_the_image_of_its_nodes(world: World) -> None:
    play(
        world,
        BARE + "srun -n1 --container-image=team/one touch ran; echo code $?\n[ -e ran ] && echo ran plainly\n",
    )
    assert "docker:team/one" in str(world.server.jobs[0].task)
    assert world.out.decode().splitlines()[-2:] == ["code 0", "ran plainly"]
