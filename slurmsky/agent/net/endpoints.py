"""Connections between agents and clients: unix sockets, or TCP with mutual TLS."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from .spare_descriptor import LIMITS, SpareDescriptor

UNIX = "unix:"
#: bytes of a path in a unix socket's address (sockaddr_un.sun_path less its NUL)
_SUN_PATH_MAX = 107


class EndpointError(OSError):
    """The address cannot be used, for the reason in the text."""


def listen(address: str) -> socket.socket:
    """Open a listening socket. Raises OSError.

    Also if another process listens at the address. A unix socket (``unix:/path``) is created with mode 0600; a stale
    socket is replaced.
    """
    if not address.startswith(UNIX):
        host, _, port = address.rpartition(":")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host.strip("[]"), int(port)))
        sock.listen(128)
        return sock
    path = address[len(UNIX) :]
    if accepts_connections(path):
        raise EndpointError("another agent answers at %s" % path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # the usual case
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        with _short(path) as name:
            sock.bind(name)
    finally:
        os.umask(previous)
    sock.listen(512)
    return sock


def accept(listener: socket.socket, spare: SpareDescriptor) -> Iterator[socket.socket]:
    """Accept connections of a non-blocking listener; on a unix socket only those of this user or root."""
    while True:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            if error.errno in LIMITS and spare.refuse(listener):
                continue
            return
        if sock.family == socket.AF_UNIX and peer_uid(sock) not in (os.geteuid(), 0):
            sock.close()
        else:
            yield sock


@contextmanager
def _short(path: str) -> Iterator[str]:
    """Yield a name for a socket's path that fits into an address.

    A long path is addressed by its folder's descriptor.
    """
    if len(os.fsencode(path)) <= _SUN_PATH_MAX:
        yield path
        return
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield "/proc/self/fd/%d/%s" % (fd, name)
    finally:
        os.close(fd)


def accepts_connections(path: str) -> bool:
    """True if a process accepts connections on a unix socket."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(2)
    try:
        with _short(path) as name:
            probe.connect(name)
    except OSError:
        return False
    finally:
        probe.close()
    return True


def connect(address: str, tls: Optional[Any] = None, timeout: float = 10.0) -> socket.socket:
    """Open a connected, blocking socket. Raises OSError. ``tls``: ssl.SSLContext for ``host:port`` addresses."""
    if address.startswith(UNIX):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            with _short(address[len(UNIX) :]) as name:
                sock.connect(name)
        except OSError:
            sock.close()
            raise
        return sock
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host.strip("[]"), int(port)), timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        plain.close()
        raise EndpointError("no certificate for %s" % address)
    return tls.wrap_socket(plain, server_hostname=host)  # type: ignore[no-any-return]


def peer_uid(sock: socket.socket) -> int:
    """Uid of the peer of a unix socket (SO_PEERCRED)."""
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def peer_pid(sock: socket.socket) -> int:
    """Pid of the peer of a unix socket; 0: another machine."""
    if sock.family != socket.AF_UNIX:
        return 0
    size = struct.calcsize("3i")
    pid, _uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(pid)


def tls_contexts(certificate: str, key: str, authority: str) -> tuple[Any, Any]:
    """Return the (server, client) TLS contexts of a job.

    Both peers must present a certificate of the job's authority.
    """
    import ssl

    contexts = []
    for purpose in (ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH):
        context = ssl.create_default_context(purpose, cafile=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        context.verify_mode = ssl.CERT_REQUIRED
        # Nodes are addressed by IPs that the cloud assigns; trust is in the job's own authority.
        context.check_hostname = False
        if purpose is ssl.Purpose.SERVER_AUTH:
            context.check_hostname = False
        contexts.append(context)
    return contexts[0], contexts[1]
