"""`dataclass` that compiles no method when it defines a class.

`dataclasses.dataclass` compiles up to six methods for each class, which was a third of a controller's start. Here all
classes share their methods except `__init__`, which is compiled for the first object of a class. The functions of
`dataclasses` accept these classes and objects; `frozen` is the only option. Python 3.9, standard library.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: Optional[type] = None, /, *, frozen: bool = False) -> Any:
        """Decorate a class as `dataclasses.dataclass` does."""
        return _processed(cls, frozen) if cls else lambda decorated: _processed(decorated, frozen)


def _processed(cls: Any, frozen: bool) -> Any:
    own = set(vars(cls))
    has_hash = vars(cls).get("__hash__") is not None
    dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    compared = [item.name for item in dataclasses.fields(cls) if item.compare]
    cls._compared = attrgetter("__class__", *compared)  # two names or more: of a single one it returns no tuple
    methods = {"__init__": _first_init(cls, frozen), "__repr__": _repr, "__eq__": _eq}
    if frozen:
        methods.update(__setattr__=_refuse_assignment, __delattr__=_refuse_deletion)
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    if not has_hash:
        cls.__hash__ = _hash if frozen else None
    return cls


def _first_init(cls: Any, frozen: bool) -> Callable[..., None]:
    def __init__(self: Any, /, *args: Any, **values: Any) -> None:
        cls.__init__ = _compiled_init(cls, frozen)
        cls.__init__(self, *args, **values)

    return __init__


def _compiled_init(cls: Any, frozen: bool) -> Callable[..., None]:
    known: dict[str, Any] = {"_set": object.__setattr__, "_omitted": object()}
    parameters, body = ["self"], []
    for item in dataclasses.fields(cls):
        name = value = item.name
        if item.default_factory is not dataclasses.MISSING:
            known[f"_new_{name}"] = item.default_factory
            value = f"_new_{name}() if {name} is _omitted else {name}"
            parameters.append(f"{name}=_omitted")
        elif item.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = item.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(body or ["pass"]), known)
    init: Callable[..., None] = known["__init__"]
    return init


def _repr(self: Any) -> str:
    shown = [f"{item.name}={getattr(self, item.name)!r}" for item in dataclasses.fields(self) if item.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    return self._compared(self) == self._compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _refuse_assignment(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
