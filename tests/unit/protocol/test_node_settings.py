"""Settings of a shipment, read by a node and by later controllers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slurmsky.protocol.message_codec import BadMessage
from slurmsky.protocol.node_settings import FILE, FileSettings, OutboxSettings, PilotSettings, ShipmentSettings

SHIPMENT = ShipmentSettings(
    name="job-7", launch={"job_id": 7}, seed=5, host_prefix="job", environment={"A": "b"},
    letters=OutboxSettings("00ff", (100, 10), 15.0), files=FileSettings(folder="/a", identity=(3, 2)),
)  # fmt: skip


def stored(folder: Path, settings: ShipmentSettings | PilotSettings) -> str:
    path = folder / FILE
    path.write_text(json.dumps(settings.encode()))
    return str(path)


def test_a_node_reads_what_the_controller_wrote(tmp_path: Path) -> None:
    read = ShipmentSettings.read(stored(tmp_path, SHIPMENT))
    assert (read.name, read.slots, read.launch, read.letters.key) == ("job-7", 1, {"job_id": 7}, "00ff")
    assert (read.files.folder, tuple(read.files.identity), read.jobs) == ("/a", (3, 2), ({},))
    pilot = PilotSettings(order="o", nodes=("n1", "n2"), idle_s=600)
    assert PilotSettings.read(stored(tmp_path, pilot)) == pilot


def test_a_pack_without_unfinished_elements_has_no_jobs(tmp_path: Path) -> None:
    assert ShipmentSettings.read(stored(tmp_path, SHIPMENT.evolve(elements=()))).jobs == ()


def test_each_job_of_a_launch_request_has_its_own_settings(tmp_path: Path) -> None:
    shared = SHIPMENT.evolve(ranks=({"job_id": 7}, {"job_id": 8}))
    second = ShipmentSettings.read(stored(tmp_path, shared)).of_rank(1)
    assert (second.launch["job_id"], second.name, second.seed, tuple(second.letters.ids)) == (
        8,
        "job-7-1",
        6,
        (110, 10),
    )
    assert second.letters.key != SHIPMENT.letters.key
    assert "ranks" not in second.encode() and second.of_rank(1) is second
    assert SHIPMENT.of_rank(0) is SHIPMENT


def test_files_of_other_versions_are_read_as_far_as_they_are_known(tmp_path: Path) -> None:
    body = SHIPMENT.encode()
    del body["settings"]  # as earlier versions wrote them
    body["files"] |= {"since_then": 1}
    (tmp_path / FILE).write_text(json.dumps(body))
    assert ShipmentSettings.read(str(tmp_path / FILE)).files.folder == "/a"
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(BadMessage):
        ShipmentSettings.read(str(tmp_path / FILE))
