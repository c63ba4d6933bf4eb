"""Settings files that SkyPilot copies to a node.

One class per program. Settings and program are sent in one shipment, so both have one version. The controller also
reads the files of runs that an earlier version has launched.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Dict, NamedTuple, Optional, Tuple, Type, TypeVar

from .message_codec import Message, register_type

S = TypeVar("S", bound="NodeSettings")
FILE = "settings.json"


class FileSettings(NamedTuple):
    """Transfer of the submit folder, and of changed files back.

    ``folder``: the folder that is sent, ``identity``: its inode numbers; ``archive``: its content. ``links``: further
    paths of it. ``folders``: folders that the script expects. Files larger than the rest of ``return_bytes`` are copied
    to ``bucket``, which is ``mounted`` on the node.
    """

    folder: str = ""
    identity: Tuple[int, ...] = ()
    archive: str = ""
    links: Tuple[str, ...] = ()
    return_bytes: int = 0
    folders: Tuple[str, ...] = ()
    bucket: str = ""
    mounted: str = ""


class OutboxSettings(NamedTuple):
    """Sealed requests: secret (hex), range of job ids, delay in seconds.

    The job ids are for submissions; a request waits for the controller before.
    """

    key: str
    ids: Tuple[int, int]
    after_s: float


def _known(kind: Any, value: Dict[str, Any]) -> Any:
    return kind(**{name: value[name] for name in kind._fields if name in value})


register_type("FileSettings", partial(_known, FileSettings), FileSettings._asdict)
register_type("OutboxSettings", partial(_known, OutboxSettings), OutboxSettings._asdict)


class NodeSettings(Message, family="settings"):
    """Settings of a program on a node."""

    @classmethod
    def read(cls: Type[S], path: str) -> S:
        """Return the settings in a file. Raises OSError, ValueError."""
        with open(path) as file:
            found = cls.decode({"settings": cls.kind, **json.load(file)})
        return found


class ShipmentSettings(NodeSettings, kind="shipment"):
    """Settings of a job's node, shipped with script and submit folder.

    ``launch``: the fields of its Launch; ``elements`` and ``ranks``: the fields in which the elements of a pack, or the
    jobs of one launch request, differ. ``slots``: elements that run concurrently. ``seed``: determines the ports at
    which nodes connect. ``alone_s``: seconds without a controller after which the job ends, 0: no end. ``spot``: the
    cloud may reclaim the nodes with a notice.
    """

    name: str
    agent: str = ""
    launch: Dict[str, Any]
    seed: int
    host_prefix: str
    environment: Dict[str, str]
    alone_s: int = 0
    reach: str = ""
    letters: OutboxSettings
    files: FileSettings
    elements: Optional[Tuple[Dict[str, Any], ...]] = None
    slots: int = 1
    spot: bool = False
    ranks: Tuple[Dict[str, Any], ...] = ()

    def of_rank(self, rank: int) -> ShipmentSettings:
        """Return the settings of one job of a launch request.

        Each job has its own launch, name, secret, ports and ids.
        """
        if not self.ranks:
            return self
        from . import seal

        key, (first, count), after_s = self.letters
        shared = {name: value for name, value in self.__dict__.items() if name != "ranks"}
        return ShipmentSettings(**shared).evolve(
            launch={**self.launch, **self.ranks[rank]},
            name="%s-%d" % (self.name, rank),
            host_prefix="%s-%d" % (self.host_prefix, rank),
            seed=self.seed + rank,
            letters=OutboxSettings(
                seal.of_rank(bytes.fromhex(key), rank).hex(), (first + rank * count, count), after_s
            ),
        )

    @property
    def jobs(self) -> Tuple[Dict[str, Any], ...]:
        """Launch fields that differ, for each job of this run."""
        return ({},) if self.elements is None else self.elements


class PilotSettings(NodeSettings, kind="pilot"):
    """Settings of a warm node's agent.

    ``order``: the name of the bring-up, ``nodes``: its nodes by rank. ``owner``: USER@HOST, the only user whose jobs
    the node accepts; "": all users.
    """

    order: str
    nodes: Tuple[str, ...]
    spot: bool = False
    idle_s: float
    owner: str = ""
