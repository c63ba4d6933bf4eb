"""--licenses: `matlab:2,ansys` <-> names and counts.

Source: slurm src/slurmctld/licenses.c _build_license_list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import LicenseError as LicenseError


@dataclass(frozen=True)
class Licenses:
    """Required number of each licence.

    All names are required, or with `any` one of them.

    >>> str(parse("matlab:2,ansys;matlab")), str(parse("a|b:3"))
    ('matlab:3,ansys:1', 'a:1|b:3')
    """

    counts: tuple[tuple[str, int], ...] = ()
    any: bool = False

    def __bool__(self) -> bool:
        return bool(self.counts)

    def first_available(self, free: Callable[[str], int]) -> Optional[Licenses]:
        """Choose the licences for a job; None: the job has to wait.

        The result has all names, or with `any` the first name with enough free licences.

        >>> free = {"a": 0, "b": 5}.get
        >>> str(parse("a|b:3").first_available(free)), parse("a,b").first_available(free)
        ('b:3', None)
        """
        if self.any:
            return next((Licenses(((name, count),)) for name, count in self.counts if count <= free(name)), None)
        return self if all(count <= free(name) for name, count in self.counts) else None

    def __str__(self) -> str:
        return ("|" if self.any else ",").join(f"{name}:{count}" for name, count in self.counts)


class _Build:
    def license(self, name: str, count: Optional[str]) -> tuple[str, int]:
        value = 1 if count is None else number(count)
        if value > 2**31 - 1:
            raise Fault(name.start_pos)  # type: ignore[attr-defined]  # a lark Token
        return str(name), value

    def every(self, *licenses: tuple[str, int]) -> Licenses:
        counts: dict[str, int] = {}
        for name, count in licenses:
            counts[name] = counts.get(name, 0) + count
        return Licenses(tuple(counts.items()))

    def either(self, *licenses: tuple[str, int]) -> Licenses:
        return Licenses(self.every(*licenses).counts, any=True)


_GRAMMAR: Grammar[Licenses] = Grammar("licenses", _Build(), LicenseError)


def parse(text: str) -> Licenses:
    """Parse --licenses: `name[:count]`, joined by `,` `;` or `|`.

    A list with `|` requires one of the names. Names may have an @server. The caller checks whether a name exists.
    Raises LicenseError.
    """
    return _GRAMMAR.parse(text)
