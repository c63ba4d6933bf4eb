"""The site file that a folder of scripts needs, from what ``slurmsky explain`` leaves open in each. Pure.

Every open decision comes with lines of TOML that settle it. Keys are counted by the scripts that need them, and the
most frequent are written: at most ``MAX_LINES`` lines, so that a person can read the file. Partitions that are not
written are accepted all the same (``[local] strict = false``).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_LINES = 20
#: words of a suggestion that only a person can replace
UNKNOWN = ("BUCKET", "IMAGE", "CONTEXT", "INSTANCE TYPE OR GPU", "GPU_TYPE", "PACKAGES", "VALUE", "COMMAND THAT")
_MOST_PARTITIONS = 3
_MOST_OPTIONS = 6
_MOST_PATHS = 5  # the others are folders of the bucket that have their names: "/*"
_MOST_ENVIRONMENTS = 1


@dataclass(frozen=True)
class Need:
    """What one script names, and the lines that would settle what is open in it."""

    partitions: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()  # SkyPilot's names of the GPU types that it asks for
    hints: tuple[tuple[str, str], ...] = ()  # (partition, GPU that its name or the script hints at)
    wants_gpus: bool = False
    settle: tuple[str, ...] = ()


@dataclass
class Wanted:
    """All scripts of a folder: keys with the number of scripts that need each."""

    scripts: int = 0
    partitions: Counter[str] = field(default_factory=Counter)
    with_gpus: Counter[str] = field(default_factory=Counter)  # partitions of scripts that ask for GPUs
    gpus: Counter[str] = field(default_factory=Counter)
    hints: Counter[tuple[str, str]] = field(default_factory=Counter)
    keys: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (table, key, value as TOML)
    options: Counter[str] = field(default_factory=Counter)

    def unknown(self, table: str) -> list[str]:
        """Keys of a table whose value only a person knows, most used first."""
        return [key for (name, key, value), _ in self.keys.most_common() if name == table and _open(value)]

    def gpu_of(self, partition: str, usual: str) -> str:
        """The GPU that a partition's name hints at most often."""
        found = [gpu for (name, gpu), _ in self.hints.most_common() if name == partition]
        return found[0] if found else usual


def gather(needs: Iterable[Need]) -> Wanted:
    """Count over a folder."""
    wanted = Wanted()
    for need in needs:
        wanted.scripts += 1
        wanted.partitions.update(set(need.partitions))
        if need.wants_gpus:
            wanted.with_gpus.update(set(need.partitions))
        wanted.gpus.update({*need.gpus, *(gpu for _, gpu in need.hints)})
        wanted.hints.update(set(need.hints))
        keys: set[tuple[str, str, str]] = set()
        for text in need.settle:
            try:
                data = tomllib.loads(text)
            except tomllib.TOMLDecodeError:
                continue
            keys |= set(_keys(data))
            wanted.options.update({one["name"] for one in data.get("option", ()) if isinstance(one, dict)})
        wanted.keys.update(keys)
    return wanted


def _keys(data: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    for table, value in data.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                yield table, key, toml_value(inner)


def render(wanted: Wanted, folder: str, *, bucket: str = "", gpu: str = "", packages: str = "") -> str:
    """The site file. ``bucket``: where the content of the old cluster's paths is; ``packages``: of conda environments.

    What is not known is left out.
    """
    head = [f"# for {wanted.scripts} scripts of {_comment(folder)}; `slurmsky site check` validates it"]
    tail = [
        "[local]",
        "strict = false  # other names are accepted; on this machine nodes are as large as a job asks",
    ]
    room = MAX_LINES - len(head) - len(tail)
    if wanted.partitions:
        named = wanted.partitions.most_common(_MOST_PARTITIONS)
        rows = []
        for place, (name, count) in enumerate(named):
            kind = wanted.gpu_of(name, gpu)
            more = f", gpu = {toml_value(kind)}" if kind and wanted.with_gpus[name] else ""
            default = ", default = true" if place == 0 else ""
            rows.append(f"  {{ name = {toml_value(name)}{default}{more} }},  # {_scripts(count)}")
        head += ["partition = [", *rows, "]"]
        room -= len(rows) + 2
    if wanted.options:
        spank = [{"name": name, "argument": "required"} for name, _ in wanted.options.most_common(_MOST_OPTIONS)]
        head.append("option = " + toml_value(spank))
        room -= 1
    rest: Counter[str] = Counter()  # patterns that stand for what gets no line of its own
    tables: dict[str, list[tuple[int, str]]] = {}
    if gpu:
        users = sum(wanted.with_gpus.values())
        tables["gpus"] = [(users + 1, f"default = {toml_value(gpu)}  # where a script names no type")]
    for (table, key, value), count in wanted.keys.most_common():
        if table == "gpus" and key == "default":
            continue
        known = {"paths": bucket, "environments": packages}.get(table)
        pattern = _pattern(table, key) if known and _open(value) else ""
        if pattern and len(tables.get(table, ())) >= (_MOST_PATHS if table == "paths" else _MOST_ENVIRONMENTS):
            rest[pattern] += 1
            continue
        if table == "paths" and bucket and _open(value):
            value = toml_value(f"{bucket.rstrip('/')}/{key.strip('/~')}")
        if table == "environments" and packages and _open(value):
            value = toml_value(packages)
        if not _open(value):
            tables.setdefault(table, []).append((count, f"{toml_key(key)} = {value}  # {_scripts(count)}"))
    for pattern, count in rest.items():
        table, value = ("environments", packages) if pattern == "*" else ("paths", bucket.rstrip("/"))
        tables[table].insert(0, (wanted.scripts, f"{toml_key(pattern)} = {toml_value(value)}  # {count} others"))
    lines: list[str] = []
    # A table with the most used key comes first; a heading costs a line.
    for table, rows_of in sorted(tables.items(), key=lambda item: -max(count for count, _ in item[1])):
        kept = rows_of[: max(0, room - 1)]
        if kept:
            lines += [f"[{table}]", *(row for _, row in kept)]
            room -= len(kept) + 1
    return "\n".join([*head, *lines, *tail]) + "\n"


def _pattern(table: str, key: str) -> str:
    """The key that stands for all others of a table."""
    return "*" if table == "environments" else "~/*" if key.startswith("~") else "/*"


def toml_value(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_key(key)} = {toml_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(_escaped(char) for char in value) + '"'
    return str(value)


def toml_key(text: str) -> str:
    """A key as TOML: bare where it can be.

    >>> toml_key("default"), toml_key("/scratch")
    ('default', '"/scratch"')
    """
    bare = text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    return text if bare else toml_value(text)


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\u{ord(char):04x}" if ord(char) < 1 << 16 else f"\\U{ord(char):08x}"


def _open(value: str) -> bool:
    return any(word in value for word in UNKNOWN)


def _comment(text: str) -> str:
    return "".join(char for char in text if char.isprintable())


def _scripts(count: int) -> str:
    return f"{count} script{'s' * (count != 1)}"
