"""Prices of a folder: arrays by element, spot and on-demand, cheapest infra."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))

import moving

from slurmsky.site import load
from slurmsky.translate.explain.explain_text import table_text, to_html, to_json
from slurmsky.translate.explain.explanation import Page, with_prices
from slurmsky.translate.explain.folder_prices import by_question, price_cells, summary

BARE = load("", "none")
ROW = {"instance": "m6i", "cpus": "2", "memory": "8", "gpus": "-", "chosen": ""}
ROWS = [
    {**ROW, "infra": "AWS (us-east-1)", "cost": "3.00"},
    {**ROW, "infra": "GCP (us-central1)", "cost": "2.00"},
    {**ROW, "infra": "AWS (us-west-2)", "instance": "m6i[Spot]", "cost": "0.50"},
    {**ROW, "infra": "Slurm (old)", "cost": "-"},
]


def _page(*options: str, site: object = BARE) -> Page:
    text = "".join(["#!/bin/bash\n", *(f"#SBATCH {option}\n" for option in options), "true\n"])
    page: Page = moving.explained(text.encode(), site, "job.sh", "sky")
    return page


def test_an_array_costs_its_elements_for_their_time_limit() -> None:
    array = with_prices(_page("--array=1-10%2", "--time=2:00:00"), ROWS, "")
    single = with_prices(_page("--time=30"), ROWS, "")
    endless = with_prices(_page("--array=0-4"), ROWS, "")
    assert price_cells(array) == ("$40.00", "$10.00", "AWS (us-west-2)")
    assert price_cells(single) == ("$1.00", "$0.25", "AWS (us-west-2)")
    assert price_cells(endless) == ("$10.00/h", "$2.50/h", "AWS (us-west-2)")
    lines = summary([array, single, endless])
    assert "2 scripts, arrays times their elements: $41.00 on demand, $10.25 with spot nodes" in lines[0]
    assert "1 script, arrays times their elements: $10.00 on demand, $2.50" in lines[1]
    assert lines[2] == "cheapest infra: AWS (us-west-2) (3 scripts)"
    assert all(line in table_text([array, single, endless]) for line in lines)
    assert "$40.00 on demand, $10.00 spot, AWS (us-west-2)" in to_html([array, single])
    assert json.loads(to_json([array, single, endless], True))["prices"] == lines


def test_scripts_of_one_size_share_a_question() -> None:
    pages = [_page("-c8"), _page("-c8", "-J", "other", "-t5"), _page("-c4", "-N2"), _page("-c4", "-N2", "-a1-9")]
    tasks = [json.loads(text) for text in by_question([*pages, _page("-c8")])]
    assert [one["resources"]["cpus"] for one in tasks] == ["8+", "4+"] and tasks[1]["num_nodes"] == 2
    assert tasks[0]["resources"]["any_of"] == [{"use_spot": False}, {"use_spot": True}]


def test_nodes_of_a_slurm_infra_are_never_spot_nodes() -> None:
    site = load('[[partition]]\nname = "p"\nengine = "sky"\ninfra = ["slurm/old", "aws"]\n', "site.toml")
    tasks = json.loads(_page("-p", "p", site=site).price_question)["resources"]["any_of"]
    assert [(one["infra"], one["use_spot"]) for one in tasks] == [
        ("slurm/old", False), ("aws", False), ("aws", True)]  # fmt: skip


def test_scripts_without_a_price_are_counted_by_reason() -> None:
    late = with_prices(_page("-t5"), (), "no prices: SkyPilot did not answer within 12 s")
    here = replace(_page("-t5"), engine="local")
    assert summary([late, late, here]) == ["2 scripts: no prices: SkyPilot did not answer within 12 s"]
    assert summary([here]) == []
