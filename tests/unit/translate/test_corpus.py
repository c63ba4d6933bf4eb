"""Lines of public batch scripts (tests/data/corpus.csv): sbatch accepts them, explain has a finding for each, and
translate converts them to YAML.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import yaml
from moving_script import moving
from tables import every

from slurmsky.site import load
from slurmsky.translate.explain.explanation import EFFECTS
from slurmsky.translate.sky_task.translation_notes import Refused

_TESTS = Path(__file__).resolve().parents[2]

SITE = load(
    """
accounts = ["ml"]
[gpus]
default = "H100"
[[partition]]
name = "main"
default = true
features = { highmem = "r6i.8xlarge" }
""",
    "site.toml",
)
#: lines that sbatch refuses, with its messages
REFUSED = {
    "stray word in directives": "Invalid directive found in batch script: a",
    "directives that stand after a stray word (refused)": "Invalid directive found in batch script: a",
    "no shebang in line 1": "This does not look like a batch script",
    "(none)": "This does not look like a batch script",
    "CRLF line ends": "Batch script contains DOS line breaks",
    "unknown: image": "unrecognized option",
    "unknown: module": "unrecognized option",
    "unknown: environment": "unrecognized option",
    "unknown: gpu-per-node": "unrecognized option",
}


def rows() -> list[dict[str, str]]:
    lines = (_TESTS / "data" / "corpus.csv").read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("# ")))


def script(row: dict[str, str]) -> bytes:
    """The row's example as a whole script."""
    text = row["script"].replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r").replace("\\\\", "\\")
    if text.startswith("<NOSHEBANG>"):
        text = text.removeprefix("<NOSHEBANG>")
    elif text.startswith("<BANG>"):
        text = text.removeprefix("<BANG>")
    else:
        text = "#!/bin/bash\n" + text
    return (text.removesuffix("<EOF>") + ("" if text.endswith("<EOF>") else "\n")).encode()


def test_the_tables_are_whole() -> None:
    counts = Counter(row["table"] for row in rows())
    assert len(rows()) == 702
    assert (counts["option (long name)"], counts["module name"], counts["command"], counts["body"]) == (55, 100, 53, 85)
    assert (counts["variable read"], counts["variable set"], counts["srun option"]) == (52, 20, 60)


@every("row", rows(), lambda row: f"{row['table']}: {row['entry']}")
def test_what_people_write(row: dict[str, str]) -> None:
    data = script(row)
    for engine in ("local", "sky"):
        page = moving.explained(data, SITE, "job.sh", engine)
        if row["entry"] in REFUSED:
            assert REFUSED[row["entry"]] in page.refusal
            continue
        assert page.refusal == ""
        found = [one for one in page.findings if one.kind == row["kind"] and one.text.startswith(row["shown"])]
        assert found, [(one.kind, one.text) for one in page.findings]
        assert found[0].effect in EFFECTS and found[0].reason
    if row["entry"] not in REFUSED:
        try:
            kept = moving.exported(data, SITE)
        except Refused as refused:  # in Slurm's words, as explain says it, too
            assert any(str(refused) in one.reason for one in page.findings), refused
        else:
            assert isinstance(yaml.safe_load(kept.yaml), dict)
