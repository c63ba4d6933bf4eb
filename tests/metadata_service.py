"""A replacement of the metadata service of a cloud's machine."""

from __future__ import annotations

import http.server
import json
import threading
import time
from typing import Any


class MetadataService:
    """Answers ``answers`` by path; a missing path is 404. ``headers``: the header that a cloud demands."""

    def __init__(self, answers: dict[str, str] | None = None, header: str = "", token: str = "") -> None:
        self.answers = {"/latest/meta-data/instance-id": "i-1"} if answers is None else answers
        self.requests: list[str] = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer(token if self.path == "/latest/api/token" else "")

            def do_GET(self) -> None:
                service.requests.append(self.path)
                allowed = not header or self.headers.get(header.split(": ")[0]) == header.split(": ")[1]
                self._answer(service.answers.get(self.path, "") if allowed else "")

            def _answer(self, text: str) -> None:
                self.send_response(200 if text else 404)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = "127.0.0.1:%d" % self._server.server_port

    def take_back(self, seconds: float = 120) -> None:
        """Announce that the machine, one of AWS, ends after this number of seconds."""
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        self.answers["/latest/meta-data/spot/instance-action"] = json.dumps({"action": "terminate", "time": end})

    def __enter__(self) -> MetadataService:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
