"""Readers and checks for the options of the pyxis plugin."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Optional

from ..language import image_names as language
from .usage_errors import CommandError
from .values import Item, reader

_NEGATED = {
    "no-container-mount-home": "container-mount-home",
    "no-container-remap-root": "container-remap-root",
    "no-container-entrypoint": "container-entrypoint",
    "container-readonly": "container-writable",
}
#: Options without effect unless an image or a container name is given.
_WITH_CONTAINER = ("container-mounts", "container-workdir", "container-env", "container-mount-home")


def _refused(item: Item, *lines: str) -> CommandError:
    """Error lines of pyxis, then Slurm's for a refused option.

    Source: plugstack.c.
    """
    return item.error(*(f"pyxis: {line}" for line in lines), f"Invalid --{item.option.name} argument: {item.value}")


def _kept(item: Item, check: Callable[[str], object]) -> dict[str, Any]:
    if not item.value:
        raise _refused(item, f"--{item.option.name}: argument required")
    try:
        check(item.value)
    except language.ContainerError as error:
        raise _refused(item, *error.lines) from None
    return {"site_options": ((item.option.name, item.value),)}


@reader
def pyxis_text(item: Item) -> dict[str, Any]:
    """Any text except ""."""
    return _kept(item, lambda text: None)


@reader
def pyxis_mounts(item: Item) -> dict[str, Any]:
    """Mounts SRC:DST[:FLAGS], separated by commas."""
    return _kept(item, language.mounts)


@reader
def pyxis_name(item: Item) -> dict[str, Any]:
    """Container name NAME[:FLAG]."""
    return _kept(item, language.name)


@reader
def pyxis_env(item: Item) -> dict[str, Any]:
    """Names of variables, separated by commas."""
    return _kept(item, language.variables)


@reader
def pyxis_flag(item: Item) -> dict[str, Any]:
    """Value "yes" or "no" of a flag or its negation. The last occurrence counts."""
    name = item.option.name
    return {"site_options": ((_NEGATED.get(name, name), "no" if name in _NEGATED else "yes"),)}


def unused_options_warning(options: Iterable[tuple[str, str]]) -> Optional[str]:
    """pyxis' warning about container options without a container, or None."""
    given = dict(options)
    if "container-image" in given or "container-name" in given:
        return None
    name = next((name for name in _WITH_CONTAINER if name in given), None)
    if name is None:
        return None
    return f"pyxis: ignoring --{name} because neither --container-image nor --container-name is set"
