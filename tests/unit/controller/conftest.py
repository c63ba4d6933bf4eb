"""``play`` runs a coroutine with a controller in memory and virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_world import SITE, Play, Story, World
from virtual_time import VirtualTimeLoop, run


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def play(story: Story, site: str = SITE) -> None:
        async def whole(loop: VirtualTimeLoop) -> None:
            world = World(tmp_path, loop, site)
            await story(world)
            assert not any(world.queue.job_table.licenses_used.values())
            await world.queue.close()

        run(whole)

    return play
