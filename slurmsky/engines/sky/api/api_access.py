"""Address and credentials for SkyPilot's API server. They are found as by SkyPilot's client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import LoadError, MozillaCookieJar
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..engine_setting import ENDPOINT

DEFAULT_ENDPOINT = "http://127.0.0.1:46580"


@dataclass(frozen=True)
class Access:
    """Address of the server, and this client's credentials.

    User and password of the endpoint's URL are stored separately from the URL, which is printed, logged and stored.
    """

    endpoint: str = DEFAULT_ENDPOINT
    user_id: str = ""  # 8 hex digits, ~/.sky/user_hash
    user: str = ""
    token: str = field(default="", repr=False)  # service account, "sky_..."
    cookie_file: str = ""
    workspace: str = ""
    login: str = field(default="", repr=False)  # USER:PASSWORD

    def __post_init__(self) -> None:
        scheme, _, rest = self.endpoint.partition("://")
        authority, slash, path = rest.partition("/")
        login, _, host = authority.rpartition("@")
        if login:
            object.__setattr__(self, "endpoint", f"{scheme}://{host}{slash}{path}")
            object.__setattr__(self, "login", ":".join(unquote(part) for part in (login + ":").split(":", 2)[:2]))

    @property
    def local(self) -> bool:
        """True if the server runs on this machine with the same files."""
        return (urlsplit(self.endpoint).hostname or "") in ("127.0.0.1", "localhost", "::1", "0.0.0.0")


def find_access(
    environment: Mapping[str, str],
    home: Path,
    user: str,
    endpoint: str = "",
    workspace: str = "",
    config: Mapping[str, Any] | None = None,
) -> Access:
    """Find endpoint and credentials as SkyPilot's client does.

    Order: environment, the user's configuration (``config``), then local.
    """
    server = (config or {}).get("api_server")
    server = server if isinstance(server, dict) else {}
    id_file = home / ".sky" / "user_hash"
    user_id = environment.get("SKYPILOT_USER_ID", "")
    if not user_id and id_file.exists():
        user_id = id_file.read_text("utf-8", "replace").strip()
    return Access(
        endpoint=(
            environment.get(ENDPOINT) or endpoint or str(server.get("endpoint") or "") or DEFAULT_ENDPOINT
        ).rstrip("/"),
        user_id=user_id,
        user=environment.get("SKYPILOT_USER") or user,
        token=environment.get("SKYPILOT_SERVICE_ACCOUNT_TOKEN") or server.get("service_account_token") or "",
        cookie_file=environment.get("SKYPILOT_API_COOKIE_FILE") or str(home / ".sky" / "cookies.txt"),
        workspace=workspace,
    )


def cookies(path: str, host: str) -> str:
    """Return the Cookie header for a host, from SkyPilot's cookie file."""
    if not path or not os.path.exists(path):
        return ""
    jar = MozillaCookieJar(path)
    try:
        jar.load(ignore_discard=True, ignore_expires=False)
    except (LoadError, OSError):
        return ""
    return "; ".join(
        f"{cookie.name}={cookie.value}"
        for cookie in jar
        if host == cookie.domain.lstrip(".") or host.endswith("." + cookie.domain.lstrip("."))
    )
