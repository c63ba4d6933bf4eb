"""Authenticated encryption for messages in the job log.

Standard library only. A job's request may contain the user's environment, but other users may read a job's log. A
message is encrypted, then authenticated: HMAC-SHA-256 in counter mode gives the key stream, and another key derived
from the same root signs the tag. Each message has a random nonce. The tag also covers the message's place (run, node
and number), so a message copied to another place does not verify.
"""

from __future__ import annotations

import hashlib
import hmac
import os

NONCE, TAG = 16, 32


class BrokenSeal(ValueError):
    """The message was forged, changed, or belongs to another place."""


def of_rank(secret: bytes, rank: int) -> bytes:
    """Derive one job's secret from the secret of jobs launched together."""
    return hmac.digest(secret, b"rank %d" % rank, "sha256")


def _keys(key: bytes) -> tuple[bytes, bytes]:
    return tuple(hmac.digest(key, label, "sha256") for label in (b"stream", b"tag"))  # type: ignore[return-value]


def _mixed(key: bytes, nonce: bytes, data: bytes) -> bytes:
    blocks = (
        hmac.digest(key, nonce + number.to_bytes(8, "big"), "sha256")
        for number in range(-(-len(data) // hashlib.sha256().digest_size))
    )
    stream = b"".join(blocks)[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def seal(key: bytes, data: bytes, place: str = "") -> bytes:
    """Encrypt and authenticate a message. ``place``: run, node and number, which the receiver must know."""
    stream, tag = _keys(key)
    nonce = os.urandom(NONCE)
    body = nonce + _mixed(stream, nonce, data)
    return body + hmac.digest(tag, body + place.encode(), "sha256")


def unseal(key: bytes, message: bytes, place: str = "") -> bytes:
    """The inverse of seal. Raises BrokenSeal."""
    stream, tag = _keys(key)
    body, found = message[:-TAG], message[-TAG:]
    if len(message) < NONCE + TAG or not hmac.compare_digest(found, hmac.digest(tag, body + place.encode(), "sha256")):
        raise BrokenSeal("not a message of this job")
    return _mixed(stream, body[:NONCE], body[NONCE:])
