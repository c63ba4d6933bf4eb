"""Renders head, foot and pane separators as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from .keys import hints
from .plain_text import plain
from .rows import JobLine, NodeLine


def rule(env: Mapping[str, str]) -> str:
    """Character for lines: box drawing if the locale has it."""
    name = next((env[var] for var in ("LC_ALL", "LC_CTYPE", "LANG") if env.get(var)), "")
    return "─" if "utf" in name.lower() else "-"


def head(width: int, jobs: Sequence[JobLine], nodes: Sequence[NodeLine], problem: str, alarming: bool) -> Text:
    """First line: jobs, nodes or the problem, and the time."""
    states = Counter(job.state for job in jobs)
    states["PD"] = sum(job.waiting for job in jobs if job.state == "PD")
    more = "+" if any(job.state == "PD" and "..." in job.id for job in jobs) else ""
    parts = [f"{states.pop('R', 0)} running", f"{states.pop('PD')}{more} waiting"]
    if states:
        parts.append(f"{sum(states.values())} other")
    parts.append(f"CPUs {sum(node.cpus_used for node in nodes)}/{sum(node.cpus for node in nodes)}")
    if gpus := sum(node.gpus for node in nodes):
        parts.append(f"GPUs {sum(node.gpus_used for node in nodes)}/{gpus}")
    clock = datetime.now().strftime(" %H:%M:%S ")
    title, room = " slurmsky top   ", max(0, width - len(clock))
    # On a narrow screen the numbers take precedence.
    forms = [title + problem] if problem else [title + "   ".join(parts), title + "  ".join(parts),
                                               " " + "  ".join(parts), " " + "  ".join(parts[:2])]  # fmt: skip
    line = Text(next((form for form in forms if cell_len(form) <= room), forms[-1]), no_wrap=True)
    line.truncate(room, overflow="ellipsis", pad=True)
    line.append(clock)
    line.stylize("reverse bold red" if alarming else "reverse bold")
    return line


def separator_with_words(
    width: int, line: str, items: Sequence[tuple[str, bool]], right: Sequence[str], focused: bool
) -> Text:
    """Separator line with words. The style of the selected word also shows whether its pane receives the keys."""
    text = Text(line, no_wrap=True)
    for word, chosen in items:
        text.append(f" {word} ", ("reverse bold" if focused else "bold underline") if chosen else "")
        text.append(line)
    room = max(0, width - text.cell_len)
    end = "".join(f" {word} {line}" for word in right if word)
    if len(end) > room:
        end = " .." + end[len(end) - max(0, room - 3) :]  # the end of a path is its informative part
    text.append(line * max(0, room - cell_len(end)))
    text.append(end)
    text.truncate(width)
    return text


def foot(width: int, typing: str | None, message: tuple[str, bool] | None) -> Text:
    """Last line: filter being typed, last message, or keys."""
    if typing is not None:
        return Text.assemble(("filter: ", "bold cyan"), plain(typing), (" ", "reverse"), no_wrap=True)
    if message is not None:
        text, failed = message
        return Text(" " + text, "bold red" if failed else "bold", no_wrap=True, overflow="ellipsis")
    line = Text(no_wrap=True)
    for key, word in hints(width):
        line.append(key, "bold cyan")
        line.append(f" {word}  ")
    return line
