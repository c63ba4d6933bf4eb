"""What --cpu-bind, --mem-bind and --gpu-bind have in common: words, some of which take a list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from slurmsky.language._grammar import Grammar, number
from slurmsky.language.errors import BindError

_MAX_VALUES = 4096  # more than any node has CPUs; a short text could ask for far more
_DECIMAL = re.compile("[0-9]+(\\*[0-9]+)?")


@dataclass(frozen=True)
class Item:
    """One word of a binding; `values` is None where it has no list."""

    word: str
    values: Optional[tuple[str, ...]] = None


class _Build:
    def word(self, word: str) -> Item:
        return Item(str(word))

    def listed(self, word: str, values: Optional[str]) -> Item:
        return Item(str(word), tuple(values.split(",")) if values else ())

    def start(self, *items: Item) -> tuple[Item, ...]:
        return items


ITEMS: Grammar[tuple[Item, ...]] = Grammar("bind", _Build(), BindError)


def repeated(text: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """A list with its `0*4` written out (slurm_resource_info.c _expand_mult)."""
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
