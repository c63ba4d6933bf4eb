"""Converts dataclasses to JSON values and back, by their annotations.

Tuples, sets and nested dataclasses are converted; a class with ``to_dict`` and ``from_dict`` converts itself. A field
that a record lacks has its default, and a field that the class lacks is ignored: an earlier or later version may have
written the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from typing import Any, Callable, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Convert = Optional[Callable[[Any], Any]]


def read(kind: type[T], data: Mapping[str, Any]) -> T:
    """Return the dataclass of a record. Raises KeyError, TypeError, ValueError or AttributeError for other content."""
    return kind(**read_fields(kind, data))


def read_fields(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of some fields of a dataclass. Raises as ``read``."""
    names, convert, _ = _converters(kind)
    return _converted({name: value for name, value in data.items() if name in names}, convert)


def write(record: Any) -> dict[str, Any]:
    """Convert a dataclass to JSON values. Flags that are False now and by default are omitted."""
    kind, values = type(record), record.__dict__
    default = kind.__dict__.get
    return write_fields(kind, {key: values[key] for key in values if values[key] or default(key) is not False})


def write_fields(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert some fields of a dataclass to JSON values."""
    return _converted(dict(values), _converters(kind)[2])


def _converted(values: dict[str, Any], convert: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    for name in convert:
        if name in values:
            values[name] = convert[name](values[name])
    return values


@cache
def _converters(kind: type) -> tuple[frozenset[str], dict[str, Callable[[Any], Any]], dict[str, Callable[[Any], Any]]]:
    """Names of the fields, and converters of non-JSON values."""
    known = get_type_hints(kind)
    hints = {item.name: known[item.name] for item in fields(kind)}
    readers = {name: reader_of(hint) for name, hint in hints.items()}
    writers = {name: writer_of(hint) for name, hint in hints.items()}
    return (
        frozenset(hints),
        {name: convert for name, convert in readers.items() if convert},
        {name: convert for name, convert in writers.items() if convert},
    )


@cache
def reader_of(hint: Any) -> Convert:
    """Return the converter of JSON values to a type; None: unchanged."""
    if is_dataclass(hint):
        kind: Any = hint
        return getattr(kind, "from_dict", None) or partial(read, kind)
    origin, args = get_origin(hint), get_args(hint)
    if type(None) in args:
        return _optional(reader_of(_present(args)))
    if origin is dict:
        return _of_values(reader_of(args[1]))
    if origin is tuple and args[-1] is not ...:
        parts = [reader_of(arg) or _same for arg in args]
        return lambda value: tuple([part(item) for part, item in zip(parts, value)])
    if origin in (tuple, list, set, frozenset):
        return _collected(origin, reader_of(args[0]))
    return None


@cache
def writer_of(hint: Any) -> Convert:
    """Return the converter of a type to JSON values; None: unchanged."""
    if is_dataclass(hint):
        return getattr(hint, "to_dict", None) or write
    origin, args = get_origin(hint), get_args(hint)
    if type(None) in args:
        return _optional(writer_of(_present(args)))
    if origin is dict:
        return _of_values(writer_of(args[1]))
    if origin in (set, frozenset):
        return sorted
    convert = writer_of(args[0]) if origin in (tuple, list) else None
    return convert and _collected(list, convert)


def _present(args: tuple[Any, ...]) -> Any:
    return Union[tuple(arg for arg in args if arg is not type(None))]


def _optional(convert: Convert) -> Convert:
    return convert and (lambda value: None if value is None else convert(value))


def _of_values(convert: Convert) -> Convert:
    return convert and (lambda value: {key: convert(item) for key, item in value.items()})


def _collected(kind: Any, convert: Convert) -> Convert:
    return (lambda value: kind(map(convert, value))) if convert else None if kind is list else kind


def _same(value: Any) -> Any:
    return value
