"""Classes of light_dataclass behave as those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field
from typing import Any, ClassVar

import pytest

from slurmsky.model.light_dataclass import dataclass

Decorate = Callable[..., Any]


def classes(decorate: Decorate) -> tuple[Any, Any, Any]:
    """A class, its subclass and a class that can be changed."""

    @decorate(frozen=True)
    class Base:
        first: int
        second: str = "b"
        ignored: int = field(default=0, compare=False, repr=False)
        shared: ClassVar[int] = 7

    @decorate(frozen=True)
    class Sub(Base):
        third: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            if self.first < 0:
                raise ValueError("negative")

    @decorate
    class Open:
        value: float = 0.5

        def __repr__(self) -> str:
            return "own"

    return Base, Sub, Open


PAIRS = list(zip(classes(dataclass), classes(dataclasses.dataclass), strict=True))
CALLS: list[tuple[int, tuple[Any, ...], dict[str, Any]]] = [
    (0, (1,), {}),
    (0, (1, "x"), {"ignored": 4}),
    (0, (), {"second": "y", "first": 3}),
    (1, (1,), {"third": [2]}),
    (1, (1, "b", 2, [3]), {}),
    (2, (), {}),
    (2, (1.5,), {}),
]


@pytest.mark.parametrize(("number", "args", "values"), CALLS)
def test_objects_are_those_of_the_standard_library(number: int, args: tuple[Any, ...], values: dict[str, Any]) -> None:
    light, standard = (kind(*args, **values) for kind in PAIRS[number])
    assert repr(light) == repr(standard)
    assert vars(light) == vars(standard)
    assert dataclasses.asdict(light) == dataclasses.asdict(standard)
    assert copy.copy(light) == light == copy.deepcopy(light)
    assert dataclasses.replace(light) == light
    assert light != standard


@pytest.mark.parametrize(
    ("number", "args", "values"), [(0, (), {}), (0, (1, 2, 3, 4), {}), (1, (-1,), {}), (2, (), {"other": 1})]
)
def test_wrong_values_raise_the_same_error(number: int, args: tuple[Any, ...], values: dict[str, Any]) -> None:
    errors = []
    for kind in PAIRS[number]:
        with pytest.raises((TypeError, ValueError)) as raised:
            kind(*args, **values)
        errors.append((raised.type, str(raised.value).rpartition("__init__")[2]))
    assert errors[0] == errors[1]


def test_equality_and_hashes_depend_on_the_compared_fields() -> None:
    for base, sub, opened in zip(*PAIRS, strict=True):
        assert base(1, ignored=1) == base(1, ignored=2) != base(2)
        assert hash(base(1, ignored=1)) == hash(base(1, ignored=2))
        assert base(1) != sub(1) != sub(1, third=[1])
        with pytest.raises(TypeError, match="unhashable"):
            hash(opened())


def test_frozen_objects_reject_changes_and_others_do_not() -> None:
    for base, sub, opened in zip(*PAIRS, strict=True):
        for kind in (base, sub):
            record = kind(1)
            with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'first'"):
                record.first = 2
            with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'first'"):
                del record.first
        record = opened()
        record.value = 1.0
        assert record == opened(1.0)


def test_a_factory_creates_a_value_for_each_object() -> None:
    kind = PAIRS[1][0]
    assert kind(1).third is not kind(1).third


def test_fields_are_those_of_the_standard_library() -> None:
    for light, standard in PAIRS:
        names = [
            [(item.name, item.type, item.default) for item in dataclasses.fields(kind)] for kind in (light, standard)
        ]
        assert names[0] == names[1]
        assert light.__match_args__ == standard.__match_args__


@dataclass(frozen=True)
class Pickled:
    value: int


def test_an_object_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(Pickled(3))) == Pickled(3)
