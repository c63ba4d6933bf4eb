"""Codec of typed messages: frozen classes, and JSON objects.

A family is the set of messages that one receiver accepts; a subclass of the family's root is one kind. The annotations
of a class are its fields, and class attributes are their defaults: an object holds the fields that differ, as the JSON
object does. A field that is a keyword of Python has an underscore at its end, which JSON lacks. Python 3.9, standard
library. The module does not use dataclasses or named tuples, because defining thirty of them would delay an agent's
start by ten milliseconds.
"""

from __future__ import annotations

from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Dict,
    FrozenSet,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    TypeVar,
)

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_options: bool) -> Callable[[type], type]:
        """Replace typing's decorator of Python 3.11, for type checkers."""
        return lambda decorated: decorated


M = TypeVar("M", bound="Message")

Convert = Callable[[Any], Any]
#: (converter from the JSON value, converter to JSON; None: json writes the value unchanged)
Codec = Tuple[Convert, Optional[Convert]]
#: the codecs of annotations; ``register_type`` adds the types of the modules that define messages
_CODECS: Dict[str, Codec] = {name: (kind, None) for name, kind in (("int", int), ("str", str), ("float", float),
                                                                   ("bool", bool))}  # fmt: skip
#: JSON's own types, whose lists and dictionaries are not converted item by item
_JSON = frozenset(("int", "str", "float", "bool", "Any"))


def register_type(annotation: str, read: Convert, write: Convert) -> None:
    """Register a field type that is not composed of registered types."""
    _CODECS[annotation] = (read, write)


def register_message(message: Type[Message]) -> None:
    """Register a message as the type of fields."""
    register_type(message.__name__, message.decode, Message.encode)


def _codec(annotation: str) -> Codec:
    """Return the codec of a type.

    Optional[A], Tuple[A, ...], Tuple[A, B], List[A] or Dict[K, A] of registered types.
    """
    if annotation not in _CODECS:
        name, _, inner = annotation[:-1].partition("[")
        _CODECS[annotation] = _composed(name, _split(inner))
    return _CODECS[annotation]


def _split(inner: str) -> List[str]:
    parts, depth = [""], 0
    for char in inner.replace(" ", ""):
        depth += (char == "[") - (char == "]")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += ", " if char == "," else char
    return parts


def _composed(name: str, parts: List[str]) -> Codec:
    if name in ("List", "Dict") and _is_json(parts[-1]) and parts[0] != "int":
        return (list if name == "List" else dict), None
    read, write = _codec(parts[-1] if name == "Dict" else parts[0])
    if name == "Optional":
        return (lambda value: None if value is None else read(value)), write and (
            lambda value: None if value is None else write(value)
        )
    if name == "Dict":
        key = int if parts[0] == "int" else str
        written = write or (lambda value: value)
        return (
            lambda value: {key(name): read(item) for name, item in value.items()},
            lambda value: {str(name): written(item) for name, item in value.items()},
        )
    if parts[-1] == "...":
        return (lambda value: tuple(map(read, value))), write and (lambda value: list(map(write, value)))
    if name == "List":
        return (lambda value: list(map(read, value))), write and (lambda value: list(map(write, value)))
    return partial(_fixed, [_codec(part)[0] for part in parts]), None


def _fixed(reads: List[Convert], values: List[Any]) -> Tuple[Any, ...]:
    if len(reads) != len(values):
        raise ValueError("%d values are expected" % len(reads))
    return tuple([read(value) for read, value in zip(reads, values)])


def _is_json(annotation: str) -> bool:
    name, _, inner = annotation[:-1].partition("[")
    return annotation in _JSON or (name in ("List", "Dict") and _is_json(_split(inner)[-1]))


class BadMessage(ValueError):
    """The JSON object is not a message of the family.

    The kind is unknown, a field is missing, or a value has another type.
    """


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Message:
    """A message. Subclasses with ``family`` are the roots of families, those with ``kind`` are their messages."""

    kind: ClassVar[str] = ""
    #: key of the kind in a JSON object
    tag: ClassVar[str] = "ev"
    kinds: ClassVar[Dict[str, Type[Message]]] = {}
    _readers: ClassVar[Dict[str, Callable[[Any], Any]]] = {}
    _writers: ClassVar[Dict[str, Callable[[Any], Any]]] = {}
    _required: ClassVar[FrozenSet[str]] = frozenset()
    _keywords: ClassVar[FrozenSet[str]] = frozenset()

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __init_subclass__(cls, kind: str = "", family: str = "") -> None:
        if family:
            cls.tag, cls.kinds = family, {}
        names = {
            name: annotation
            for base in reversed(cls.__mro__)
            for name, annotation in getattr(base, "__annotations__", {}).items()
            if not annotation.startswith("ClassVar")
        }
        codecs = {name: _codec(annotation) for name, annotation in names.items()}
        cls._readers = {name: read for name, (read, _) in codecs.items()}
        cls._writers = {name: write for name, (_, write) in codecs.items() if write is not None}
        cls._keywords = frozenset(name[:-1] for name in names if name[-1] == "_")
        cls._required = frozenset(name for name in names if not hasattr(cls, name))
        if kind:
            cls.kind = kind
            cls.kinds[kind] = cls

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("%s is frozen" % type(self).__name__)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, name) == getattr(other, name) for name in self._readers)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "%s(%s)" % (type(self).__name__, ", ".join("%s=%r" % item for item in self.__dict__.items()))

    def evolve(self: M, **changes: Any) -> M:
        """Copy a message with other values of some fields."""
        return type(self)(**{**self.__dict__, **changes})

    def encode(self) -> Dict[str, Any]:
        """Encode the message as a JSON object. Fields that are None by default are omitted if None."""
        body = {name: value for name, value in self.__dict__.items() if value is not None or name in self._required}
        for name, write in self._writers.items():
            if name in body:
                body[name] = write(body[name])
        for word in self._keywords:
            if word + "_" in body:
                body[word] = body.pop(word + "_")
        body[self.tag] = self.kind
        return body

    @classmethod
    def decode(cls: Type[M], body: Mapping[str, Any]) -> M:
        """Inverse of ``encode``; ignores unknown fields. Raises BadMessage."""
        try:
            found = cls.kinds[body[cls.tag]]
            readers = found._readers
            if found._keywords:
                body = {name + "_" * (name in found._keywords): value for name, value in body.items()}
            values = {name: readers[name](value) for name, value in body.items() if name in readers}
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise BadMessage("%r: %.200r" % (error, body)) from error
        if not found._required <= values.keys():
            raise BadMessage("%s lacks %s" % (found.__name__, ", ".join(sorted(found._required - values.keys()))))
        assert issubclass(found, cls)
        return found(**values)

    @classmethod
    def signature(cls) -> str:
        """Return the family's kinds and fields, for the protocol's version."""
        kinds = sorted(cls.kinds.items())
        return " ".join("%s(%s)" % (kind, ",".join(sorted(found._readers))) for kind, found in kinds)
