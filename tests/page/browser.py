"""Pages as Chromium renders them: visible text, and layout faults."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from polling import PATIENCE_S

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: Runs in a copy of a page, whose own policy would not let it.
_MEASURE = f"<script>{(Path(__file__).parent / 'measure.js').read_text()}</script>"
_POLICY = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')

_HOST = """<!doctype html><body style="margin:0"><script>
const all = []; addEventListener('message', event => { all.push(event.data);
  document.getElementById('result').textContent = JSON.stringify(all); });
</script>%s<pre id="result"></pre>"""


@dataclass
class Look:
    """Layout of one page at one width: its faults, and the visible text."""

    wide: int
    dark: bool
    found: list[str]
    seen: list[str] = field(repr=False)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


def needed() -> str:
    """The browser; a missing browser in continuous integration is an error of its set-up."""
    if PROGRAM is None:
        if os.environ.get("SLURMSKY_CI"):
            pytest.fail("no Chromium: .ci/run should have installed it")
        pytest.skip("PAGES ARE NOT LOOKED AT: no Chromium here (apt-get install chromium)")
    return PROGRAM


def _run(folder: Path, *words: str) -> str:
    argv = [needed(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking",
            f"--user-data-dir={folder / 'profile'}", *words]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def screenshots(
    folder: Path, pages: dict[str, str], widths: tuple[int, ...], dark: bool = False
) -> dict[tuple[str, int], Look]:
    """Render pages at these widths; returns their layout by name and width."""
    frames = []
    for name, page in pages.items():
        bare, count = _POLICY.subn(lambda _: _MEASURE, page)
        assert count == 1
        (folder / f"{name}.html").write_text(bare)
        frame = f'<iframe src="{name}.html#%d" width="%d" height="900" style="border:0"></iframe>'
        frames += [frame % (width, width) for width in widths]
    (folder / "host.html").write_text(_HOST % "".join(frames))
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    out = _run(folder, scheme, "--virtual-time-budget=20000", "--window-size=1400,1000", "--dump-dom",
               (folder / "host.html").as_uri())  # fmt: skip
    result = re.search(r'<pre id="result">(.*?)</pre>', out, re.DOTALL)
    assert result is not None and result[1], out[-2000:]
    looks = {}
    for one in json.loads(html.unescape(result[1])):
        path, _, width = one["at"].partition("#")
        looks[Path(path).stem, int(width)] = Look(one["wide"], one["dark"], one["found"], one["seen"])
    assert set(looks) == {(name, width) for name in pages for width in widths}
    return looks


def picture(folder: Path, file: Path, width: int, height: int) -> bytes:
    """A screenshot's pixels, filtered as PNG has them; the file is beside the page."""
    target = file.with_suffix(".png")
    _run(folder, f"--window-size={width},{height}", f"--screenshot={target}", file.as_uri())
    data, at, packed = target.read_bytes(), 8, b""
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(data[16:20], "big") == width
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + size]
        at += 12 + size
    return zlib.decompress(packed)
