"""Power management of warm nodes, by orders. An order has the phases requested, up and leaving."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import statistics
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ...site.record import WarmNodes
from ..base import EngineError, background, cancel_all, spawn
from ..powered import Order
from .provider import BringUpFailed, Provider, TemporarilyUnavailable

log = logging.getLogger("slurmsky.nodes")

RETRY_S = (1.0, 2.0, 5.0, 15.0, 30.0)
#: expected seconds of a bring-up before the first measurement
FIRST_GUESS_S = 120.0
_REMEMBERED = 15
#: (node, state, why): the state is off, coming, up, leaving or failed
OnNodeState = Callable[[str, str, str], None]


class Fleet:
    """Powers nodes up and down.

    ``folder`` holds a folder per order; ``on_state`` receives each change of a node's state.
    """

    def __init__(
        self,
        folder: Path,
        warm: Mapping[str, WarmNodes],
        provider: Provider,
        on_state: OnNodeState,
        prepare: Callable[[Order], None],
    ) -> None:
        self.folder = folder
        self.warm_nodes = warm
        self.provider = provider
        self._on_state = on_state
        self._prepare = prepare  # writes the files that the nodes need into the order's folder
        self._partition = {node: name for name, one in warm.items() for node in one.names}
        self.orders: dict[str, Order] = {}
        self._of: dict[str, Order] = {}  # by node
        self._bring_ups: dict[str, asyncio.Task[None]] = {}  # by order
        self._delay_callbacks: dict[str, list[Callable[[str], None]]] = {}  # by order: callbacks for delays
        self._bring_up_times: dict[str, deque[float]] = {}  # seconds of past bring-ups, by partition
        self._leaving: set[asyncio.Task[None]] = set()
        #: called when an order has ended or failed
        self.on_over: Callable[[Order], None] = lambda order: None

    # --- state of nodes

    def order_of(self, node: str) -> Order | None:
        """The node's current order."""
        return self._of.get(node)

    def is_up(self, node: str) -> bool:
        """True if a node's agent has started and no power-down is ordered."""
        order = self._of.get(node)
        return order is not None and order.phase == "up"

    def address(self, node: str) -> str:
        """host:port of a node's agent. Raises EngineError."""
        order = self._of.get(node)
        if order is None or not order.address(node):
            raise EngineError(f"node {node} is not up")
        return order.address(node)

    def ready_in(self, nodes: Iterable[str]) -> float:
        """Seconds until all these nodes are expected up; 0.0 if all are up."""
        longest = 0.0
        for node in nodes:
            order = self._of.get(node)
            if order is not None and order.phase == "up":
                continue
            passed = time.time() - order.requested_at if order is not None and order.phase == "requested" else 0.0
            longest = max(longest, self.usual_s(self._partition[node]) - passed, 1.0)
        return longest

    def usual_s(self, partition: str) -> float:
        """Usual seconds of a bring-up in a partition."""
        took = self._bring_up_times.get(partition)
        return statistics.median(took) if took else FIRST_GUESS_S

    # --- up

    async def up(self, nodes: Sequence[str], say: Callable[[str], None]) -> None:
        """Wait until all these nodes are up. Raises EngineError. One order powers up those that are off."""
        orders = [self.order(list(group)) for group in self._off(nodes)]
        orders += [self._of[node] for node in nodes if node in self._of]
        for order in {order.name: order for order in orders}.values():
            task = self._bring_ups.get(order.name)
            if task is not None:
                self._delay_callbacks.setdefault(order.name, []).append(say)
                try:
                    await asyncio.shield(task)
                except asyncio.CancelledError:
                    if not task.cancelled():
                        raise
                finally:
                    hearers = self._delay_callbacks.get(order.name, [])
                    if say in hearers:
                        hearers.remove(say)
        for node in nodes:
            if not self.is_up(node):
                raise EngineError(f"node {node} did not come up")

    def _off(self, nodes: Sequence[str]) -> list[list[str]]:
        groups: dict[str, list[str]] = {}
        for node in nodes:
            order = self._of.get(node)
            if order is None:
                groups.setdefault(self._partition[node], []).append(node)
            elif order.phase == "leaving":
                raise EngineError(f"node {node} is powering down")
        return list(groups.values())

    def order(self, nodes: list[str]) -> Order:
        """Power up nodes by one order, in the background."""
        partition = self._partition[nodes[0]]
        existing = self.warm_nodes[partition].cluster
        name = existing or f"kept-{partition.lower()[:16]}-{uuid.uuid4().hex[:8]}"
        key = f"{name}-{uuid.uuid4().hex[:6]}" if existing else name
        order = Order(
            name, partition, list(nodes), requested_at=time.time(), existing=bool(existing), folder=self.folder / key
        )
        self._prepare(order)
        order.save()
        self._adopt(order)
        self._begin(order)
        return order

    def _adopt(self, order: Order) -> None:
        self.orders[order.name] = order
        for node in order.nodes:
            self._of[node] = order

    def _begin(self, order: Order) -> None:
        task = self._bring_ups[order.name] = background(self._bring_up(order))
        task.add_done_callback(lambda _: self._bring_up_ended(order.name, task))
        for node in order.nodes:
            self._on_state(node, "coming", "")

    def _bring_up_ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._bring_ups.get(name) is task:
            del self._bring_ups[name]

    async def _bring_up(self, order: Order) -> None:
        def say(text: str) -> None:
            for listener in tuple(self._delay_callbacks.get(order.name, ())):
                listener(text)

        work = spawn(self.provider.up(order, say))
        try:
            while not work.done():
                limit = self.warm_nodes[order.partition].resume_timeout_s
                left = order.accepted_at + limit - time.time() if order.accepted_at else 1.0
                if left <= 0:
                    raise BringUpFailed(f"ResumeTimeout reached: not up after {limit} s")
                await asyncio.wait({work}, timeout=min(left, 1.0))
            work.result()
        except (EngineError, OSError) as error:
            log.warning("order %s (%s): %s", order.name, ",".join(order.nodes), error)
            self.forget(order, str(error))
            return
        finally:
            await cancel_all([work])
        order.phase, order.up_at = "up", time.time()
        order.save()
        self._bring_up_times.setdefault(order.partition, deque(maxlen=_REMEMBERED)).append(
            order.up_at - order.requested_at
        )
        self._keep_history()
        for node in order.nodes:
            self._on_state(node, "up", "")

    # --- down

    def down(self, order: Order) -> None:
        """Power down an order's nodes in the background, with retries."""
        if order.phase == "leaving":
            return
        order.phase = "leaving"
        order.save()
        for node in order.nodes:
            self._on_state(node, "leaving", "")
        coming = self._bring_ups.pop(order.name, None)
        if coming is not None:
            coming.cancel()
        self._begin_down(order, "")

    def forget(self, order: Order, why: str) -> None:
        """Abandon an order whose nodes are lost or did not start. Its remaining nodes are powered down."""
        order.phase = "leaving"
        order.save()
        self._begin_down(order, why)

    def release(self, order: Order) -> None:
        """Treat an order's nodes as off during its power-down. Another order can power them up at once."""
        self._release(order, "off", "")

    def _begin_down(self, order: Order, why: str) -> None:
        task = background(self._take_down(order, why))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _take_down(self, order: Order, why: str) -> None:
        if why:
            # Lost nodes may belong to a new order at once.
            self._release(order, "off" if order.up_at else "failed", why)
        for attempt in range(1 << 30):
            try:
                await self.provider.down(order)
                break
            except TemporarilyUnavailable as error:
                log.info("order %s: %s", order.name, error)
            except EngineError as error:
                log.error("order %s cannot be taken down: %s", order.name, error)
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        await asyncio.to_thread(shutil.rmtree, order.folder, ignore_errors=True)
        if self.orders.get(order.name) is order:  # nodes of an existing cluster may have been ordered again
            del self.orders[order.name]
        if not why:
            self._release(order, "off", "")

    def _release(self, order: Order, state: str, why: str) -> None:
        self.on_over(order)
        for node in order.nodes:
            if self._of.get(node) is order:
                del self._of[node]
                self._on_state(node, state, why)

    # --- restart of the controller

    def load(self) -> None:
        """Load the orders of an earlier controller."""
        try:
            history = json.loads((self.folder / "history.json").read_text())
            self._bring_up_times = {name: deque(map(float, took), maxlen=_REMEMBERED) for name, took in history.items()}
        except (OSError, ValueError):
            self._bring_up_times = {}
        for path in sorted(self.folder.glob("*/order.json")):
            try:
                order = Order.load(path.parent)
            except (OSError, ValueError, TypeError) as error:
                log.error("%s: %s", path, error)
                continue
            if order.phase != "leaving" and all(self._partition.get(node) == order.partition for node in order.nodes):
                self._adopt(order)
                if order.phase == "requested":
                    self._begin(order)
                else:
                    for node in order.nodes:
                        self._on_state(node, "up", "")
                continue
            if order.phase == "leaving":
                self._adopt_leaving(order)
            order.phase = "leaving"  # or the site file has no such nodes
            self._begin_down(order, "")

    def _adopt_leaving(self, order: Order) -> None:
        for node in order.nodes:
            if node in self._partition and node not in self._of:
                self._of[node] = order
                self._on_state(node, "leaving", "")

    def _keep_history(self) -> None:
        data = {name: list(took) for name, took in self._bring_up_times.items()}
        (self.folder / "history.json").write_text(json.dumps(data))

    def close(self) -> list[asyncio.Task[None]]:
        """Close; return the cancelled tasks. The nodes stay, and the next controller resumes the orders."""
        tasks = [*self._bring_ups.values(), *self._leaving]
        for task in tasks:
            task.cancel()
        return tasks
