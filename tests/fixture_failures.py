"""Does not repeat a shared fixture that failed after a long set-up.

Other tests that need it fail at once.

pytest-rerunfailures drops pytest's own memory of a failed fixture before each second try, so that every test of a
module would wait for the whole set-up again.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import pytest

LONG_S = 5.0  # a set-up that failed sooner may be tried again

_failed: dict[tuple[object, ...], str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    if fixturedef.scope == "function":
        return (yield)
    key = (fixturedef, request.node.nodeid, repr(getattr(request, "param", None)))
    if key in _failed:
        pytest.fail(f"the fixture {fixturedef.argname} failed before: {_failed[key]}", pytrace=False)
    start = time.monotonic()
    try:
        return (yield)
    except (pytest.skip.Exception, pytest.exit.Exception, KeyboardInterrupt):
        raise
    except BaseException as error:  # pytest's own failures are no Exception
        if time.monotonic() - start >= LONG_S:
            _failed[key] = f"{type(error).__name__}: {error}"[:500]
        raise
