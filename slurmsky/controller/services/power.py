"""Power saving: powers warm nodes up and down, as slurmctld's power_save.c."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ...agent.cloud.node_info import CloudNodeInfo
from ...engines.base import EngineError, background, cancel_all
from ...engines.powered import Order, PoweredEngine, description, detected_size
from ...model.job import Job, Node
from ...model.release import RELEASE
from ...model.states import NodeFlag, NodeState
from ...protocol.messages import Power
from ...site.record import WarmNodes
from ..jobs.job_table import JobTable
from ..rules.demand import Demand, demand_of
from ..rules.job_placement import place
from ..rules.node_use import NodeUse
from .node_hours import NodeHours
from .node_prospects import NodeProspects
from .power_requests import PowerRequests
from .warm_placement import WarmPlacement

log = logging.getLogger("slurmsky.nodes")

POLL_S = 1.0
#: seconds between two writes of the cost of running jobs
CHARGE_S = 60.0
#: seconds until a node that failed to start is retried
FAILED_S = 300.0
POWER_FLAGS = NodeFlag.POWERED_DOWN | NodeFlag.POWERING_UP | NodeFlag.POWERING_DOWN | NodeFlag.NOT_RESPONDING
#: the engine's word for a node's power -> the flags that show it
_FLAGS = {
    "off": NodeFlag.POWERED_DOWN,
    "coming": NodeFlag.POWERING_UP,
    "up": NodeFlag.NONE,
    "leaving": NodeFlag.POWERING_DOWN,
    "silent": NodeFlag.NOT_RESPONDING,
    "failed": NodeFlag.POWERED_DOWN,
}

#: the user who is shown for a reason that no user set
_SLURM_USER = "slurm"
_BUSY_NOTE = "last_busy"
_DONE = {"off": NodeFlag.POWER_DOWN, "leaving": NodeFlag.POWER_DOWN, "up": NodeFlag.REBOOT_ISSUED}  # flags that end
_DONE["failed"] = NodeFlag.POWER_DOWN | NodeFlag.REBOOT_ISSUED
_OFF_REQUESTS = NodeFlag.POWER_DOWN | NodeFlag.REBOOT


class PowerSaving:
    """Powers warm nodes up and down, and records their power state."""

    def __init__(
        self,
        job_table: JobTable,
        warm: Mapping[str, WarmNodes],
        engine: PoweredEngine,
        schedule_soon: Callable[[], None],
        on_cost: Callable[[Job], None],
    ) -> None:
        self.job_table = job_table
        self.warm_nodes = warm
        self.engine = engine
        self._schedule_soon = schedule_soon
        self._warm_of = {name: one for one in warm.values() for name in one.names}
        self._failed: dict[str, float] = {}  # node -> time of the next attempt
        self.hours = NodeHours(job_table, on_cost)
        self._charged_at = 0.0
        self._unprobed: set[str] = set()  # orders that are up and have not yet probed all connections to other orders
        self.placement = WarmPlacement(job_table, warm, engine)
        self.prospects = NodeProspects(job_table, warm, engine, self.hours, schedule_soon)
        self.requests = PowerRequests(job_table, self._warm_of)
        self._task: asyncio.Task[None] | None = None
        busy = json.loads(job_table.store.read_note(_BUSY_NOTE) or "{}")
        for name in self._warm_of:
            node = job_table.nodes[name]
            node.last_busy_time = busy.get(name, 0.0)
            node.flags |= NodeFlag.CLOUD | NodeFlag.POWERED_DOWN
            node.version = ""  # no agent has registered yet
            if node.state is NodeState.DOWN and node.reason_user == _SLURM_USER:
                self._failed[name] = 0.0
            job_table.refresh_node(node)

    # --- what the engine reports

    def apply_power_event(self, event: Power) -> None:
        """Apply a node's new power state."""
        node = self.job_table.nodes.get(event.node)
        if node is None:
            return
        state, why = event.state, event.why
        if state == "met":  # jobs of several nodes may have waited for this
            order = self.engine.fleet.order_of(event.node)
            self._unprobed.discard(order.name if order is not None else "")
            self._schedule_soon()
            return
        if state in ("outdated", "taken"):  # powered down as soon as its jobs have ended
            if node.config.name not in self.requests:
                log.warning("node %s: %s", node.config.name, why)
                self._request_once_idle(node.config.name, NodeFlag.POWER_DOWN, why)
            return
        node.flags = node.flags & ~(POWER_FLAGS | _DONE.get(state, NodeFlag.NONE)) | _FLAGS[state]
        if state == "leaving" and self.requests.is_reboot(node.config.name):
            node.flags = node.flags & ~NodeFlag.REBOOT | NodeFlag.REBOOT_ISSUED
        now = self.job_table.clock()
        if state in ("off", "failed"):
            self.hours.node_down(node.config.name)
        if state == "up":
            self._node_up(node, now)
        elif state == "coming":
            if node.state is not NodeState.DOWN and not node.flags & NodeFlag.DRAIN:
                node.reason, node.reason_time, node.reason_user = "", 0.0, ""
        elif state == "failed":
            node.state, node.reason, node.reason_time, node.reason_user = NodeState.DOWN, why, now, _SLURM_USER
            self._failed[node.config.name] = now + FAILED_S
        elif state in ("off", "leaving"):
            node.boot_time = node.agent_start_time = 0.0
            node.instance_id = node.instance_type = ""
            if why:
                log.warning("node %s: %s", node.config.name, why)
        if state in ("off", "failed") or (state == "leaving" and not self.requests.is_reboot(node.config.name)):
            self._complete_request(node)
        self.job_table.refresh_node(node)
        self._schedule_soon()

    def _complete_request(self, node: Node) -> None:
        """Complete a request whose node is off."""
        request = self.requests.remove(node.config.name)
        if request is not None and request.flag == NodeFlag.REBOOT.name:
            asyncio.get_running_loop().call_soon(self._rebooted, node, request.down)

    def _rebooted(self, node: Node, down: bool) -> None:
        """Complete a reboot once the node is off. The node is powered up again, or set DOWN."""
        if down:
            node.flags &= ~NodeFlag.REBOOT_ISSUED
            node.state, node.reason, node.reason_user = NodeState.DOWN, "reboot complete", "root"
            node.reason_time = self.job_table.clock()
            self.job_table.refresh_node(node)
        elif self.engine.fleet.order_of(node.config.name) is None:
            self.engine.fleet.order([node.config.name])

    def _node_up(self, node: Node, now: float) -> None:
        order = self.engine.fleet.order_of(node.config.name)
        if order is not None and not node.boot_time:
            self._unprobed.add(order.name)
            node.boot_time = node.agent_start_time = order.up_at or now
            node.version = RELEASE
            node.last_busy_time = max(node.last_busy_time, order.up_at)
            info, config = order.info.get(node.config.name, CloudNodeInfo()), node.config
            if order.existing:  # nodes of an existing cluster keep their real size
                config = detected_size(config, info)
            if info.address:
                config = replace(config, address=info.ip, port=info.port)
            host, arch, system = info.host or config.host_name, info.arch or config.arch, info.os or config.os
            self.job_table.replace_node_config(replace(config, host_name=host, arch=arch, os=system))
            node.instance_id, node.instance_type = order.name, description(order)
            self.hours.node_up(order.partition, node.config.name, order.price, order.up_at or now)

    # --- decisions

    def begin(self) -> None:
        """Check the nodes at intervals, until closed."""
        for name in self.requests.names:  # requests of an earlier controller whose node is off now
            if self.engine.fleet.order_of(name) is None:
                self._complete_request(self.job_table.nodes[name])
        self._task = background(self._run())

    async def _run(self) -> None:
        while True:
            try:
                self.check()
            except (EngineError, OSError) as error:
                log.error("power saving: %s", error)
            await asyncio.sleep(POLL_S)

    def check(self) -> None:
        """Power down idle nodes, and power up those that must stay up.

        Nodes are powered down after SuspendTime or on request.
        """
        now = self.job_table.clock()
        if now - self._charged_at > CHARGE_S:
            self._charged_at = now
            self._keep_busy_times()
            for job in [self.job_table.jobs[job_id] for job_id in self.job_table.active]:
                if job.engine == self.engine.name:
                    self.hours.charge(job)
        for name, due in list(self._failed.items()):
            if now >= due:
                self._retry_failed(name)
        for partition, warm in self.warm_nodes.items():
            orders = [order for order in self.engine.fleet.orders.values() if order.partition == partition]
            staying = sum(len(order.nodes) for order in orders if order.phase != "leaving")
            for order in orders:
                if order.phase == "leaving" or self._in_use(order):
                    continue
                # SkyPilot releases a cluster as a whole: one node's request is completed once all of them are idle.
                requested = any(self.job_table.nodes[node].flags & _OFF_REQUESTS for node in order.nodes)
                spare = not order.existing and order.phase == "up" and staying - len(order.nodes) >= warm.keep_up
                idle = spare and self._idle_seconds(order, now) >= _limit(warm)
                if requested or idle:
                    staying -= len(order.nodes)
                    self.engine.fleet.down(order)
            if not self._power_down_for_job(warm, orders):
                self._keep_up(warm, max(0, (len(warm.names) if warm.cluster else warm.keep_up) - staying))

    def _power_down_for_job(self, warm: WarmNodes, orders: Sequence[Order]) -> bool:
        """Power down idle nodes that a pending job needs in a larger order.

        One order then starts them with nodes that are off, because only nodes of one order are certain to have
        connections. Return True while nodes power down for such a job.
        """
        idle = [order for order in orders if not order.existing and not self._in_use(order)]
        if not idle or self._unprobed.intersection(order.name for order in orders):
            return False
        for job_id in self.job_table.pending:
            job = self.job_table.jobs[job_id]
            if job.reason == "Resources":
                found = (self._nodes_to_restart(job, name, warm) for name in job.partition.split(","))
                chosen = set(next(filter(None, found), []))
                for order in idle:
                    if order.phase != "leaving" and chosen.intersection(order.nodes):
                        log.info("order %s: powered down, so that job %d gets nodes of one order", order.name, job_id)
                        self.engine.fleet.down(order)
                if chosen:
                    return True
        return False

    def _nodes_to_restart(self, job: Job, partition: str, warm: WarmNodes) -> list[str]:
        """Nodes on which a job can start only after one order starts all."""
        names = [node.name for node in self.job_table.partition_nodes.get(partition, ()) if node.name in warm.names]
        uses = [self.job_table.uses[name] for name in names]
        demands = [demand_of(part.spec) for part in self.job_table.components(job)]
        if not uses or any(_separate_nodes(demands, group) for group in self.placement.neighbourhoods(uses)):
            return []
        return _separate_nodes(
            demands, self.job_table.reservations.open_to(job, self.placement.startable(uses), self.job_table.clock())
        )

    def _uses(self, order: Order) -> list[NodeUse]:
        return [self.job_table.uses[node] for node in order.nodes]

    def _in_use(self, order: Order) -> bool:
        return any(use.jobs for use in self._uses(order))

    def _idle_seconds(self, order: Order, now: float) -> float:
        return now - max(order.up_at, *(self.job_table.nodes[node].last_busy_time for node in order.nodes))

    def _keep_up(self, warm: WarmNodes, count: int) -> None:
        if warm.cluster:
            nodes = [self.job_table.nodes[name] for name in warm.names]
            if count and all(node.state is not NodeState.DOWN for node in nodes) and warm.cluster not in self._orders():
                self.engine.fleet.order(list(warm.names))
            return
        blocked = NodeFlag.DRAIN | NodeFlag.FAIL | NodeFlag.POWER_DOWN
        for name in warm.names:
            node = self.job_table.nodes[name]
            off = self.engine.fleet.order_of(name) is None
            if count and off and not node.flags & blocked and node.state is not NodeState.DOWN:
                self.engine.fleet.order([name])
                count -= 1

    def _orders(self) -> set[str]:
        return {order.name for order in self.engine.fleet.orders.values()}

    def _retry_failed(self, name: str) -> None:
        del self._failed[name]
        node = self.job_table.nodes[name]
        if node.state is NodeState.DOWN and node.reason_user == _SLURM_USER:
            node.state, node.reason, node.reason_time, node.reason_user = NodeState.IDLE, "", 0.0, ""
            self.job_table.refresh_node(node)
            self._schedule_soon()

    def on_job_event(self, event: str, job: Job) -> None:
        """Record the final cost of a job that has ended."""
        if event == "ended" and job.engine == self.engine.name:
            self.hours.charge(job)

    # --- scontrol

    def is_warm(self, name: str) -> bool:
        """True if this controller powers the node up and down."""
        return name in self._warm_of

    def power_up(self, name: str) -> None:
        """Power up a node that is off (POWER_UP). A node that is up keeps its request to power down."""
        node = self.job_table.nodes[name]
        if self.engine.fleet.order_of(name) is None:
            if node.state is NodeState.DOWN:
                node.state, node.reason = NodeState.IDLE, ""
            node.last_busy_time = self.job_table.clock()
            self.engine.fleet.order([name])
        self.job_table.refresh_node(node)

    def power_down(self, name: str, asap: str = "", user: str = _SLURM_USER) -> bool:
        """Power down a node once it is idle (POWER_DOWN).

        ``asap``: the reason for which the node drains until then. Returns False for a node that is off or is never
        powered down.
        """
        order = self.engine.fleet.order_of(name)
        if order is None or order.phase == "leaving" or order.existing:
            return False
        self._request_once_idle(name, NodeFlag.POWER_DOWN, asap, user)
        return True

    def resume(self, name: str) -> bool:
        """Treat a node that is powering down as off, or cancel its reboot (RESUME); False for other nodes."""
        order = self.engine.fleet.order_of(name)
        if order is None or order.phase != "leaving":
            return self.cancel_reboot(name)
        self.engine.fleet.release(order)
        return True

    def reboot(self, name: str, asap: bool, down: bool) -> None:
        """Reboot a node once it is idle. ``asap``: start no job before. ``down``: set it DOWN afterwards."""
        if self.engine.fleet.order_of(name) is None:
            self.power_up(name)
            return
        self._request_once_idle(name, NodeFlag.REBOOT, "Reboot ASAP" if asap else "", down=down)

    def _request_once_idle(
        self, name: str, flag: NodeFlag, drain: str, user: str = _SLURM_USER, down: bool = False
    ) -> None:
        """Store a request. ``drain``: why no job starts on the node before; "": jobs do."""
        node = self.job_table.nodes[name]
        if drain and not node.reason:
            node.reason, node.reason_time, node.reason_user = drain, self.job_table.clock(), user
        self.requests.add(name, flag, bool(drain), down)
        self.job_table.refresh_node(node)
        self.check()

    def cancel_reboot(self, name: str) -> bool:
        """Cancel a reboot that has not begun; False if there is none."""
        if not self.requests.is_reboot(name):
            return False
        self.requests.remove(name)
        self.job_table.refresh_node(self.job_table.nodes[name])
        return True

    def _keep_busy_times(self) -> None:
        """Store the time of each node's last job, for the next controller."""
        busy = {name: self.job_table.nodes[name].last_busy_time for name in self._warm_of}
        self.job_table.store.put_note(_BUSY_NOTE, json.dumps(busy))

    async def close(self) -> None:
        """Stop the checks; nodes keep their power state."""
        self._keep_busy_times()
        if self._task is not None:
            await cancel_all([self._task])


def _separate_nodes(demands: Sequence[Demand], nodes: Sequence[NodeUse]) -> list[str]:
    """Separate nodes for each component; [] if there are too few."""
    names: list[str] = []
    for demand in demands:
        shares = place(demand, [use for use in nodes if use.config.name not in names])
        if shares is None:
            return []
        names += [share.name for share in shares]
    return names


def _limit(warm: WarmNodes) -> float:
    return float("inf") if warm.suspend_time_s is None else warm.suspend_time_s
