"""The API server's client: valid and invalid answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sky_server import SkyServer

from slurmsky.engines.sky.api import api_server
from slurmsky.engines.sky.api.api_access import Access, find_access
from slurmsky.engines.sky.api.api_client import Client
from slurmsky.engines.sky.api.api_errors import (
    BadConfig,
    Busy,
    Interrupted,
    LoginExpired,
    Rejected,
    SkyError,
    Unreachable,
    WrongVersion,
)
from slurmsky.site import load


def ask(server: SkyServer, what):
    async def run():
        async with server:
            client = Client(Access(server.endpoint, user_id="00000000", user="me"))
            try:
                return await what(client)
            finally:
                await client.close()

    return asyncio.run(run())


def test_launch_find_events_queue():
    server = SkyServer()

    async def what(client):
        assert (await client.health())["version"] == "0.14.1"
        await client.validate("{}")
        assert await client.launch(json.dumps({"name": "a-1"}), "a-1") == [1]
        assert await client.launch(json.dumps({"name": "a-12"}), "a-12") == [2]
        assert await client.find("a-1") == [1]  # not the other, whose name contains this one
        assert (await client.events(2, 1))[0].new_status == "PENDING"
        assert [job.job_id for job in await client.queue([2])] == [2]
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
            True,
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
        assert words in str(caught.value) and caught.value.may_succeed_later is passing
        assert "\n" not in str(caught.value)

    ask(server, what)


@pytest.mark.parametrize(
    "health, words",
    [({"api_version": "10", "version": "0.9"}, "too old"), ({}, "too old"), ([], "too old")],
)
def test_a_server_of_another_version_is_reported(health, words):
    server = SkyServer()
    server.fault = lambda path: (200, "application/json", json.dumps(health).encode())

    async def what(client):
        with pytest.raises(WrongVersion, match=words):
            await client.health()

    ask(server, what)


def test_no_server_at_the_endpoint():
    async def run():
        with pytest.raises(Unreachable, match="cannot connect"):
            await Client(Access("http://127.0.0.1:1")).health()

    asyncio.run(run())


def test_a_truncated_log_is_reported():
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


def test_the_users_id_is_that_of_skypilots_client(tmp_path):
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


def test_an_id_is_made_as_skypilots_client_makes_it(tmp_path, monkeypatch):
    """Otherwise the server uses its own id and searches uploads in another folder."""
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    site = load('[[partition]]\nname="debug"\ninfra="aws"', "site.toml")
    environment = {"HOME": str(tmp_path), "SKYPILOT_API_SERVER_ENDPOINT": "https://sky.example.org"}
    client = api_server.connect(environment, site, "ada")
    assert not (tmp_path / ".sky").exists()  # SkyPilot is not used yet
    made = client.user_id
    host = hashlib.md5(b"laptop").hexdigest()[-4:]
    assert made == hashlib.md5(f"ada-{host}".encode()).hexdigest()[:8]
    assert (tmp_path / ".sky" / "user_hash").read_text() == made
    assert client._common()["env_vars"] == {"SKYPILOT_USER_ID": made, "SKYPILOT_USER": "ada"}
    (tmp_path / ".sky" / "user_hash").write_text("deadbeef")
    assert api_server.connect(environment, site, "ada").user_id == "deadbeef"


def sent(tmp_path, server, project=None, **environment):
    """The configuration that goes to the server with a request."""
    site = load('[[partition]]\nname="debug"\ninfra="aws"', "site.toml")
    environment = {"HOME": str(tmp_path), **environment}
    return api_server.connect(environment, site, "ada").overrides(project)["override_skypilot_config"]


def test_each_request_contains_the_users_configuration(tmp_path):
    home, project, other = tmp_path / "home", tmp_path / "project", tmp_path / "other.yaml"
    (home / ".sky").mkdir(parents=True)
    project.mkdir()
    (home / ".sky" / "config.yaml").write_text(
        "api_server: {endpoint: 'https://sky.example.org', service_account_token: sky_1}\n"
        "active_workspace: team-a\nadmin_policy: site.Policy\n"
        "kubernetes: {pod_config: {spec: {containers: [{name: main, env: [{name: A, value: '1'}]}]}}}\n"
    )
    client = api_server.connect({"HOME": str(home)}, load('[[partition]]\nname="d"\ninfra="aws"', "s"), "ada")
    assert (client.access.endpoint, client.access.token) == ("https://sky.example.org", "sky_1")
    own = sent(home, None)
    assert own["active_workspace"] == "team-a" and not {"api_server", "admin_policy"} & own.keys()
    (project / ".sky.yaml").write_text(
        "active_workspace: team-b\nkubernetes:\n  pod_config:\n    spec:\n      containers:\n"
        "      - {name: main, env: [{name: B, value: '2'}]}\n      tolerations: [{key: gpu}]\n"
    )
    merged = sent(home, None, project)
    assert merged["active_workspace"] == "team-b"
    assert merged["kubernetes"]["pod_config"]["spec"] == {
        "containers": [{"name": "main", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
        "tolerations": [{"key": "gpu"}],
    }
    assert sent(home, None) == own  # the user's own is as it was
    other.write_text("active_workspace: team-c\n")
    assert sent(home, None, SKYPILOT_GLOBAL_CONFIG=str(other)) == {"active_workspace": "team-c"}


@pytest.mark.parametrize(
    "text, words", [("a: [", "is not YAML"), ("- a", "is not a mapping"), (None, "does not exist")]
)
def test_an_unreadable_configuration_is_reported(tmp_path, text, words):
    """Each request reports it, and the job waits, because the user may correct the file."""
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadConfig, match=words) as caught:
        sent(tmp_path, None, SKYPILOT_GLOBAL_CONFIG=str(path))
    assert caught.value.may_succeed_later and str(path) in str(caught.value)


def test_every_answer_has_the_servers_version():
    """A server that was replaced by an older one since its health was queried."""
    server = SkyServer()

    async def what(client):
        await client.validate("{}")
        server.headers = "X-SkyPilot-API-Version: 12\r\n"
        with pytest.raises(WrongVersion, match="too old: API version 12"):
            await client.validate("{}")
        server.headers = ""
        await client.validate("{}")

    ask(server, what)


def test_connections_are_used_again_and_proxies_are_not_used_for_this_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server = SkyServer()

    async def what(client):
        await client.validate("{}")
        with pytest.raises(Unreachable):
            await Client(Access("http://sky.invalid")).health()  # through the proxy, which is not there
        await client.close()

    ask(server, what)


def test_a_request_that_waits_while_the_client_closes_is_unreachable():
    server = SkyServer()
    server.underway["r1"] = {}

    async def what(client):
        waiting = asyncio.ensure_future(client.result("r1", 4))
        while "/api/get" not in server.requests:
            await asyncio.sleep(0.01)
        await client.close()
        server.underway.clear()
        with pytest.raises(Unreachable):
            await waiting

    ask(server, what)
