"""Files of jobs on the SkyPilot engine: submit folders, changed files, output files, buckets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work

from slurmsky.model.spec import JobSpec
from slurmsky.site import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]


def test_a_script_reaches_the_submit_folder_by_the_path_of_another_machine(world):
    async def what(world):
        (world.project / "sub").mkdir()
        (world.project / "sub" / "data.txt").write_text("hi\n")
        script = "#!/bin/bash\ncd ~/repos/project/sub && cat data.txt && echo new > made.txt\n"
        await world.engine.start(world.launch(script))
        await world.until(world.ended)

    world.play(what)
    assert world.out == b"hi\n" and (world.project / "sub" / "made.txt").read_text() == "new\n"


def test_a_script_reads_and_writes_above_the_submit_folder(world):
    """The folder that contains all files is copied, without the files that either folder ignores."""

    async def what(world):
        whole = world.project
        world.project = whole / "jobs"
        world.project.mkdir()
        (whole / "data.txt").write_text("hi\n")
        (whole / ".skyignore").write_text("large\n")
        (whole / "large").touch()
        (world.project / ".skyignore").write_text("own.bin\n")
        (world.project / "own.bin").touch()
        script = "#!/bin/bash\npwd; cat ../data.txt; ls .. .\nmkdir ../made; echo new > ../made/x; echo here > y\n"
        await world.engine.start(world.launch(script))
        await world.until(world.ended)
        world.project = whole

    world.play(what)
    lines = world.out.decode().splitlines() if (world.project / "slurm-7.out").exists() else []
    lines = lines or (world.project / "jobs" / "slurm-7.out").read_text().splitlines()
    assert lines[0] == str(world.project / "jobs") and "hi" in lines and not {"large", "own.bin"} & set(lines)
    assert (world.project / "made" / "x").read_text() == "new\n" and (world.project / "jobs" / "y").exists()


def test_nodes_that_see_the_submit_folder_use_it_in_place(world):
    """No file is copied on nodes with a shared file system."""
    world.cloud.hidden = world.cloud.folder / "hidden"
    world.cloud.hidden.mkdir(parents=True)
    (world.project / "data.txt").write_text("hi\n")

    async def what(world):
        await world.engine.start(
            world.launch("#!/bin/bash\ncat data.txt; echo new > data.txt; until [ -e go ]; do sleep 0.1; done\n")
        )
        await world.until(lambda: (world.project / "data.txt").read_text() == "new\n")
        (world.project / "go").touch()
        await world.until(world.ended)

    world.play(what)
    assert world.ended()["state"] == "COMPLETED" and world.out == b"hi\n"
    assert not any(b'"file"' in line for line in world.server.jobs[0].log.splitlines())


def test_a_file_changed_on_both_sides_is_not_overwritten(world):
    (world.project / "both.txt").write_text("before\n")

    async def what(world):
        changed = world.cloud.folder / "changed"
        waits = f"until [ -e {changed} ]; do sleep 0.1; done"
        await world.engine.start(world.launch(f"#!/bin/sh\n{waits}; echo theirs > both.txt"))
        await world.until(lambda: any(event["ev"] == "started" for event in world.reported))
        (world.project / "both.txt").write_text("mine\n")
        changed.touch()
        await world.until(world.ended)

    world.play(what)
    assert (world.project / "both.txt").read_text() == "mine\n"
    assert (world.project / "both.txt.slurm-7").read_text() == "theirs\n"
    assert b"both.txt was changed here while the job ran" in world.out


def test_a_file_beyond_the_limit_is_named(world):
    async def what(world):
        await world.engine.start(world.launch("#!/bin/sh\nhead -c 40000000 /dev/zero > big; echo small > small"))
        await world.until(world.ended)

    world.play(what)
    assert not (world.project / "big").exists() and (world.project / "small").read_text() == "small\n"
    assert b"big (40000000 bytes) was not brought back" in world.out


def test_a_file_beyond_the_limit_is_copied_to_the_sites_bucket(world):
    async def what(world):
        world.engine.site = load(
            '[sky]\nbucket="s3://team/slurmsky"\n[[partition]]\nname="debug"\ndefault=true', "site.toml"
        )
        script = "#!/bin/sh\nmkdir out; head -c 40000000 /dev/zero > out/big; echo x > small"
        await world.engine.start(world.launch(script))
        await world.until(world.ended)

    world.play(what)
    job = world.server.jobs[0]
    assert {"source": "s3://team/slurmsky", "mode": "MOUNT"} in job.task["file_mounts"].values()
    message = "out/big (40000000 bytes) was not brought back: more than [sky] return_mib; it is at s3://team/slurmsky"
    assert f"{message}/{job.name}/out/big\n".encode() in world.out
    assert (world.cloud.bucket("s3://team/slurmsky") / job.name / "out" / "big").stat().st_size == 40_000_000
    assert not (world.project / "out" / "big").exists() and (world.project / "small").exists()


@pytest.mark.parametrize("mode, out", [(None, b"new\n"), ("append", b"of an earlier job\nnew\n")])
def test_an_existing_output_file_is_truncated_or_appended_to(world, mode, out):
    (world.project / "slurm-7.out").write_text("of an earlier job\n")

    async def what(world):
        await world.engine.start(world.launch("#!/bin/sh\necho new\n", spec=JobSpec(open_mode=mode)))
        await world.until(world.ended)

    world.play(what)
    assert world.out == out
