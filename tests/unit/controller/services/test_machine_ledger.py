"""The machine-wide ledger shows what other users' live controllers hold."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from slurmsky.agent.process import machine_claim
from slurmsky.controller.rules.node_use import NodeUse
from slurmsky.controller.services.machine_ledger import NOTHING, Held, Ledger
from slurmsky.controller.services.machine_share import MachineShare
from slurmsky.model.allocation import NodeShare
from slurmsky.model.cluster import NodeConfig, PartitionConfig

STRANGER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="is several users")
SOME = Held(2, 500, frozenset({0}), frozenset({0, 1}))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
    return str(tmp_path / "all")


@pytest.fixture
def mine(folder: str) -> Iterator[Ledger]:
    ledger = Ledger("/home/me", folder)
    ledger.open()
    yield ledger
    ledger.close(NOTHING)


@contextmanager
def another(folder: str, held: Held, uid: int = STRANGER, home: str = "/home/other") -> Iterator[int]:
    """A controller of another user that holds resources, in a separate process."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setresuid(uid, uid, uid)
            ledger = Ledger(home, folder)
            ledger.open()
            ledger.enter()
            ledger.leave(held)
            os.write(theirs, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(theirs)
    try:
        assert os.read(ours, 1) == b"x"
        yield pid
    finally:
        os.close(ours)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@as_root
def test_resources_of_another_user_count_until_its_controller_dies(folder: str, mine: Ledger) -> None:
    with another(folder, SOME):
        assert mine.others() == (SOME, NOTHING)
    assert mine.others() == (NOTHING, NOTHING)


@as_root
def test_an_agent_keeps_the_entry_of_a_dead_controller(
    folder: str, mine: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with another(folder, SOME):
        (entry,) = [name for name in os.listdir(folder) if name.startswith(f"{STRANGER}-")]
        monkeypatch.setenv(machine_claim.CLAIM, f"{folder}/{entry}")
        machine_claim.lock_entry()
        assert machine_claim.CLAIM not in os.environ
    assert mine.others() == (SOME, NOTHING)
    for number in set(os.listdir("/proc/self/fd")) - before:
        if os.path.exists(f"/proc/self/fd/{number}") and entry in os.readlink(f"/proc/self/fd/{number}"):
            os.close(int(number))
    mine._files.clear()
    assert mine.others() == (NOTHING, NOTHING)


def test_further_controllers_of_one_user_are_distinguished(folder: str, mine: Ledger) -> None:
    second = Ledger("/home/me/second", folder)
    second.open()
    second.leave(SOME)
    assert mine.others() == (NOTHING, SOME)
    second.close(NOTHING)
    assert mine.others() == (NOTHING, NOTHING)


def test_entries_of_killed_controllers_are_removed_by_the_next_controller(folder: str, mine: Ledger) -> None:
    with another(folder, SOME, os.geteuid(), "/home/killed"), another(folder, SOME, os.geteuid(), "/home/alive"):
        pass
    assert len(os.listdir(folder)) == 4
    with another(folder, SOME, os.geteuid(), "/home/next"):
        assert sorted(os.listdir(folder)) == sorted(["lock", *(os.path.basename(entry.path) for entry in
                                                               (mine, Ledger("/home/next", folder)))])  # fmt: skip
        assert mine.others() == (NOTHING, SOME)


@as_root
@pytest.mark.parametrize(
    "data", [b"", b"x", b"[]", b"{}", b'{"cpus":"a"}', b'{"cpus":1,"memory_mib":0,"gpus":5}', b"[" * 99999, b"\xff"]
)
def test_invalid_records_of_other_users_are_ignored(folder: str, mine: Ledger, data: bytes) -> None:
    with another(folder, SOME) as pid:
        (entry,) = [name for name in os.listdir(folder) if name.startswith(f"{STRANGER}-")]
        Path(folder, entry).write_bytes(data)
        assert mine.others() == (NOTHING, NOTHING)
        # Invalid entries are ignored: another user's name, links, pipes, or a lock that is never released.
        os.symlink("/etc/passwd", f"{folder}/1-{'a' * 12}")
        os.mkfifo(f"{folder}/2-{'a' * 12}")
        os.rename(f"{folder}/{entry}", f"{folder}/7-{'b' * 12}")
        assert pid and mine.others() == (NOTHING, NOTHING)


def test_a_lock_that_is_never_released_delays_a_pass_only_briefly(folder: str, mine: Ledger) -> None:
    second = Ledger("/home/me/second", folder)
    second.open()
    second.enter()
    mine.enter()
    mine.leave(SOME)
    assert second.others() == (NOTHING, SOME)
    second.close(NOTHING)


def test_a_ledger_folder_that_is_not_shared_is_not_used(folder: str) -> None:
    os.mkdir(folder, 0o755)
    with pytest.raises(OSError, match="not a folder for all users"):
        Ledger("/home/me", folder).open()


def share_of(
    config: NodeConfig, others: Held, same_user: Held = NOTHING, gpus: int = 0, exclusive_user: bool = False
) -> tuple[MachineShare, NodeUse]:
    use = NodeUse(config)
    partition = PartitionConfig("debug", exclusive_user=exclusive_user)
    cluster = SimpleNamespace(partitions=[partition])
    job_table = SimpleNamespace(partition_nodes={"debug": [config]}, uses={config.name: use}, cluster=cluster)
    entries = SimpleNamespace(enter=lambda: None, others=lambda: (others, same_user))
    share = MachineShare(job_table, entries, config.cpus, gpus)
    share.begin(lambda partition: "local")
    return share, use


NODE = NodeConfig(name="vm", cpus=4, memory_mib=1000, gres=(("gpu", "h100", 2),))


def test_resources_of_other_users_are_subtracted() -> None:
    share, use = share_of(NODE, SOME)
    (seen,) = share.open([use])
    assert (seen.cpu_ids, seen.memory_mib, seen.gres) == ({0, 1}, 500, {"gpu:h100": {0}})
    assert use.cpu_ids == set() and share.contended


def test_subtracted_resources_never_exceed_the_machine() -> None:
    share, use = share_of(NODE, Held(99, 9999, frozenset({0, 1, 7})))
    use.cpu_ids.add(1)
    (seen,) = share.open([use])
    assert (len(seen.cpu_ids), seen.memory_mib) == (4, 1000)


def test_controllers_of_one_user_share_real_devices_alone() -> None:
    share, use = share_of(NODE, NOTHING, SOME)
    assert share.open([use]) == [use] and not share.contended
    share, use = share_of(NODE, NOTHING, SOME, gpus=2)
    (seen,) = share.open([use])
    assert (seen.cpu_ids, seen.memory_mib, seen.gres) == (set(), 0, {"gpu:h100": {0}})


def test_the_ledger_has_the_resources_of_our_jobs() -> None:
    share, use = share_of(NODE, NOTHING)
    use.cpu_ids.update((1, 2))
    use.memory_mib = 300
    use.gres["gpu:h100"] = {1}
    assert share.held_by_jobs() == Held(2, 300, frozenset({1}), frozenset({1, 2}))


def test_a_partition_with_exclusive_user_shares_this_machine_with_no_other_user() -> None:
    share, use = share_of(NODE, SOME, exclusive_user=True)
    assert [seen.exclusive for seen in share.open([use], "debug")] == [True] and not use.exclusive
    assert [seen.exclusive for seen in share.open([use], "other")] == [False]
    share, use = share_of(NODE, NOTHING, SOME, exclusive_user=True)  # another controller of the same user
    assert [seen.exclusive for seen in share.open([use], "debug")] == [False]
    use.allocate(1, NodeShare("vm", cpu_ids=(0,)), False, "debug")
    assert share.held_by_jobs() == Held(4, 1000, frozenset({0, 1}), frozenset(range(4)))
    use.release(1, NodeShare("vm", cpu_ids=(0,)), "debug")
    assert share.held_by_jobs() == NOTHING
