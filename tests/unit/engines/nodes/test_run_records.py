"""Records of runs across a restart of the controller."""

from __future__ import annotations

import json
from pathlib import Path

from slurmsky.engines.nodes.run_records import RunRecords

GIVEN = {"a": (1, 2), "b/c": (3, 4)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_runs_with_one_listing_share_its_file_until_the_last_one_has_ended(tmp_path):
    folder = tmp_path / "jobs"
    records = RunRecords(folder)
    for job in (1, 2):
        records.save((job, 0), {"note": str(job)}, "d1", GIVEN)
    records.save((3, 0), {}, "d2", {})
    assert names(folder) == ["1-0.json", "2-0.json", "3-0.json", "d1.listing", "d2.listing"]
    later = RunRecords(folder)
    found = later.load([(1, 0), (2, 0), (9, 0)])
    assert found == {(job, 0): ({"note": str(job), "listing": "d1"}, GIVEN) for job in (1, 2)}
    later.remove((1, 0))
    assert "d1.listing" in names(folder)
    later.remove((2, 0))
    assert names(folder) == ["3-0.json", "d2.listing"]
    records.save((3, 0), {}, "d3", {})  # the same run, launched again
    assert names(folder) == ["3-0.json", "d3.listing"]


def test_a_listing_is_stored_as_its_differences_from_one_that_is_kept_as_long(tmp_path):
    folder, given = tmp_path / "jobs", {str(number): (1, 2) for number in range(1000)}
    more, less = {**given, "new": (3, 4), "1": (5, 6)}, {path: entry for path, entry in given.items() if path != "2"}
    records = RunRecords(folder)
    for job, listing in enumerate((given, more, less, {})):
        records.save((job, 0), {}, f"d{job}", listing)
    sizes = {path.stem: path.stat().st_size for path in folder.glob("*.listing")}
    assert sizes["d1"] < 100 and sizes["d2"] < 100 < sizes["d0"]
    records.remove((0, 0))  # its listing is in use
    later = RunRecords(folder)
    keys = [(job, 0) for job in range(1, 4)]
    assert [found for _, found in later.load(keys).values()] == [more, less, {}]
    for one in (records, later):
        for key in keys[:-1]:
            one.remove(key)
        assert names(folder) == ["3-0.json", "d3.listing"]


def test_a_record_of_an_earlier_version_contains_the_entries(tmp_path):
    (tmp_path / "1-0.json").write_text(json.dumps({"given": {"a": [1, 2]}}))
    records = RunRecords(tmp_path)
    assert records.load([(1, 0)])[1, 0][1] == {"a": (1, 2)}
    records.remove((1, 0))
    assert names(tmp_path) == []
