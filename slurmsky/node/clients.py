"""Requests from inside a job: srun, sattach, sbcast and sstat are answered here, the rest goes to the controller."""
from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from . import transport, wire
from .channel import Channel

if TYPE_CHECKING:
    from .agent import Agent

Handler = Callable[["Agent", Channel, wire.Request, bytes], None]


def serve(agent: Agent, channel: Channel, payload: bytes) -> None:
    """Handle one ``R`` frame."""
    try:
        request = wire.Request.from_payload(payload)
    except wire.WireError as error:
        channel.send(wire.STDERR, ("slurmsky: error: %s\n" % error).encode())
        channel.send(wire.EXIT, b"1")
        channel.close()
        return
    handler = _HANDLERS.get(request.command)
    if handler is not None:
        try:
            handler()(agent, channel, request, payload)
        except Exception:
            # A user must not wait for an answer that will not come; the details are in the agent's log.
            channel.send(wire.STDERR, ("%s: error: internal error, see the log of the agent of node %s\n" % (
                request.command, agent.node)).encode())
            channel.send(wire.EXIT, b"1")
            channel.close()
            raise
    else:
        relay(agent, channel, payload, agent.controller_address, request.command)


def _srun() -> Handler:
    from .srun import serve_srun

    return serve_srun


#: what the agent answers itself; imported when first needed
_HANDLERS: dict[str, Callable[[], Handler]] = {"srun": _srun}


def relay(agent: Agent, channel: Channel, payload: bytes, address: str, command: str) -> None:
    """Pass a session on to another server, frame by frame, with back-pressure both ways."""
    try:
        sock = transport.connect(address, agent.tls_client)
    except OSError:
        channel.send(wire.STDERR, (
            "%s: error: Unable to contact slurm controller (connect failure)\n" % command).encode())
        channel.send(wire.EXIT, b"1")
        channel.close()
        return
    peer = Channel(agent.loop, sock)
    peer.send(wire.REQUEST, payload)
    join(channel, peer)


def join(one: Channel, other: Channel) -> None:
    """What comes from one goes to the other, until either closes."""
    for source, target in ((one, other), (other, one)):
        _pump(source, target)


def _pump(source: Channel, target: Channel) -> None:
    def passed(kind: bytes, payload: bytes) -> None:
        target.send(kind, payload)
        if target.full:
            source.pause()
    source.on_frame = passed
    source.on_close = target.close
    target.on_drain = source.resume
