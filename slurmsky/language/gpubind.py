"""--gpu-bind: `verbose,single:2` <-> GPUs of each task.

Source: slurm src/common/tres_bind.c tres_bind_verify_cmdline, _valid_gres_bind.
"""

from __future__ import annotations

from dataclasses import dataclass

from slurmsky.language._bind import ITEMS, decimal, repeated
from slurmsky.language.syntax_errors import BindError as BindError

_LISTS = {"map_gpu": "map", "map": "map", "mask_gpu": "mask", "mask": "mask"}


@dataclass(frozen=True)
class GpuBind:
    """Binding of tasks to GPUs.

    `how`: closest, none, single or per_task (with `count`), map or mask (with `values`).
    """

    how: str
    count: int = 0
    values: tuple[str, ...] = ()
    verbose: bool = False

    def __str__(self) -> str:
        rest = str(self.count) if self.how in ("single", "per_task") else ",".join(self.values)
        name = {"map": "map_gpu", "mask": "mask_gpu"}.get(self.how, self.how)
        with_list = self.how in ("single", "per_task", "map", "mask")
        return ("verbose," if self.verbose else "") + name + (f":{rest}" if with_list else "")


def parse(text: str) -> GpuBind:
    """Parse --gpu-bind.

    Only `verbose` may precede the rest; text after closest or none is ignored, as in Slurm. Raises BindError with the
    line that Slurm prints.

    >>> str(parse("Verbose,single:2")), parse("map_gpu:0*2,1").values
    ('verbose,single:2', ('0', '0', '1'))
    """
    verbose = text[:8].lower() == "verbose,"
    rest = text[8:] if verbose else text
    for word in ("closest", "none"):
        if rest[: len(word)].lower() == word:
            return GpuBind(word, verbose=verbose)
    try:
        (item,) = ITEMS.parse(rest)
        word = item.word.lower()
        values = item.values
        if values is None:
            raise ValueError
        if word in ("single", "per_task"):
            (value,) = values
            if not value.isdecimal():
                raise ValueError
            return GpuBind(word, min(int(value[:10]), 2**31 - 1), verbose=verbose)
        kind = _LISTS[word]
        if kind == "map" and not all(map(decimal, values)):
            raise ValueError
        return GpuBind(kind, values=repeated(text, values), verbose=verbose)
    except (ValueError, KeyError):  # a BindError is a ValueError too
        raise BindError(text, 0, f"{_not_a_number(rest)}Invalid --gpu-bind argument: {text}") from None


def check_tres(text: str) -> None:
    """Check ``gres/NAME:HOW`` words of --tres-bind, joined by "+".

    GPUs have the values of --gpu-bind. Raises BindError.
    """
    for part in text.split("+"):
        name, _, how = part.partition(":")
        if not name.startswith("gres/") or not how:
            raise BindError(part, 0, "")
        if name == "gres/gpu":
            parse(how)


def _not_a_number(rest: str) -> str:
    """Error for the first invalid character of a number list.

    Source: tres_bind.c _valid_num_list.
    """
    name, _, values = rest.partition(":")
    kind = _LISTS.get(name.lower())
    digits = {"map": "0123456789*", "mask": "0123456789abcdefABCDEF*"}.get(kind or "", "")
    for value in values.split(",") if digits else ():
        number = value.removeprefix("0x") if kind == "mask" else value
        for letter in number:
            if letter not in digits:
                return f"Failed to validate {number}, offending character is {letter}\n"
    return ""
