"""Tests of tables with hundreds of rows, one test for each table.

pytest takes longer to collect and report a row than a row takes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any


def every(
    names: str | Sequence[str], rows: Iterable[Any], ids: Callable[[Any], object] = repr
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As ``pytest.mark.parametrize``, as one test.

    It tries every row; its failure names each row that fails.

    ``ids``: the name of a row, from the whole row. The other arguments are fixtures, which all rows share.
    """
    wanted = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    table: Collection[Any] = list(rows)
    assert table, "a table without rows shows nothing"

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def test(**fixtures: Any) -> None:
            failed: dict[str, AssertionError] = {}
            for row in table:
                values = (row,) if len(wanted) == 1 else row
                try:
                    check(**dict(zip(wanted, values, strict=True)), **fixtures)
                except Exception as error:
                    failed[str(ids(row))] = AssertionError(f"{type(error).__name__}: {error}").with_traceback(
                        error.__traceback__
                    )
            if failed:
                texts = [f"{name}\n{error}" for name, error in failed.items()]
                names = ", ".join(failed)
                raise AssertionError(
                    "\n\n".join([f"{len(failed)} of {len(table)} rows fail: {names}", *texts])
                ) from next(iter(failed.values()))

        signature = inspect.signature(check)
        rest = [parameter for name, parameter in signature.parameters.items() if name not in wanted]
        test.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return test

    return decorate
