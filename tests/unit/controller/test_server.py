"""A controller exits if the package has changed; the next one imports it again."""

from __future__ import annotations

import pytest

from slurmsky.controller import server


def test_a_replaced_or_removed_package_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.installed()
    with monkeypatch.context() as replaced:
        replaced.setattr(server, "_STAMPS", [(mtime + 1, size) for mtime, size in server._STAMPS])
        assert not server.installed()
    monkeypatch.setattr(server, "_MESSAGES", ("/nonexistent/messages.py",))
    assert not server.installed()
