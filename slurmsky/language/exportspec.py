"""--export: `ALL,A=1,B` <-> variables that a job inherits.

Source: slurm src/common/env.c find_quote_token, env_merge_filter; src/srun/launch.c _build_user_env.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from slurmsky.language._grammar import Grammar
from slurmsky.language.syntax_errors import ExportError as ExportError

_ALWAYS = ("SLURM_", "SPANK_")  # env_array_merge_slurm_spank: inherited in any case


@dataclass(frozen=True)
class ExportSpec:
    """Items of --export as written, including quotes.

    All other properties derive from them.

    >>> spec = parse("none"), parse("ALL,A=1"), parse("A,B='x,y'")
    >>> [s.none for s in spec], [s.all for s in spec], spec[2].items
    ([True, False, False], [False, True, False], (('A', None), ('B', "'x,y'")))
    """

    words: tuple[str, ...] = ()
    unclosed: str = ""  # the item whose quote is not closed; Slurm warns and uses it

    def __str__(self) -> str:
        return ",".join(self.words)

    @property
    def texts(self) -> tuple[str, ...]:
        """Items without enclosing quotes; inner quotes stay."""
        return tuple(_unquoted(word) for word in self.words)

    @property
    def items(self) -> tuple[tuple[str, Optional[str]], ...]:
        """Pairs (name, value), without ALL, NONE, NIL. The value None is taken from the environment."""
        named = (text for text in self.texts if text and text.upper() not in ("ALL", "NONE", "NIL"))
        pairs = (text.partition("=") for text in named)
        return tuple((name, value if equals else None) for name, equals, value in pairs)

    @property
    def all(self) -> bool:
        """Return whether the whole environment is inherited."""
        return any(text.upper() == "ALL" for text in self.texts)

    @property
    def none(self) -> bool:
        """Return whether only SLURM_* is inherited. The user's login environment then replaces the rest."""
        return len(self.words) == 1 and self.words[0].upper() == "NONE"

    def apply(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Apply the items to `environment`.

        Items apply in order, the last one takes precedence, and SLURM_* and SPANK_* of the environment take precedence
        over all items. NONE ends the list.

        >>> parse("A=2,B,C").apply({"A": "1", "B": "2", "SLURM_X": "3", "D": "4"})
        {'A': '2', 'B': '2', 'SLURM_X': '3'}
        """
        chosen: dict[str, str] = {}
        for text in self.texts:
            if text.upper() in ("NONE", "NIL"):
                break
            name, equals, value = text.partition("=")
            if text.upper() == "ALL":
                chosen.update(environment)
            elif equals:
                chosen[name] = value
            elif text in environment:
                chosen[text] = environment[text]
        chosen.update((name, value) for name, value in environment.items() if name.startswith(_ALWAYS))
        return chosen


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] in "'\"" and word[0] == word[-1] else word


class _Build:
    """Builder of items as lists of pieces. The last item is incomplete."""

    def begin(self) -> list[list[str]]:
        return [[]]

    def text(self, items: list[list[str]], piece: str) -> list[list[str]]:
        items[-1].append(piece)
        return items

    def split(self, items: list[list[str]], comma: str) -> list[list[str]]:
        items.append([])
        return items

    def closed(self, items: list[list[str]]) -> ExportSpec:
        return ExportSpec(tuple(filter(None, map("".join, items))))

    def start(self, items: list[list[str]]) -> ExportSpec:
        return ExportSpec(self.closed(items).words, "".join(items[-1]))


_GRAMMAR: Grammar[ExportSpec] = Grammar("exportspec", _Build(), ExportError)


def parse(text: str) -> ExportSpec:
    """Parse --export (SLURM_EXPORT_ENV, SBATCH_EXPORT). Every text is valid."""
    return _GRAMMAR.parse(text)
