"""--mail-type: the site's mail program gets Slurm's subjects.

Mail about an ended job has seff's summary.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import BIN, LocalEngine, local_engine

pytestmark = pytest.mark.xdist_group("mail")

PROGRAM = """#!{python} -I
import json, sys
line = json.dumps([sys.argv[1:], sys.stdin.read()])
with open({log!r}, "a") as log:
    log.write(line + "\\n")
"""


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalEngine, Path]]:
    """An engine whose ``mail`` program records its calls."""
    tools = tmp_path_factory.mktemp("tools")
    log = tools / "log"
    (tools / "mail").write_text(PROGRAM.format(python=sys.executable, log=str(log)))
    (tools / "mail").chmod(0o755)
    site = Path(__file__).parent.parent / "oracle" / "site.toml"
    with local_engine(site, PATH=f"{BIN}:{tools}:/usr/local/bin:/usr/bin:/bin") as engine:
        yield engine, log


def mails(log: Path, to: str, count: int) -> list[tuple[str, str]]:
    """Wait for this many mails to an address; returns their subjects and bodies."""
    end = time.monotonic() + 90
    while True:
        lines = log.read_text().splitlines() if log.exists() else []
        found = [(argv[1], body) for argv, body in map(json.loads, lines) if argv[0] == "-s" and argv[2] == to]
        if len(found) >= count:
            assert len(found) == count, found
            return found
        assert time.monotonic() < end, lines
        time.sleep(0.1)


def test_begin_and_end(post: tuple[LocalEngine, Path]) -> None:
    engine, log = post
    line = "sbatch -W --parsable -n2 --mem=100 -J train -o /dev/null --mail-type=ALL --mail-user=ada@x.example"
    job = engine.run(line + " --wrap 'sleep 1'").stdout.strip()
    # The program is not waited for: two of them may run at once.
    (began, nothing), (ended, body) = sorted(mails(log, "ada@x.example", 2))
    assert re.fullmatch(rf"Slurm Job_id={job} Name=train Began, Queued time \d\d:\d\d:\d\d", began) and nothing == ""
    assert re.fullmatch(
        rf"Slurm Job_id={job} Name=train Ended, Run time 00:\d\d:\d\d, COMPLETED, ExitCode 0", ended)  # fmt: skip
    assert body == engine.run(f"seff {job}").stdout
    assert f"Job ID: {job}\n" in body and "State: COMPLETED (exit code 0)\n" in body and "CPU Efficiency: " in body


def test_failed_only(post: tuple[LocalEngine, Path]) -> None:
    engine, log = post
    line = "sbatch -W --parsable -o /dev/null --mail-type=FAIL --mail-user=bob@x.example"
    engine.run(f"{line} --wrap true")
    job = engine.run([*line.split(), "-J", "two\nlines", "--wrap", "exit 3"]).stdout.strip()
    ((subject, body),) = mails(log, "bob@x.example", 1)
    assert re.fullmatch(
        rf"Slurm Job_id={job} Name=two lines Failed, Run time 00:\d\d:\d\d, FAILED, ExitCode 3", subject)  # fmt: skip
    assert "State: FAILED (exit code 3)\n" in body


def test_mail_about_arrays_is_one_or_one_for_each_element(post: tuple[LocalEngine, Path]) -> None:
    engine, log = post
    line = "sbatch -W --parsable -o /dev/null --array=1-3 -J sweep --mail-user=%s@x.example"
    each = engine.run(line % "eve" + " --mail-type=END,ARRAY_TASKS --wrap true").stdout.strip()
    assert {re.sub(r" \(\d+\).*", "", subject) for subject, _ in mails(log, "eve@x.example", 3)} == {
        f"Slurm Array Task Job_id={each}_{task}" for task in (1, 2, 3)}  # fmt: skip
    one = engine.run(line % "kim" + " --mail-type=BEGIN,END --wrap 'exit $((SLURM_ARRAY_TASK_ID == 2))'").stdout.strip()
    assert sorted(subject for subject, _ in mails(log, "kim@x.example", 2)) == [
        f"Slurm Array Summary Job_id={one}_* ({one}) Name=sweep Began",
        f"Slurm Array Summary Job_id={one}_* ({one}) Name=sweep Ended, Mixed, ExitCode [0-1]"]  # fmt: skip
    bad = engine.run(line % "bea" + " --mail-type=FAIL --wrap 'kill -9 $$'").stdout.strip()
    assert [subject for subject, _ in mails(log, "bea@x.example", 1)] == [
        f"Slurm Array Summary Job_id={bad}_* ({bad}) Name=sweep Failed, Mixed, MaxSignal [9]"]  # fmt: skip
