"""Text forms of registry values in squeue and scontrol."""

from __future__ import annotations

from typing import Any, Callable

from slurmsky.model.spec import INFINITE

from ..report_context import ReportContext
from ..text.units import (
    amount,
    exit_pair,
    format_seconds,
    mebibytes,
    minutes_text,
    null_if_empty,
    or_null,
    short_duration,
)
from . import derived, tres_texts

Form = Callable[[Any], str]


def text_forms(context: ReportContext) -> dict[str, Form]:
    """Text forms by name. A form prints "" for a value that scontrol omits. The form "raw" is the text itself."""
    clock, scale = context.clock, context.scale
    return {
        **_FORMS,
        "amount": lambda value: amount(value or 0, 2, scale),
        "end": lambda value: "NONE" if value == INFINITE else clock.or_na(value),
        "moment": lambda value: clock.text(value) if value else "",
        "or_na": lambda value: clock.or_na(value or 0),
        "or_none": lambda value: clock.text(value) if value else "None",
        "time": clock.text,
    }


def _nodes(text: Any) -> str:
    names = derived.requested_nodes(text)
    return derived.node_list(tuple(names)) if names else ""


_FORMS: dict[str, Form] = {
    "exit": lambda pair: exit_pair(*pair),
    "flag": lambda value: "1" if value else "0",
    "given": or_null,
    "indices": tres_texts.index_list,
    "left": lambda value: "UNLIMITED" if value is None else short_duration(value),
    "limit": lambda value: "UNLIMITED" if value == INFINITE else short_duration(value * 60),
    "minutes": lambda value: minutes_text(value or 0),
    "minutes_or_na": lambda value: minutes_text(value) if value else "N/A",
    "na": lambda value: "N/A" if value is None else str(value),
    "nodes": _nodes,
    "nonzero": lambda value: str(value) if value else "",
    "nonzero_na": lambda value: str(value) if value else "N/A",
    "null": null_if_empty,
    "one": lambda value: str(value or 1),
    "seconds": format_seconds,
    "short": short_duration,
    "short_minutes": lambda value: short_duration((value or 0) * 60),
    "size": lambda value: "" if value is None else mebibytes(value),
    "size_or_0": lambda value: mebibytes(value or 0),
    "star": derived.or_star,
    "text": lambda value: "" if value is None else str(value),
    "whole": lambda value: str(int(value)),
    "yes": lambda value: "Yes" if value else "",
    "yes_no": lambda value: "Yes" if value else "No",
    "zero": lambda value: str(value or 0),
}
