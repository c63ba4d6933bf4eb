"""Watches for the interruption notice of a spot machine.

AWS gives two minutes, Google and Azure 30 seconds. A machine without a metadata service costs one attempt to connect.

Source: the providers' pages on interruption notices: ``spot/instance-action`` (AWS), ``instance/preempted`` (Google
Compute Engine), Scheduled Events (Azure).
"""

from __future__ import annotations

import calendar
import http.client
import json
import os
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_tz
from functools import partial
from typing import Callable, Mapping, Optional

from ... import paths

#: link-local address of the metadata service in each of these clouds
ADDRESS = "169.254.169.254"
#: the notice of a node, in the agent's home
FILE = "spot_notice.json"
#: AWS recommends an interval of at least five seconds
POLL_S = 5.0
CONNECT_S = 2.0
#: longest time in seconds of Azure's first answer about scheduled events
ANSWER_S = 150.0
#: seconds of notice by a cloud that states no time
NOTICE_S = 30.0
#: seconds before a spot machine's end at which its jobs get SIGKILL, so that their files arrive
MARGIN_S = 5.0

Parse = Callable[[str, str], Optional[float]]


@dataclass(frozen=True)
class MetadataService:
    """A cloud's metadata service. ``identity``: a path that only this cloud answers; ``notice``: the path to poll."""

    cloud: str
    identity: str
    notice: str
    headers: Mapping[str, str]
    parse: Parse  # (the notice's text, the identity's text) -> epoch second of the end; None: no notice
    token: str = ""  # path from which a PUT request returns a session's token


def _aws(text: str, identity: str) -> Optional[float]:
    return calendar.timegm(time.strptime(json.loads(text)["time"], "%Y-%m-%dT%H:%M:%SZ"))


def _google(text: str, identity: str) -> Optional[float]:
    return time.time() + NOTICE_S if text.strip() == "TRUE" else None


def _azure(text: str, identity: str) -> Optional[float]:
    for row in json.loads(text).get("Events", ()):
        if row.get("EventType") == "Preempt" and identity.strip() in row.get("Resources", ()):
            parts = parsedate_tz(row.get("NotBefore") or "")
            return calendar.timegm((*parts[:6], 0, 0, 0)) if parts else time.time()
    return None


_AWS_TOKEN = "X-aws-ec2-metadata-token"
SERVICES = (
    MetadataService("AWS", "/latest/meta-data/instance-id", "/latest/meta-data/spot/instance-action", {}, _aws,
            "/latest/api/token"),
    MetadataService("Google Cloud", "/computeMetadata/v1/instance/id", "/computeMetadata/v1/instance/preempted",
            {"Metadata-Flavor": "Google"}, _google),
    MetadataService("Azure", "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
            "/metadata/scheduledevents?api-version=2020-07-01", {"Metadata": "true"}, _azure),
)  # fmt: skip


@dataclass(frozen=True)
class Notice:
    """Notice that the machine ends at ``at`` (epoch second)."""

    at: float
    cloud: str

    @property
    def left_s(self) -> int:
        """Seconds that remain for jobs."""
        return max(1, int(self.at - time.time() - MARGIN_S))

    def write(self, path: str) -> None:
        """Write the notice for the node's agent. Raises OSError."""
        partial = path + ".new"
        with open(partial, "w") as file:
            json.dump({"at": self.at, "cloud": self.cloud}, file)
        os.replace(partial, path)

    @classmethod
    def read(cls, path: str) -> Optional[Notice]:
        """Read the notice; None if there is none."""
        try:
            with open(path) as file:
                return cls(**json.load(file))
        except (OSError, ValueError, TypeError):
            return None


class Metadata:
    """Metadata service of this machine; ``address``: host, or host:port."""

    def __init__(self, address: str = ADDRESS) -> None:
        self._address = address

    def find(self) -> Optional[Callable[[], Optional[Notice]]]:
        """Return the reader of this cloud's notice, or None if no known service answers."""
        connection = self._connection(CONNECT_S)
        try:
            connection.connect()
        except OSError:
            return None
        finally:
            connection.close()
        for service in SERVICES:
            identity = self._get(service, service.identity, CONNECT_S)
            if identity:
                return partial(self._notice, service, identity)
        return None

    def _notice(self, service: MetadataService, identity: str) -> Optional[Notice]:
        text = self._get(service, service.notice, ANSWER_S)
        try:
            at = service.parse(text, identity) if text else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # not a notice in the documented form
        return None if at is None else Notice(at, service.cloud)

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address, timeout=timeout)  # no proxy: the address is link-local

    def _get(self, service: MetadataService, path: str, timeout: float) -> str:
        """Return the body of a response with status 200, else ""."""
        headers = dict(service.headers)
        if service.token:
            lifetime = {_AWS_TOKEN + "-ttl-seconds": "60"}
            token = self._request("PUT", service.token, lifetime, CONNECT_S)
            headers.update({_AWS_TOKEN: token} if token else {})  # an older service needs none
        return self._request("GET", path, headers, timeout)

    def _request(self, method: str, path: str, headers: Mapping[str, str], timeout: float) -> str:
        connection = self._connection(timeout)
        try:
            connection.request(method, path, headers=dict(headers))
            response = connection.getresponse()
            text = response.read(1 << 20).decode("utf-8", "replace")
            return text if response.status == 200 else ""
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()


def wait(metadata: Metadata, sleep: Callable[[float], None] = time.sleep) -> Optional[Notice]:
    """Wait for the notice; None at once if no known service answers."""
    read = metadata.find()
    if read is None:
        return None
    while True:
        notice = read()
        if notice is not None:
            return notice
        sleep(POLL_S)


def watch(take: Callable[[Notice], None]) -> None:
    """Call ``take`` with this machine's notice, from a thread."""

    def run() -> None:
        notice = wait(Metadata(os.environ.get(paths.METADATA) or ADDRESS))
        if notice is not None:
            take(notice)

    threading.Thread(target=run, daemon=True).start()
