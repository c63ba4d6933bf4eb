"""Connections of a head agent to its jobs' other nodes. They keep the agents of those nodes running."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Callable

from ...protocol.messages import Hello
from ..net import endpoints
from ..net.channel import Channel

if TYPE_CHECKING:
    from .head_job import HeadJob


class NodeHolds:
    """One connection to each other node of each running job.

    If such a connection to an agent of the same machine closes, the agent is dead, with all processes of the job on
    that node, and the job ends with NODE_FAIL. The head agent checks this, because an absent controller would later
    find only that agent's successor. A connection to another machine may break while its node is alive; SkyPilot
    watches those nodes.
    """

    def __init__(self, own_address: str, connect: Callable[[str], Channel]) -> None:
        self._own_address = own_address
        self._connect = connect
        self._channels: dict[int, dict[str, Channel]] = {}  # of jobs, by the address of the other node

    def hold_nodes(self, job: HeadJob) -> None:
        """Connect to the job's other nodes. Raises OSError if an agent of this machine does not answer."""
        names = {share.address: share.name for share in job.launch.every_share[1:]}
        names.pop(self._own_address, None)
        for address, name in sorted(names.items()):
            local = address.startswith(endpoints.UNIX)
            try:
                channel = self._connect(address)
            except OSError as error:
                if local:
                    raise OSError(error.errno, "%s: %s" % (address, error.strerror or error)) from error
                print("job %d: %s: %s" % (job.job_id, address, error), file=sys.stderr, flush=True)
                continue
            channel.send_json(Hello(role="holder").encode())
            if local:
                channel.on_close = partial(job.node_lost, name)
            self._channels.setdefault(job.job_id, {})[address] = channel

    def release(self, job_id: int, address: str) -> None:
        """Close the job's connection to another node."""
        channel = self._channels.get(job_id, {}).pop(address, None)
        if channel is not None:
            channel.on_close = lambda: None
            channel.close()

    def release_all(self, job_id: int) -> None:
        """Close the connections of an ended job."""
        for address in list(self._channels.get(job_id, ())):
            self.release(job_id, address)
        self._channels.pop(job_id, None)
