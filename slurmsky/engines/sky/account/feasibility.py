"""Checks at submit if nodes of the enabled infras can run a task.

The checks use the inventory that sinfo shows. For an infra whose nodes exist (Slurm, Kubernetes, SSH), node sizes
decide. A cloud creates nodes on demand, and the inventory lists only its GPU machines: there the name and number of
GPUs decide. For an infra without inventory, and for a Kubernetes cluster that an autoscaler may extend, the job is
accepted, and SkyPilot decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...offers import Offer

_GIB = 1024
_ON_DEMAND = "cloud"  # an offer's state
_KUBERNETES = ("kubernetes", "k8s")


def autoscaled(config: Mapping[str, Any], context: str) -> bool:
    """True if a configuration names a Kubernetes context's autoscaler.

    Source: sky/clouds/kubernetes.py, which reads ``kubernetes.context_configs.CONTEXT.autoscaler``, then
    ``kubernetes.autoscaler``.
    """
    kubernetes = config.get("kubernetes") or {}
    contexts = kubernetes.get("context_configs") or {}
    own = (contexts.get(context) or {}).get("autoscaler")
    return bool(own or kubernetes.get("autoscaler"))


def infeasibility(
    resources: Mapping[str, Any],
    offers: Sequence[Offer],
    unlisted: Sequence[str] = (),
    can_grow: Callable[[str], bool] = lambda context: False,
    nodes: int = 1,
) -> str:
    """Return why the offered nodes cannot run a task, in one sentence; or "".

    ``resources``: the task's resources for each of its ``nodes``. ``unlisted``: enabled infras without any offer.
    ``can_grow`` returns True for a Kubernetes context that may get more nodes.
    """
    if not offers or "instance_type" in resources:
        return ""
    wanted = [str(item["infra"]) for item in resources.get("ordered", ())]
    if "infra" in resources:
        wanted = [str(resources["infra"])]
    chosen = []
    for infra in wanted or ["*"]:
        found = [offer for offer in offers if offer.matches_infra(infra)]
        if not found or any(Offer(name, "").matches_infra(infra) for name in unlisted):
            return ""  # the infra has no inventory, or no node now
        chosen += found
    contexts = {offer.infra.partition("/")[2] for offer in chosen if offer.infra.split("/")[0] in _KUBERNETES}
    if any(map(can_grow, contexts)):
        return ""
    name, count = _accelerators(resources)
    cpus, memory = _least(resources.get("cpus")), _least(resources.get("memory"))
    made = [offer for offer in chosen if offer.state == _ON_DEMAND]
    if made and (not name or _most_gpus(made, name) >= count):
        return ""
    there = [offer for offer in chosen if offer.state != _ON_DEMAND]
    fitting = [offer for offer in there if _fits(offer, cpus, memory, name, count)]
    if fitting:
        return _too_few(fitting, nodes, cpus, memory, (name, count))
    most = _most_gpus(chosen, name) if name else 0
    where = ", ".join(wanted) or "the enabled infras"
    if name and not most:
        return f"no node of {where} has {name} GPUs: {_kinds(chosen) or 'none has any GPU'}"
    if name and most < count:
        return f"no node of {where} has {count} {name} GPUs: the most is {most}"
    largest = max((offer.cpus for offer in there), default=0)
    if cpus > largest:
        return f"no node of {where} has {cpus:g} CPUs: the most is {largest}"
    roomiest = max((offer.memory_mib for offer in there), default=0)
    if memory * _GIB > roomiest:
        return f"no node of {where} has {memory:g} GiB of memory: the most is {roomiest / _GIB:.1f}"
    return f"no node of {where} has CPUs, memory and GPUs for the job at once"


def _fits(offer: Offer, cpus: float, memory_gib: float, name: str, count: int) -> bool:
    # A request's memory is rounded up to whole GiB, and nodes report slightly less than their nominal memory.
    return offer.cpus >= cpus and offer.memory_mib >= (memory_gib - 1) * _GIB and _gpus(offer, name) >= count


def _too_few(offers: Iterable[Offer], nodes: int, cpus: float, memory_gib: float, gpus: tuple[str, int]) -> str:
    """Return why no infra alone has this number of nodes, or "".

    All nodes of a task are in one infra.
    """
    most: dict[str, int] = {}
    for offer in offers:
        most[offer.infra] = most.get(offer.infra, 0) + _nodes_on(offer, cpus, memory_gib, *gpus)
    infra = max(most, key=lambda infra: most[infra])
    return (
        "" if most[infra] >= nodes else f"no infra has {nodes} nodes for the job: the most is {most[infra]} ({infra})"
    )


def _nodes_on(offer: Offer, cpus: float, memory_gib: float, name: str, count: int) -> int:
    """Number of a task's nodes that fit on one machine.

    A Slurm infra puts one on each; elsewhere they are pods.
    """
    if offer.infra.split("/")[0] == "slurm":
        return 1
    parts = [(offer.cpus, cpus), (offer.memory_mib / _GIB, memory_gib), (_gpus(offer, name), count)]
    return max(1, min((int(have / each) for have, each in parts if each), default=1 << 30))


def _gpus(offer: Offer, name: str) -> int:
    wanted = name.lower()
    return max((count for kind, count, _ in offer.gpus if kind.lower() in (wanted, "gpu", "")), default=0)


def _most_gpus(offers: Iterable[Offer], name: str) -> int:
    return max((_gpus(offer, name) for offer in offers), default=0)


def _kinds(offers: Iterable[Offer]) -> str:
    kinds = sorted({kind for offer in offers for kind, _, _ in offer.gpus})
    return f"there are {', '.join(kinds)}" if kinds else ""


def _accelerators(resources: Mapping[str, Any]) -> tuple[str, int]:
    name, _, count = str(resources.get("accelerators") or "").partition(":")
    return name, int(float(count or 1)) if name else 0


def _least(text: Any) -> float:
    """Return the number of ``4+`` or ``4``; 0 for none."""
    try:
        return float(str(text or 0).rstrip("+"))
    except ValueError:
        return 0.0
