"""Reads warm nodes from the site file's [[partition]] tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ..model.cluster import NodeConfig
from . import schema
from .record import Shape, SiteError, WarmNodes

#: fields of a [[partition]] table that belong to WarmNodes
WARM_FIELDS = frozenset(key.field or name for name, key in schema.PARTITION_WARM.items())
#: assumed size of a node of an existing cluster until the real size is known
_UNKNOWN_CPUS, _UNKNOWN_MIB = 1, 1024
#: keys for the launch of each job, which warm nodes lack
_OF_JOBS = {
    "spot": "shape = { ..., spot = true }",
    "pool": "they are a pool of their own",
    "arrays": "an array's elements are jobs on these nodes",
    "array_nodes": "an array's elements are jobs on these nodes",
}
Fault = Callable[[str, int, str, str], SiteError]


def warm_nodes(
    tables: Sequence[dict[str, Any]], described: Collection[str], fault: Fault
) -> tuple[tuple[tuple[str, WarmNodes], ...], tuple[NodeConfig, ...]]:
    """Warm nodes by partition, and the NodeConfig of these nodes.

    ``described``: names of [[node]] tables. ``fault`` creates the error for (table, index, key, text). Raises
    SiteError.
    """
    warm: list[tuple[str, WarmNodes]] = []
    nodes: dict[str, NodeConfig] = {}
    for index, table in enumerate(tables):
        mine = {name: value for name, value in table.items() if name in WARM_FIELDS}
        if not mine:
            continue

        def wrong(key: str, text: str, index: int = index) -> SiteError:
            return fault("partition", index, key, text)

        one = _warm(table, mine, wrong)
        for name in one.names:
            if name in described:
                raise wrong("nodes", f"node {name} is described by a [[node]] table: warm nodes are described by shape")
            if name in nodes:
                raise wrong("nodes", f"node {name} belongs to another partition with warm nodes")
            nodes[name] = node_config(name, one)
        warm.append((table["name"], one))
    return tuple(warm), tuple(nodes.values())


def _warm(table: dict[str, Any], mine: dict[str, Any], wrong: Callable[[str, str], SiteError]) -> WarmNodes:
    if table.get("engine", "auto") != "auto":
        raise wrong("engine", "engine cannot be combined with shape or cluster: warm nodes have their own engine")
    if mine.get("cluster"):
        for key in ("shape", "suspend_time", "keep_up", "resume_timeout"):
            if schema.PARTITION_WARM[key].field in mine or key in mine:
                raise wrong(key, f"{key} cannot be combined with cluster: an existing cluster is used unchanged")
    elif "shape" not in mine:
        key = next(name for name, value in schema.PARTITION_WARM.items() if (value.field or name) in mine)
        raise wrong(key, f"{key} needs the shape of the nodes: shape = {{ cpus = ..., memory = ... }}")
    for key, why in _OF_JOBS.items():
        if key in table:
            raise wrong(key, f"{key} cannot be combined with warm nodes: {why}")
    if not table.get("nodes_text") or table["nodes_text"].upper() == "ALL":
        raise wrong("nodes" if "nodes_text" in table else "shape", 'warm nodes need names: nodes = "gpu-[1-8]"')
    try:
        names = schema.hosts(table["nodes_text"])
    except schema.Bad as error:
        raise wrong("nodes", f"nodes: {error}") from error
    one = WarmNodes(names=tuple(dict.fromkeys(names)), **mine)
    if one.keep_up > len(one.names):
        raise wrong("keep_up", f"keep_up = {one.keep_up} is more than the partition has nodes: {len(one.names)}")
    return one


def node_config(name: str, warm: WarmNodes) -> NodeConfig:
    """NodeConfig of a warm node, from its shape's guaranteed minimum."""
    shape = warm.shape
    cpus = int(float(shape.cpus.rstrip("+"))) if shape.cpus else _UNKNOWN_CPUS
    kind, _, count = shape.gpus.partition(":")
    return NodeConfig(
        name=name,
        address=name,
        host_name=name,
        cpus=cpus,
        sockets=1,
        cores=cpus,
        memory_mib=_mib(shape),
        tmp_mib=shape.disk * 1024,
        gres=(("gpu", kind.lower(), int(count)),) if kind else (),
        features=("cloud",),
        state="CLOUD",
    )


def _mib(shape: Shape) -> int:
    return max(1, int(float(shape.memory.rstrip("+")) * 1024)) if shape.memory else _UNKNOWN_MIB
