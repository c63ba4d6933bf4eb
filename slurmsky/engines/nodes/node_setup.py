"""Prepares warm nodes for a launch. Script, submit folder, names of the nodes, environment."""

from __future__ import annotations

import base64
import dataclasses
import logging
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from ...agent.cloud import submit_folder
from ...agent.cloud.remote_commands import RELAYED
from ...agent.job.environment import gpu_indices
from ...model.allocation import Launch
from ...model.spec import JobSpec
from ...protocol import wire
from ...protocol.messages import AddHosts, CompareFolder, NodeEnvironment, StoreScript
from ...translate.sky_task import credentials
from ..local.agent_link import AgentLink
from ..relay.proxy_socket import export_of
from .agent_requests import AgentRequests
from .launch_adaptation import Environments, Scripts, adapted, on_devices
from .remote_files import RemoteFiles

log = logging.getLogger("slurmsky.nodes")


class NodeSetup:
    """Sends each node the missing files.

    ``address``: returns host:port of a node's agent. ``allowed``: patterns of credential variables that may be sent.
    """

    def __init__(
        self, files: RemoteFiles, requests: AgentRequests, address: Callable[[str], str], allowed: Sequence[str]
    ) -> None:
        self._files = files
        self._requests = requests
        self._address = address
        self._allowed = allowed
        self.detected: dict[str, NodeEnvironment] = {}  # of each node's agent
        self._same: dict[tuple[str, str], bool] = {}  # (node, folder): True if the folder is a shared mount
        #: digests of sent scripts; scripts sent over a broken connection may not have arrived
        self._sent: WeakKeyDictionary[AgentLink, set[str]] = WeakKeyDictionary()
        self._resolved: dict[str, dict[str, str]] = {}  # by node: the names that resolve there, and their addresses
        self._scripts = Scripts()
        self._environments: dict[str, Environments] = {}

    def drop(self, node: str) -> None:
        """Forget a node that is lost or powering down."""
        for known in (self.detected, self._resolved, self._environments):
            known.pop(node, None)
        for key in [key for key in self._same if key[0] == node]:
            del self._same[key]

    async def prepared(self, launch: Launch, links: Sequence[AgentLink]) -> Launch:
        """Adapt the launch to its first node, and send files to all nodes. Raises EngineError, OSError."""
        link = links[0]
        detected = self.detected[link.node]
        same = True
        for each in links:
            same = await self._shared(each, launch.submit_dir) and same
        places: dict[str, str] = {}
        folder = launch.submit_dir
        if not same:
            names = credentials.left_out(launch.environment, launch.spec, self._allowed)
            if names:
                launch.environment = {name: text for name, text in launch.environment.items() if name not in names}
            above, note = await self._files.folder_above(launch)
            # A node may have the folder above, and another file system in place of the submit folder.
            if above and not any([await self._shared(each, above) for each in links]):
                folder = above
            places = await self._files.prepare(launch, [each.node for each in links], folder, note)
        digest = ""
        if launch.script is not None:
            digest, data = self._scripts.read(launch.script)
            sent = self._sent.setdefault(link, set())
            if digest not in sent:
                link.send(StoreScript(data=base64.b64encode(data).decode()))
                sent.add(digest)
        addresses = tuple(self._address(each.node).rpartition(":")[0] for each in links)
        for each in links:
            await self._add_names(each, links, addresses)
        environments = self._environments.setdefault(link.node, Environments())
        gpus = len(gpu_indices(launch.shares[0].gres))
        environment = environments.adapted(launch.environment, detected, same, addresses, gpus)
        relocation = (folder, places.get(link.node, folder))
        there = adapted(on_devices(launch, self.detected), detected, digest, environment, relocation)
        if not same:
            await self._files.follow(launch, there)
        return there

    async def _add_names(self, link: AgentLink, links: Sequence[AgentLink], addresses: Sequence[str]) -> None:
        """Make a job's node names resolve on a node."""
        known = self._resolved.setdefault(link.node, {})
        pairs = zip((each.node for each in links), addresses, strict=True)
        new = {node: host for node, host in pairs if known.get(node) != host}
        if new:
            message = AddHosts(names=tuple(new), addresses=tuple(new.values()))
            if not await self._requests.send_request(link, "hosts", ",".join(new), message):
                log.warning("node %s: %s cannot be resolved there", link.node, ", ".join(new))
            known.update(new)

    async def _shared(self, link: AgentLink, folder: str) -> bool:
        """True if a folder of this machine is a shared mount on the node."""
        key = (link.node, folder)
        if key not in self._same:
            message = CompareFolder(path=folder, identity=tuple(submit_folder.identity(folder)))
            self._same[key] = await self._requests.send_request(link, "same", folder, message)
        return self._same[key]

    def request_there(self, node: str, request: wire.CommandRequest) -> wire.CommandRequest:
        """Rewrite a command's request for a node without its folder."""
        detected = self.detected.get(node)
        if detected is None or self._same.get((node, request.cwd), True):
            return request
        spec = JobSpec(export=export_of(request.args) or request.env.get("SLURM_EXPORT_ENV"))
        kept = {*credentials.left_out(request.env, spec, self._allowed)}
        kept |= {name for name in request.env if name.startswith("SLURMSKY_") and name not in RELAYED}
        mine = {name: text for name, text in request.env.items() if name not in kept}
        here = Environments().adapted(mine, detected, same=False)
        return dataclasses.replace(request, env={**here, "PWD": request.cwd} if "PWD" in mine else here)
