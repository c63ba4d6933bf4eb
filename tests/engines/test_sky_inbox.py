"""Jobs on unreachable nodes: their requests arrive as sealed requests in the log."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from sky_world import World

from slurmsky import paths
from slurmsky.engines.sky.job_log import inbox
from slurmsky.protocol import seal, wire


class Office:
    """A stand-in of the controller that records its requests."""

    def __init__(self, code: int = 0, stderr: bytes = b"") -> None:
        self.code, self.stderr = code, stderr
        self.requests: list[wire.CommandRequest] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(wire.HEADER_SIZE)
        payload = await reader.readexactly(int.from_bytes(head[1:], "big"))
        self.requests.append(wire.CommandRequest.from_payload(payload))
        writer.write(wire.encode(wire.STDERR, self.stderr) + wire.encode(wire.EXIT, b"%d" % self.code))
        await writer.drain()
        writer.close()


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "AFTER_S", 1.0)


def play(world: World, script: str, office: Office) -> None:
    world.cloud.apart = True

    async def what(world: World) -> None:
        world.home.mkdir(exist_ok=True)
        server = await asyncio.start_unix_server(office, str(world.home / "controller.sock"))
        await world.engine.start(world.launch(script))
        await world.until(world.ended)
        server.close()

    world.play(what)


CHAIN = """#!/bin/bash
printf '#!/bin/bash\\n#SBATCH -J nightly\\necho next\\n' > next.sh
export TOKEN=s3cret
sbatch --parsable -d afterok:$SLURM_JOB_ID next.sh --epochs 3
sbatch <<'END'
#!/bin/sh
echo from stdin
END
sbatch -Q --wrap hostname
sbatch --no-such-option x; echo "code $?"
squeue -h --me; echo "code $?"
squeue -j 99; echo "code $?"
"""


@pytest.mark.slow
@pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
def test_a_job_submits_the_next_job(world: World) -> None:
    office = Office()
    play(world, CHAIN, office)
    first = inbox.FIRST_ID
    lines = world.out.decode().splitlines()
    assert lines[:2] == [str(first), f"Submitted batch job {first + 1}"], lines
    assert lines[2].startswith("sbatch: unrecognized option '--no-such-option'"), lines
    assert lines[3] == 'Try "sbatch --help" for more information' and lines[4] == "code 255"
    assert lines[5].split()[:4] == ["7", "debug", "job", "me"] and lines[7] == "code 0"
    assert "Unable to contact slurm controller" in lines[-2] and lines[-1] == "code 1"
    chain, stdin, wrap = office.requests
    assert chain.args[-3:] == ("next.sh", "--epochs", "3") and chain.cwd == str(world.project)
    assert chain.env[paths.SCRIPT] == "#!/bin/bash\n#SBATCH -J nightly\necho next\n"
    assert [int(one.env[paths.GIVEN_ID]) for one in office.requests] == [first, first + 1, first + 2]
    assert stdin.env[paths.SCRIPT] == "#!/bin/sh\necho from stdin\n" and paths.SCRIPT not in wrap.env
    assert chain.env["TOKEN"] == "s3cret" and b"s3cret" not in world.server.jobs[0].log


@pytest.mark.slow
@pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
@pytest.mark.parametrize(
    "asks, state",
    [("scontrol requeue $SLURM_JOB_ID", "REQUEUED"), ("scancel $SLURM_JOB_ID", "CANCELLED")],
)
def test_a_job_ends_itself(world: World, asks: str, state: str) -> None:
    office = Office()
    play(world, f"#!/bin/bash\n{asks}\nsleep 300\n", office)
    assert world.ended()["state"] == state
    assert [one.command for one in office.requests] == [asks.split()[0]]
    assert office.requests[0].args[-1] == "7"


@pytest.mark.slow
@pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")
def test_a_refused_request_is_reported_in_the_jobs_output(world: World) -> None:
    office = Office(1, b"sbatch: error: Batch job submission failed: Invalid qos specification\n")
    play(world, "#!/bin/bash\nsbatch -q none --wrap true\n", office)
    assert world.out.decode().splitlines()[0] == f"Submitted batch job {inbox.FIRST_ID}"
    assert b"Invalid qos specification" in world.out


def test_ids_are_reserved_once(tmp_path: Path) -> None:
    first, count = inbox.reserve_ids(tmp_path)
    assert inbox.reserve_ids(tmp_path) == (first + count, count)
    (tmp_path / "letter-ids").write_text(str(inbox.LAST_ID - 1))
    assert inbox.reserve_ids(tmp_path)[0] == inbox.FIRST_ID


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 100_000])
def test_a_sealed_message_decrypts_to_its_content(size: int) -> None:
    key, data = b"k" * 32, bytes(range(256)) * (size // 256 + 1)
    message = seal.seal(key, data[:size])
    assert seal.unseal(key, message) == data[:size]
    assert message != seal.seal(key, data[:size])
    assert size < 31 or data[:size] not in message
    for broken in (message[:-1], bytes([message[0] ^ 1]) + message[1:], b""):
        with pytest.raises(seal.BrokenSeal):
            seal.unseal(key, broken)
    with pytest.raises(seal.BrokenSeal):
        seal.unseal(b"l" * 32, message)


def test_a_sealed_message_is_rejected_in_another_place() -> None:
    message = seal.seal(b"k" * 32, b"request", "17.0.3")
    assert seal.unseal(b"k" * 32, message, "17.0.3") == b"request"
    for place in ("18.0.3", "17.1.3", "17.0.4", ""):  # of another run, node or number
        with pytest.raises(seal.BrokenSeal):
            seal.unseal(b"k" * 32, message, place)


def test_a_process_id_of_another_machine_is_dropped(tmp_path: Path) -> None:
    from slurmsky.agent.cloud.outbox import with_script

    (tmp_path / "job.sh").write_bytes(b"#!/bin/sh\n\xff\x00")
    request = wire.CommandRequest("sbatch", ("-n", "2", "job.sh"), str(tmp_path), 0o22, (False,) * 3, None, 99, {})
    carried = with_script(request)
    assert carried.pid == 0
    assert carried.env[paths.SCRIPT].encode("utf-8", "surrogateescape") == b"#!/bin/sh\n\xff\x00"
    assert wire.CommandRequest.from_payload(carried.to_payload()) == carried
    assert with_script(replace(request, args=("--wrap", "job.sh"))).env == {}
