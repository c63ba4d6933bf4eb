"""Launches that replace an array: one managed job per element."""

from __future__ import annotations

from collections.abc import Sequence

from ..script.conversion_tables import one_line


def launches(array: str, indices: Sequence[int], given: str, file: str) -> list[str]:
    """Comment lines for ``--array``. They show the launch of each element, and the limit of running ones.

    ``given``: options of each launch for the script's inputs.
    """
    lines = [
        "",
        f"The array --array={one_line(array)} is one launch an element:",
        f"  for i in {_listed(indices)}; do sky jobs launch -y -d --env TASK_ID=$i{given} {file}; done",
    ]
    if "%" in array:
        most = one_line(array.rpartition("%")[2])
        lines.append(f"  at most {most} at once: a pool of {most} workers (sky jobs pool apply), and --pool")
    return lines


def _listed(indices: Sequence[int]) -> str:
    """Indices as shell words; ranges become seq.

    >>> _listed([1, 2, 3, 4]), _listed([0, 3, 6, 9]), _listed([7]), _listed([1, 2, 3, 8, 11, 12])
    ('$(seq 1 4)', '$(seq 0 3 9)', '7', '$(seq 1 3) 8 11 12')
    """
    words: list[str] = []
    at = 0
    while at < len(indices):
        end = at + 1
        step = indices[end] - indices[at] if end < len(indices) else 1
        while end < len(indices) and indices[end] - indices[end - 1] == step:
            end += 1
        if end - at > 2:
            by = f"{step} " if step != 1 else ""
            words.append(f"$(seq {indices[at]} {by}{indices[end - 1]})")
        else:
            end = at + 1
            words.append(str(indices[at]))
        at = end
    return " ".join(words)
