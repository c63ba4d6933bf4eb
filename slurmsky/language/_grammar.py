"""Grammar of a language: a file, a builder and an error class.

A grammar is loaded at the first text that needs it, never at import: the import of lark takes longer than a whole thin
command may take, and most commands need at most two or three of these languages.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from slurmsky.language.syntax_errors import LanguageError

if TYPE_CHECKING:
    from lark import Lark

Value = TypeVar("Value")

# Limit of numbers in all languages. It also keeps int() linear: Python refuses very long digit strings, or is slow to
# read them.
HUGE = 2**63 - 1


class Fault(Exception):
    """Refusal by a builder of a text that the grammar accepts. `Grammar` converts it to the language's own error."""

    def __init__(self, pos: int, message: str = "", **values: str) -> None:
        super().__init__(pos, message)
        self.pos = pos
        self.message = message
        self.values = values


class _Inline:
    """Adapter of a builder to lark's transformer interface.

    A builder is a plain class (so that its module need not import lark) whose methods have the rules' names and take
    the children as separate arguments.
    """

    def __init__(self, builder: object) -> None:
        self._builder = builder

    def __getattr__(self, rule: str) -> Any:
        method = getattr(self._builder, rule)  # AttributeError: lark keeps the children as a Tree
        return lambda children: method(*children)


def _text(name: str) -> str:
    """The text of a grammar file.

    It is package data in a wheel or .pyz, and in the folder beside the package in a clone.
    """
    clone = Path(__file__).resolve().parents[2] / "grammar" / f"{name}.lark"
    if clone.is_file():
        return clone.read_text(encoding="utf-8")
    from importlib.resources import files

    return files("slurmsky").joinpath("grammar").joinpath(f"{name}.lark").read_text(encoding="utf-8")


@cache
def load(name: str, transformer: object = None, start: str = "start") -> Lark:
    """Load the LALR parser of grammar/NAME.lark. `transformer` builds values while it parses."""
    from lark import Lark

    inline: Any = None if transformer is None else _Inline(transformer)
    return Lark(_text(name), parser="lalr", start=start, transformer=inline)


class Grammar(Generic[Value]):
    """One small language: its name, builder and error class.

    `parse` returns the builder's value or raises `error`, and nothing else. It caches the values of the last
    `remember` texts, so that a job's texts are parsed once by client, controller and scheduling passes; languages
    whose values are mutable, or whose texts do not recur, cache none.
    """

    def __init__(
        self, name: str, builder: object, error: type[LanguageError], start: str = "start", remember: int = 1024
    ) -> None:
        self.name = name
        self.builder = builder
        self.error = error
        self.start = start
        #: value of a text; raises the language's own error, with the text and the position
        self.parse: Callable[[str], Value] = lru_cache(maxsize=remember)(lambda text: self._parse(text))

    def _parse(self, text: str) -> Value:
        parser = load(self.name, self.builder, self.start)
        from lark.exceptions import UnexpectedInput, UnexpectedToken

        try:
            value: Value = parser.parse(text)  # type: ignore[assignment]  # lark declares Tree
        except Fault as fault:
            raise self.error(text, fault.pos, fault.message, **fault.values) from None
        except UnexpectedInput as exc:
            # At the end of the text lark reports its last token again; we report the end.
            at_end = isinstance(exc, UnexpectedToken) and exc.token.type == "$END"
            raise self.error(text, len(text) if at_end else exc.pos_in_stream or 0) from None
        return value


def number(digits: str) -> int:
    """Value of ASCII digits, limited to +-HUGE as by strtol.

    >>> number("007"), number("-3"), number("9" * 5000) == HUGE
    (7, -3, True)
    """
    body = digits.strip().lstrip("+-").lstrip("0")
    value = HUGE if len(body) > 19 else min(int(body or "0"), HUGE)
    return -value if "-" in digits else value


def int32(value: int) -> int:
    """Wrap `value` to C's 32-bit int, like Slurm's arithmetic."""
    return (value + 2**31) % 2**32 - 2**31
