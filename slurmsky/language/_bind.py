"""Common syntax of --cpu-bind, --mem-bind and --gpu-bind. A binding is a list of words, some of which take a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, TypeVar

from slurmsky.language._grammar import Grammar, number
from slurmsky.language.syntax_errors import BindError

_MAX_VALUES = 4096  # larger than the number of CPUs of any node; a short text could expand to far more
#: a word with its list; a comma before a number belongs to the list
_LISTED = re.compile(
    "(?:^|,)(ma(?:p|sk)_?[a-z]+)[:=]([^,]+(?:,(?:[0-9][^,]*|[0-9a-f]+(?=[,*]|$)[^,]*))*)", re.IGNORECASE
)
_DECIMAL = re.compile("[0-9]+(\\*[0-9]+)?")


@dataclass(frozen=True)
class BindItem:
    """One word of a binding; `values` is None without a list."""

    word: str
    values: Optional[tuple[str, ...]] = None


class _Build:
    def word(self, word: str) -> BindItem:
        return BindItem(str(word))

    def listed(self, word: str, values: Optional[str]) -> BindItem:
        return BindItem(str(word), tuple(values.split(",")) if values else ())

    def start(self, *items: BindItem) -> tuple[BindItem, ...]:
        return items


ITEMS: Grammar[tuple[BindItem, ...]] = Grammar("bind", _Build(), BindError)


@dataclass(frozen=True)
class Bind:
    """A parsed binding. `how` is a word, or the name of a list with its `values`."""

    how: str = ""
    values: tuple[str, ...] = ()
    verbose: bool = False
    help: bool = False

    def text_with_flags(self, *flags: str) -> str:
        """Text of the binding, with a subclass's words before `how`."""
        if self.help:
            return "help"
        how = f"{self.how}:{','.join(self.values)}" if self.values else self.how
        return ",".join(filter(None, ("verbose" if self.verbose else "", *flags, how))) or "quiet"


_Bind = TypeVar("_Bind", bound=Bind)
_COMMON: dict[str, dict[str, Any]] = {
    **{word: {"verbose": False} for word in ("q", "quiet")},
    **{word: {"verbose": True} for word in ("v", "verbose")},
    **{word: {"how": "none", "values": ()} for word in ("no", "none")},
}


def read(text: str, option: str, bind: _Bind, lists: Sequence[str], words: Mapping[str, dict[str, Any]]) -> _Bind:
    """Parse an option; later words override earlier ones.

    `words` are the words of this option only. Raises BindError with the line that Slurm prints.
    """
    unknown = f'unrecognized --{option} argument "%s"'
    for kind, values in _LISTED.findall(text):
        if _list_name(kind) in lists:
            _check_numbers(text, _list_name(kind), values)
    try:
        items = ITEMS.parse(text)
    except BindError as exc:
        raise BindError(text, exc.pos, unknown % text) from None
    known = {**_COMMON, **words}
    for item in items:
        word = item.word.lower()
        kind = _list_name(word)
        if word == "help":
            return replace(type(bind)(), help=True)
        if kind in lists:
            if not item.values:
                raise BindError(text, 0, f'missing list for "--{option}={kind}:<list>"')
            bind = replace(bind, how=kind, values=repeated(text, item.values))
        elif item.values is not None or word not in known:
            raise BindError(text, 0, unknown % item.word)
        else:
            bind = replace(bind, **known[word])
    return bind


def _list_name(word: str) -> str:
    word = word.lower()
    return word if "_" in word else word.replace("map", "map_", 1).replace("mask", "mask_", 1)


def _check_numbers(text: str, kind: str, values: str) -> None:
    """Raise BindError for a value that is no number (slurm_resource_info.c _expand_mult)."""
    invalid = "Failed to validate number: %s, the offending character is %s"
    mask = kind.startswith("mask")
    for value in filter(None, values.split(",")):
        one, star, times = (value[2:] if mask and value.startswith("0x") else value).partition("*")
        for what, number_of, digits in ((star + times, times, "0-9"), (one, one, "0-9a-fA-F" if mask else "0-9")):
            wrong = re.search(f"[^{digits}]", number_of)
            if wrong:
                raise BindError(text, 0, invalid % (what, wrong[0]))
            if star and number_of is times and number(times or "0") < 1:
                raise BindError(text, 0, f"Invalid {kind} multiplier: {times}")


def repeated(text: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Expand repetitions in a list, such as `0*4`.

    Source: slurm_resource_info.c _expand_mult.
    """
    result: list[str] = []
    for value in values:
        one, star, times = value.partition("*")
        count = number(times) if star else 1
        if count < 1 or count + len(result) > _MAX_VALUES:
            raise BindError(text)
        result.extend([one] * count)
    return tuple(result)


def decimal(value: str) -> bool:
    return _DECIMAL.fullmatch(value) is not None
