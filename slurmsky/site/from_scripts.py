"""Writes the site file that a folder of scripts needs.

Every open decision of ``slurmsky explain`` has lines of TOML that resolve it. Keys are counted by the scripts that
need them, and the most frequent keys are written: at most ``MAX_LINES`` lines, so that the file stays readable.
Partitions that are not written are accepted, too (``[local] strict = false``).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_LINES = 20
#: placeholders of a suggestion, which the user must replace
UNKNOWN = ("BUCKET", "IMAGE", "CONTEXT", "INSTANCE TYPE OR GPU", "GPU_TYPE", "PACKAGES", "VALUE", "COMMAND THAT")
_MOST_PARTITIONS = 3
_MOST_OPTIONS = 6
_MOST_PATHS = 5  # further paths are folders of the same names in the bucket: "/*"
_MOST_ENVIRONMENTS = 1


@dataclass(frozen=True)
class Need:
    """Names that one script uses, and lines for its open decisions."""

    partitions: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()  # SkyPilot's names of the GPU types that the script requests
    hints: tuple[tuple[str, str], ...] = ()  # (partition, GPU that its name or the script suggests)
    wants_gpus: bool = False
    suggestions: tuple[str, ...] = ()


@dataclass
class ScriptNeeds:
    """Keys that a folder's scripts need, counted by script."""

    scripts: int = 0
    partitions: Counter[str] = field(default_factory=Counter)
    with_gpus: Counter[str] = field(default_factory=Counter)  # partitions of scripts that request GPUs
    gpus: Counter[str] = field(default_factory=Counter)
    hints: Counter[tuple[str, str]] = field(default_factory=Counter)
    keys: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (table, key, value as TOML)
    options: Counter[tuple[str, str]] = field(default_factory=Counter)

    def unknown(self, table: str) -> list[str]:
        """Keys of a table with unknown values, most used first."""
        return [key for (name, key, value), _ in self.keys.most_common() if name == table and _open(value)]

    def gpu_of(self, partition: str, usual: str) -> str:
        """GPU that the scripts suggest most often for a partition."""
        found = [gpu for (name, gpu), _ in self.hints.most_common() if name == partition]
        return found[0] if found else usual


def gather(needs: Iterable[Need]) -> ScriptNeeds:
    """Count the needs of a folder's scripts."""
    wanted = ScriptNeeds()
    for need in needs:
        wanted.scripts += 1
        wanted.partitions.update(set(need.partitions))
        if need.wants_gpus:
            wanted.with_gpus.update(set(need.partitions))
        wanted.gpus.update({*need.gpus, *(gpu for _, gpu in need.hints)})
        wanted.hints.update(set(need.hints))
        keys: set[tuple[str, str, str]] = set()
        for text in need.suggestions:
            try:
                data = tomllib.loads(text)
            except tomllib.TOMLDecodeError:
                continue
            keys |= set(_keys(data))
            wanted.options.update(
                {(one["name"], one["argument"]) for one in data.get("option", ()) if isinstance(one, dict)}
            )
        wanted.keys.update(keys)
    return wanted


def _keys(data: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    for table, value in data.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                yield table, key, toml_value(inner)


def render(
    wanted: ScriptNeeds,
    folder: str,
    *,
    bucket: str = "",
    gpu: str = "",
    packages: str = "",
    values: Mapping[tuple[str, str], str] | None = None,
) -> str:
    """Text of the site file.

    ``bucket`` has the content of the old cluster's paths; ``packages`` are for conda; ``values``: answers for
    further keys, by (table, key). Keys with unknown values are omitted.
    """
    head = [f"# for {wanted.scripts} scripts of {_comment(folder)}; `slurmsky site check` validates it"]
    tail = [
        "[local]",
        "strict = false  # other names are accepted; on this machine nodes are as large as a job requests",
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
        spank = [{"name": name, "argument": kind} for (name, kind), _ in wanted.options.most_common(_MOST_OPTIONS)]
        head.append("option = " + toml_value(spank))
        room -= 1
    rest: Counter[str] = Counter()  # patterns for the keys without a separate line
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
        if given := (values or {}).get((table, key)):
            value = toml_value(given)
        if not _open(value):
            tables.setdefault(table, []).append((count, f"{toml_key(key)} = {value}  # {_scripts(count)}"))
    for pattern, count in rest.items():
        table, value = ("environments", packages) if pattern == "*" else ("paths", bucket.rstrip("/"))
        tables[table].insert(0, (wanted.scripts, f"{toml_key(pattern)} = {toml_value(value)}  # {count} others"))
    lines: list[str] = []
    # The table with the most used key is first; a heading takes one line.
    for table, rows_of in sorted(tables.items(), key=lambda item: -max(count for count, _ in item[1])):
        kept = rows_of[: max(0, room - 1)]
        if kept:
            lines += [f"[{table}]", *(row for _, row in kept)]
            room -= len(kept) + 1
    return "\n".join([*head, *lines, *tail]) + "\n"


def _pattern(table: str, key: str) -> str:
    """Pattern that covers all other keys of a table."""
    return "*" if table == "environments" else "~/*" if key.startswith("~") else "/*"


def toml_value(value: Any) -> str:
    """Format a value as TOML on one line."""
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
    """Format a key as TOML, bare if TOML allows it.

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
