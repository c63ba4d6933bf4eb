"""The API server's client: what it makes of answers, good and bad."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sky_server import SkyServer

from slurmsky.engines.sky.api_client import (
    Access,
    Busy,
    Client,
    Interrupted,
    LoginExpired,
    Rejected,
    SkyError,
    Unreachable,
    WrongVersion,
    find_access,
)


def ask(server: SkyServer, what):
    async def run():
        async with server:
            return await what(Client(Access(server.endpoint, user_id="00000000", user="me")))

    return asyncio.run(run())


def test_launch_find_events_queue():
    server = SkyServer()

    async def what(client):
        assert (await client.health())["version"] == "0.14.1"
        await client.validate("{}")
        assert await client.launch(json.dumps({"name": "a-1"}), "a-1") == [1]
        assert await client.launch(json.dumps({"name": "a-12"}), "a-12") == [2]
        assert await client.find("a-1") == [1]  # not the other, whose name contains this one
        assert (await client.events(2, 1))[0]["new_status"] == "PENDING"
        assert [job["job_id"] for job in await client.queue([2])] == [2]
        await client.cancel([1])

    ask(server, what)
    assert [job.cancelled for job in server.jobs] == [True, False]


PAYLOAD = {"error": json.dumps({"type": "RequestInterruptedError", "message": "restarted"})}
KILLED = {"error": json.dumps({"type": "BrokenProcessPool", "message": "a worker died"})}


@pytest.mark.parametrize(
    "answer, error, passing, words",
    [
        ((503, "application/json", b'{"detail": "restarting"}'), Busy, True, "restarting"),
        ((429, "text/plain", b"slow down"), Busy, True, "slow down"),
        ((200, "text/html", b"<html>Sign in"), LoginExpired, True, "sky api login"),
        ((302, "text/html", b""), LoginExpired, True, "sky api login"),
        ((401, "application/json", b'{"detail": "who?"}'), LoginExpired, True, "who?"),
        (
            (400, "application/json", b'{"error": "version_mismatch", "message": "too old"}'),
            WrongVersion,
            False,
            "too old",
        ),
        (
            (400, "application/json", b'{"detail": {"type": "X", "message": "no\\n good"}}'),
            Rejected,
            False,
            "no good",
        ),
        ((500, "application/json", json.dumps({"detail": PAYLOAD}).encode()), Interrupted, True, "restarted"),
        ((500, "application/json", json.dumps({"detail": KILLED}).encode()), Interrupted, True, "a worker died"),
        ((500, "text/plain", b"Internal Server Error"), Rejected, False, "Internal Server Error"),
        ((0, "", b""), Unreachable, True, "no answer"),
    ],
)
def test_bad_answers(answer, error, passing, words):
    server = SkyServer()
    server.fault = lambda path: answer

    async def what(client):
        with pytest.raises(error) as caught:
            await client.validate("{}")
        assert words in str(caught.value) and caught.value.passing is passing
        assert "\n" not in str(caught.value)

    ask(server, what)


@pytest.mark.parametrize(
    "health, words",
    [({"api_version": "10", "version": "0.9"}, "too old"), ({}, "too old"), ([], "too old")],
)
def test_a_server_of_another_age(health, words):
    server = SkyServer()
    server.fault = lambda path: (200, "application/json", json.dumps(health).encode())

    async def what(client):
        with pytest.raises(WrongVersion, match=words):
            await client.health()

    ask(server, what)


def test_nobody_there():
    async def run():
        with pytest.raises(Unreachable, match="cannot connect"):
            await Client(Access("http://127.0.0.1:1")).health()

    asyncio.run(run())


def test_a_log_that_is_cut_is_told_as_such():
    server = SkyServer()

    async def what(client):
        await client.launch("{}", "a")
        server.jobs[0].log = b"x" * 5000
        server.cut_log_after = [3000]
        got = b""
        with pytest.raises(SkyError):
            async for chunk in client.logs(1, follow=True):
                got += chunk
        assert got == b"x" * 3000

    ask(server, what)


def test_who_we_are(tmp_path):
    (tmp_path / ".sky").mkdir()
    (tmp_path / ".sky" / "user_hash").write_text("abcd1234\n")
    access = find_access({}, tmp_path, "me", config={"api_server": {"endpoint": "https://sky.example.org/"}})
    assert (access.endpoint, access.user_id, access.local) == ("https://sky.example.org", "abcd1234", False)
    environment = {
        "SKYPILOT_API_SERVER_ENDPOINT": "http://localhost:1",
        "SKYPILOT_SERVICE_ACCOUNT_TOKEN": "sky_x",
    }
    access = find_access(environment, tmp_path, "me", endpoint="http://site")
    assert (access.endpoint, access.token, access.local) == ("http://localhost:1", "sky_x", True)
    assert find_access({}, tmp_path, "me", endpoint="http://site").endpoint == "http://site"
