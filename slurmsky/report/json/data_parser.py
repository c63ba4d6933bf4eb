"""Output forms of --json and --yaml.

A form has a data parser version, its flags, and a text style.

    form = parse_form("v0.0.42+complex", yaml=False)
    documents = form.records("job_info", records)

Records are built in the newest layout; for an older data parser, newer keys are removed.
Source: src/interfaces/data_parser.c, serializer.c; src/plugins/data_parser/*/parsers.c, serializer/json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Optional

from ..fields.field_tables import table

Record = dict[str, Any]

VERSIONS = ("v0.0.41", "v0.0.42", "v0.0.43", "v0.0.44")
NEWEST = VERSIONS[-1]
_PREFIX = "data_parser/"
#: flags accepted after a version and "+"; only one of them affects the output
_FLAGS = ("SPEC_ONLY", "FAST", "COMPLEX", "MINIMIZE_REFS")
#: words accepted in SLURM_JSON and SLURM_YAML
_STYLES = ("compact", "pretty", "complex", "no_tag")


class BadForm(Exception):
    """Error for an unknown data parser, with the message's lines."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


@dataclass(frozen=True)
class OutputForm:
    """The output form that --json or --yaml requests."""

    yaml: bool = False
    version: str = NEWEST
    #: flags as typed, with the "+"
    flags: str = ""
    complex: bool = False
    #: "" (default), "compact" or "pretty"
    style: str = ""
    #: warnings for stderr
    warnings: tuple[str, ...] = ()

    @property
    def is_default(self) -> bool:
        """Return whether the form is JSON in the default layout and style."""
        return not (self.yaml or self.complex or self.style) and self.version == NEWEST

    @property
    def plugin(self) -> str:
        """Name of the data parser for the "meta" object."""
        return _PREFIX + self.version + self.flags

    def records(self, layout: str, records: Iterable[Any]) -> Iterable[Any]:
        """Convert records to the layout of this form's version."""
        change = _change(layout, self.version)
        if change is not None:
            records = map(change, records)
        return map(_plain, records) if self.complex else records

    def convert_rest(self, value: Any) -> Any:
        """Convert the values besides the records."""
        return _plain(value) if self.complex else value


USUAL = OutputForm()


def parse_form(text: str, yaml: bool = False, style: str = "") -> OutputForm:
    """Parse the argument of --json or --yaml. Raises BadForm."""
    unsupported = f"application/{'x-yaml' if yaml else 'json'} output not supported by {NEWEST}"
    parts = [part for part in text.split(",") if part]
    if not parts and text:
        raise BadForm(f"data_parser_g_new: invalid plugin {text}", unsupported)
    if len(parts) > 1:
        raise BadForm(f"data_parser_g_new: rejecting ambiguous plugin {text}", unsupported)
    name, plus, flags = parts[0].partition("+") if parts else ("", "", "")
    known = name.removeprefix(_PREFIX) if parts else NEWEST
    if known.lower() == "latest":
        known = NEWEST
    if not known:
        raise BadForm("data_parser_g_new: unable to find plugin ", unsupported)
    if known not in VERSIONS:
        raise BadForm(f"load_plugins: unable to find plugin: {_PREFIX}{known}",
                      "data_parser_g_new: failure loading plugins: Plugin has invalid format or unable to be loaded",
                      unsupported)  # fmt: skip
    words = [word for word in flags.split("+") if word]
    warnings = [f"{_PREFIX}{known} ignoring default flag FLAG_PREFER_REFS" if word.upper() == "PREFER_REFS"
            else f"warning: {_PREFIX}{known} ignoring unknown flag {word}"
            for word in words if word.upper() not in _FLAGS]  # fmt: skip
    is_complex = any(word.upper() == "COMPLEX" for word in words)
    return OutputForm(yaml, known, plus + flags, is_complex, style, tuple(warnings))


def style(text: Optional[str]) -> str:
    """Parse SLURM_JSON or SLURM_YAML: "compact", "pretty" or "". Raises ValueError for an unknown word."""
    words = [word.lower() for word in (text or "").split(",") if word]
    if any(word not in _STYLES for word in words):
        raise ValueError(text)
    return next((word for word in words if word in ("compact", "pretty")), "")


def _plain(value: Any) -> Any:
    """Convert values for the flag "complex".

    A number object becomes a number, null or "Infinity", and a missing text null.
    """
    if isinstance(value, Mapping):
        if value.keys() == {"set", "infinite", "number"}:
            return "Infinity" if value["infinite"] else value["number"] if value["set"] else None
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if value == "" else value


# --- older layouts


@cache
def _change(layout: str, version: str) -> Optional[Callable[[Any], Any]]:
    """Converter of a record from the newest layout to ``version``."""
    number = int(version.rpartition(".")[2])
    gone = [row["path"].split("/") for row in table("data_parser")
            if row["layout"] == layout and int(row["since"]) > number]  # fmt: skip
    oldest = _OLDEST.get(layout) if number <= 41 else None
    if not gone and oldest is None:
        return None

    def change(record: Any) -> Any:
        for path in gone:
            record = _without(record, path)
        return oldest(record) if oldest else record

    return change


def _without(value: Any, path: list[str]) -> Any:
    """Copy a record, or a list's records, without a path."""
    if isinstance(value, list):
        return [_without(item, path) for item in value]
    first, *rest = path
    if not isinstance(value, Mapping) or first not in value:
        return value
    if not rest:
        return {key: item for key, item in value.items() if key != first}
    return {**value, first: _without(value[first], rest)}


def _job_41(record: Record) -> Record:
    """JOB_INFO in the older layout. It has ``minimum_switches``, and further keys derived from ``shared``."""
    return dict(_job_41_items(record))


def _job_41_items(record: Record) -> Iterator[tuple[str, Any]]:
    ways = {"none": "true", "oversubscribe": "false"}
    for key, value in record.items():
        yield "minimum_switches" if key == "required_switches" else key, value
        if key == "shared":
            yield "exclusive", [ways.get(word, word) for word in value]
            yield "oversubscribe", bool(value) and value != ["none"]
            yield "show_flags", []


def _shares_41(record: Record) -> Record:
    """SHARES_RESP_MSG in the older layout, with plain numbers."""

    def one(share: Record) -> Record:
        pair = {key: float(value["number"]) for key, value in share["fairshare"].items()}
        return {**share, "effective_usage": float(share["effective_usage"]["number"]), "fairshare": pair}

    return {**record, "shares": [one(share) for share in record["shares"]]}


_OLDEST: dict[str, Callable[[Record], Record]] = {"job_info": _job_41, "shares": _shares_41}
