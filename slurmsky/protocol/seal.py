"""Messages that only the two ends of a job can read and write, with nothing but the standard library.

What a job asks of its controller may carry the user's environment, and a job's log is read by more people than the
user. Encrypt, then authenticate: SHA-256 as HMAC in counter mode for the stream, another key of the same root for the
tag. Each message has a random nonce.
"""

from __future__ import annotations

import hashlib
import hmac
import os

NONCE, TAG = 16, 32


class BrokenSeal(ValueError):
    """It was not written by the other end, or not as it is now."""


def _keys(key: bytes) -> tuple[bytes, bytes]:
    return tuple(hmac.digest(key, label, "sha256") for label in (b"stream", b"tag"))  # type: ignore[return-value]


def _mixed(key: bytes, nonce: bytes, data: bytes) -> bytes:
    blocks = (
        hmac.digest(key, nonce + number.to_bytes(8, "big"), "sha256")
        for number in range(-(-len(data) // hashlib.sha256().digest_size))
    )
    stream = b"".join(blocks)[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def seal(key: bytes, data: bytes) -> bytes:
    """The message as it may travel in the open."""
    stream, tag = _keys(key)
    nonce = os.urandom(NONCE)
    body = nonce + _mixed(stream, nonce, data)
    return body + hmac.digest(tag, body, "sha256")


def unseal(key: bytes, message: bytes) -> bytes:
    """The inverse of seal. Raises BrokenSeal."""
    stream, tag = _keys(key)
    body, found = message[:-TAG], message[-TAG:]
    if len(message) < NONCE + TAG or not hmac.compare_digest(found, hmac.digest(tag, body, "sha256")):
        raise BrokenSeal("not a message of this job")
    return _mixed(stream, body[:NONCE], body[NONCE:])
