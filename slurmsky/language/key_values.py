"""Words KEY=VALUE, KEY+=VALUE and KEY-=VALUE, with abbreviated keys.

scontrol, sacctmgr and sreport read their requests by this engine. A command has a table for each entity. A row names
the key, the length of its shortest accepted prefix, the field that it sets, and the reader of its value.

Source: the chains of xstrncasecmp(tag, NAME, MAX(len, N)) in src/scontrol, src/sacctmgr and src/sreport.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Generic, Optional, TypeVar

Context = TypeVar("Context")
Value = TypeVar("Value")
#: result of a reader that sets no field
NOTHING: Any = object()


@dataclass(frozen=True)
class Given:
    """One assignment of a request."""

    word: str  # as typed, for messages
    name: str  # as typed, without the sign
    value: str
    sign: str = ""  # "+" or "-" of += and -=
    key: str = ""  # the name of the key's row
    before: Mapping[str, Any] = field(default_factory=dict)  # fields that earlier words set

    @property
    def unquoted(self) -> str:
        """Value without enclosing quotes, which sacctmgr and sreport drop."""
        return self.value.strip("\"'")


def parse(word: str) -> Optional[Given]:
    """Split a word at its first "="; None without "="."""
    name, equals, value = word.partition("=")
    if not equals:
        return None
    sign = name[-1:] if name[-1:] in ("+", "-") else ""
    return Given(word, name[: len(name) - len(sign)], value, sign)


def fits(word: str, name: str, letters: int) -> bool:
    """Return whether a word is a name or its prefix in any case. ``letters``: the shortest length."""
    return len(word) >= letters and name.lower().startswith(word.lower())


def matching_value(word: str, names: Iterable[tuple[str, int, Value]]) -> Optional[Value]:
    """Value of the first row that a word fits, or None. A row has name, letters and value."""
    return next((value for name, letters, value in names if fits(word, name, letters)), None)


@dataclass(frozen=True)
class Key(Generic[Context]):
    """Row of a table of keys.

    ``field`` is the field of the update that the reader's value sets; if it is "", the reader returns a mapping of
    fields. ``signed``: += and -= are accepted.
    """

    name: str
    letters: int
    field: str
    read: Callable[[Context, Given], Any]
    signed: bool = False


@dataclass(frozen=True)
class KeyTable(Generic[Context]):
    """Keys of an entity in lookup order, and handlers of other words.

    ``bare`` returns the assignment that a word without "=" means; it may take more words. ``unknown`` returns the
    fields that an unknown key sets. Both raise the command's own exception where the request ends. ``flags`` are words
    without a value, with the fields that they set.
    """

    keys: Sequence[Key[Context]]
    bare: Callable[[str, Iterator[str]], Given]
    unknown: Callable[[Context, Given], Mapping[str, Any]]
    #: exception for += or -= of a key that accepts only =; None: any key accepts them
    unsigned: Optional[Callable[[Given], Exception]] = None
    flags: Sequence[tuple[str, int, Mapping[str, Any]]] = ()

    def find(self, name: str) -> Optional[Key[Context]]:
        """Find the first key that a name fits."""
        return matching_value(name, ((key.name, key.letters, key) for key in self.keys))

    def read(self, context: Context, words: Iterable[str]) -> dict[str, Any]:
        """Fields that a request sets. The last of several words for one field takes precedence."""
        update: dict[str, Any] = {}
        rest = iter(words)
        for word in rest:
            given = parse(word)
            if given is None:
                flag = matching_value(word, self.flags)
                if flag is not None:
                    update.update(flag)
                    continue
                given = self.bare(word, rest)
            key = self.find(given.name)
            if key is None:
                update.update(self.unknown(context, given))
                continue
            if given.sign and self.unsigned is not None and not key.signed:
                raise self.unsigned(given)
            value = key.read(context, replace(given, key=key.name, before=update))
            if not key.field:
                update.update(value)
            elif value is not NOTHING:
                update[key.field] = value
        return update
