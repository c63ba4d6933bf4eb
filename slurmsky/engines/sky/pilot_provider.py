"""Warm nodes on SkyPilot: a cluster with one job, the agents.

Clusters are used instead of managed jobs because SkyPilot gives users ssh to clusters, reports their price, and ends
them by autodown once their job has ended, without help from slurmsky. Source: sky/server/server.py, sky/core.py of
SkyPilot 0.14.1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import time
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from ...agent.cloud.node_info import CloudNodeInfo
from ...agent.cloud.pilot import MARK
from ...model import plain
from ...protocol.node_settings import FILE, PilotSettings
from ...site import Site
from ...site.record import WarmNodes
from ...translate.sky_task.sky_names import docker_image, label
from ..base import EngineError, background, cancel_all
from ..nodes.provider import BringUpFailed, Say, TemporarilyUnavailable, Tunnel
from ..powered import Order
from ..relay.head_connection import HeadUnreachable
from . import intervals
from .account import existing_cluster, prices
from .api.api_client import Client
from .api.api_errors import Interrupted, Rejected, SkyError
from .head import certificates
from .head.node_access import SshTunnel as SshTunnel
from .launch import node_program, shipment

log = logging.getLogger("slurmsky.sky")

LAUNCH_S = 86400.0
#: minutes after which SkyPilot ends a cluster without a job
AUTODOWN_MINUTES = 1
_MARKED = re.compile(re.escape(MARK) + r"(\{.*\})")
_ENDED = ("SUCCEEDED", "FAILED", "FAILED_DRIVER", "FAILED_SETUP", "CANCELLED")
_CERTIFICATE_DAYS = 180
START = shipment.START.replace('$folder/../AGENT" cloud "$folder"', '$folder/AGENT" pilot "$folder"')
#: seconds for which a bring-up waits for its description after its agents have answered
DESCRIBE_S = 2.0


def task_fields(warm: WarmNodes, order: Order, site: Site) -> dict[str, Any]:
    """Return an order's task without its shipment. Resources of the node type, at the partition's infras."""
    size = {"num_nodes": len(order.nodes)} if len(order.nodes) > 1 else {}
    if warm.cluster:  # an existing cluster: a task without resources runs on its nodes
        return {"name": existing_cluster.pilot_name(order.partition, order.folder.name), **size}
    shape, sky = warm.shape, site.sky_partition(order.partition)
    resources: dict[str, Any] = {"cpus": shape.cpus, "memory": shape.memory}
    if shape.gpus:
        resources["accelerators"] = shape.gpus
    if shape.disk:
        resources["disk_size"] = shape.disk
    if shape.instance_type or sky.instance_type:
        resources["instance_type"] = shape.instance_type or sky.instance_type
    image = shape.image or sky.image
    if image:
        resources["image_id"] = image if image.startswith("docker:") else docker_image(image)
    if shape.spot:
        resources["use_spot"] = True
    if sky.price_ceiling is not None:
        resources["max_hourly_cost"] = sky.price_ceiling
    if len(sky.infra) == 1:
        resources["infra"] = sky.infra[0]
    elif sky.infra:
        resources["ordered"] = [{"infra": infra} for infra in sky.infra]
    labels = {"slurmsky-partition": order.partition, "slurmsky-nodes": order.nodes[0], **dict(sky.labels)}
    resources["labels"] = {key: label(value) for key, value in labels.items()}
    # In the launch, so that it holds before anything of ours runs. It costs five seconds of a cold start: SkyPilot
    # refreshes the status of such a cluster before it shows its log (backend_utils._must_refresh_cluster_status).
    resources["autostop"] = {"idle_minutes": AUTODOWN_MINUTES, "down": True}
    fields: dict[str, Any] = {"name": order.name, "resources": resources, **size}
    if sky.volumes:
        fields["volumes"] = dict(sky.volumes)
    return fields


class Pilots:
    """Provider of warm nodes on clusters of SkyPilot.

    Implements engines.nodes.provider.Provider. ``folder``: certificates and programs.
    """

    def __init__(self, client: Client, site: Site, folder: Path) -> None:
        self._client = client
        self._site = site
        self._folder = folder
        self._program: Path | None = None

    # --- shipment

    def prepare(self, order: Order) -> None:
        """Write the order's folder: certificates, settings and task. Raises EngineError, OSError."""
        warm = dict(self._site.warm_nodes)[order.partition]
        if self._program is None or not self._program.exists():
            self._program = node_program.build(self._folder / "programs")
        program = self._program
        order.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tls = self._certificates()
        ship = order.folder / "ship"
        ship.mkdir(mode=0o700, exist_ok=True)
        for target in (order.folder / "tls", ship / "tls"):
            shutil.copytree(tls, target, dirs_exist_ok=True)
        settings = PilotSettings(
            order=order.folder.name,
            nodes=tuple(order.nodes),
            spot=warm.shape.spot or bool(warm.cluster),  # of an existing cluster that is not known
            idle_s=self._site.sky.idle_minutes * 60 or 365 * 86400,
            owner=existing_cluster.owner() if self._exclusive(order) else "",
        )
        _private(ship / FILE, json.dumps(settings.encode()))
        _private(ship / "start.sh", START.replace("AGENT", program.name))
        copy = ship / program.name  # SkyPilot copies file mounts sequentially, so all files are in one mount
        if not copy.exists():
            shutil.copyfile(program, copy)
            copy.chmod(0o600)
        remote = f"{shipment.REMOTE}/{order.folder.name}"
        fields = task_fields(warm, order, self._site)
        fields["file_mounts"] = {remote: str(ship)}
        fields["run"] = f"sh {remote}/start.sh\n"
        if not self._client.access.local:
            order.notes.blob = shipment.zip_folder(ship, order.folder / "ship.zip")
            fields["file_mounts_mapping"] = {str(ship): str(ship)}
        _private(order.folder / "task.yaml", json.dumps(fields))  # JSON is YAML

    def _exclusive(self, order: Order) -> bool:
        """True if the nodes of an existing cluster are for one user at a time."""
        partition = self._site.cluster.partition(order.partition)
        return bool(order.existing and partition is not None and partition.exclusive_user)

    @staticmethod
    def _pilot_name(order: Order) -> str:
        return existing_cluster.pilot_name(order.partition, order.folder.name)

    def _certificates(self) -> Path:
        """Return the certificates that nodes of all orders share.

        By these the nodes of several orders can connect to each other.
        """
        tls = self._folder / "tls"
        crt = tls / "node.crt"
        if not crt.exists() or time.time() - crt.stat().st_mtime > _CERTIFICATE_DAYS * 86400:
            shutil.rmtree(tls, ignore_errors=True)
            certificates.make(tls, "warm nodes")
        return tls

    # --- Provider

    async def up(self, order: Order, say: Say) -> None:
        pricing = background(self._price(order))
        try:
            await self._up(order, say, pricing)
        finally:
            await cancel_all([pricing])  # else a client that is closed now leaves the connection of its request open

    async def _up(self, order: Order, say: Say, pricing: asyncio.Task[None]) -> None:
        for attempt in range(1 << 30):
            try:
                job_id = await self._launched(order)
                beside = [background(self._place(order))]
                if order.existing:
                    beside.append(background(self._report_wait(order, say)))
                try:
                    await self._listen(order, job_id)
                    await asyncio.wait({pricing, beside[0]}, timeout=DESCRIBE_S)
                finally:
                    await cancel_all(beside)
                return
            except SkyError as error:
                if not error.may_succeed_later:
                    raise BringUpFailed(str(error)) from error
                if isinstance(error, Interrupted):
                    order.notes.request = ""
                say(f"waiting for SkyPilot: {error}")
            await asyncio.sleep(intervals.retry_s(attempt))

    async def _launched(self, order: Order) -> int:
        """Return the id of the cluster's job, launched if needed."""
        if order.notes.job:
            return order.notes.job
        if not order.notes.request:
            resources = await self._existing_resources(order) if order.existing else {}
            if order.notes.sent and await self._status(order) == "UP":
                # In this order: a launch that ends between the two requests has a job.
                launching = await self._client.launching(order.name)
                newest = await self._newest_job(order)
                if newest:
                    return self._found(order, newest)
                if launching:
                    raise Interrupted(f"cluster {order.name} has no job yet")
                log.info("cluster %s has no job: its launch was interrupted, and is repeated", order.name)
            order.notes.sent = True
            order.save()
            task = await asyncio.to_thread((order.folder / "task.yaml").read_text)
            body = {
                "task": json.dumps({**json.loads(task), "resources": resources}) if resources else task,
                "cluster_name": order.name,
                "retry_until_up": True,
                "quiet_optimizer": True,
            }
            if order.notes.blob:
                await self._client.upload(order.notes.blob, order.folder / "ship.zip")
                body["file_mounts_blob_id"] = order.notes.blob
            order.notes.request = await self._client.post("/launch", body)
            order.accepted_at = time.time()
            order.save()
        value = await self._client.result(order.notes.request, LAUNCH_S)
        job_id = value.get("job_id") if isinstance(value, dict) else None
        if not isinstance(job_id, int):
            raise BringUpFailed(f"the launch of cluster {order.name} was cancelled")
        return self._found(order, job_id)

    async def _existing_resources(self, order: Order) -> dict[str, Any]:
        """Resources to request on an existing cluster. Raises BringUpFailed where it cannot be used."""
        row = await self._row(order)
        if row.get("status") != "UP":
            raise BringUpFailed(f"there is no SkyPilot cluster {order.name} that is UP")
        cluster = existing_cluster.read(row)
        objection = cluster.objection(order.name, len(order.nodes))
        if self._exclusive(order) and not objection:
            jobs = await existing_cluster.jobs(self._client, order.name, everyone=True)
            other = existing_cluster.other_owner(jobs, self._pilot_name(order))
            objection = f"cluster {order.name} is in use by {other} (ExclusiveUser)" if other else ""
        if objection:
            raise BringUpFailed(objection)
        return cluster.resources

    async def _report_wait(self, order: Order, say: Say) -> None:
        """Report the jobs that hold the cluster's resources while the pilot is pending.

        A pilot requests all devices of the nodes, and on a Slurm infra SkyPilot gives CPUs to one job only.
        """
        with suppress(SkyError):
            while await self._job_status(order) in ("INIT", "PENDING"):
                jobs = await existing_cluster.jobs(self._client, order.name, everyone=True)
                held = existing_cluster.holders(jobs, self._pilot_name(order))
                if held:
                    say(f"cluster {order.name} is used by {held}")
                await asyncio.sleep(intervals.RUNNING_POLL_S)

    def _found(self, order: Order, job_id: int) -> int:
        order.notes.job = job_id
        order.accepted_at = order.accepted_at or time.time()
        order.save()
        return job_id

    async def _newest_job(self, order: Order) -> int:
        """Return the id of the cluster's newest job (of the order, if existing); 0: none."""
        jobs = await self._client.call("/queue", {"cluster_name": order.name, "skip_finished": False})
        if order.existing:
            name = self._pilot_name(order)
            jobs = [job for job in jobs or () if job.get("job_name") == name]
        return max((int(job["job_id"]) for job in jobs or () if job.get("job_id")), default=0)

    async def _listen(self, order: Order, job_id: int) -> None:
        """Read the job's log until every node reported its address. Raises SkyError, BringUpFailed."""
        rest = b""
        async with aclosing(self._client.cluster_logs(order.name, job_id, follow=True)) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    found = _MARKED.search(line.decode("utf-8", "replace"))
                    if found:
                        info = plain.read(CloudNodeInfo, json.loads(found[1]))
                        if info.refused:
                            raise BringUpFailed(info.refused)
                        order.info[order.nodes[info.rank]] = info
                if len(order.info) == len(order.nodes):
                    if order.existing:
                        cluster = existing_cluster.read(await self._row(order))
                        order.info = {node: cluster.narrowed(info) for node, info in order.info.items()}
                    order.save()
                    return
        status = await self._job_status(order)
        if status in _ENDED:
            raise BringUpFailed(f"the agents of cluster {order.name} ended at once ({status}): sky logs {order.name}")
        raise Interrupted(f"the log of cluster {order.name} was cut off")

    async def _price(self, order: Order) -> None:
        """Record a node's price if SkyPilot knows it. Runs during the launch, which takes longer."""
        try:
            order.price = await self.price(order.partition, len(order.nodes))
        except SkyError as error:
            log.info("cluster %s: %s", order.name, error)

    async def price(self, partition: str, nodes: int = 1) -> float:
        warm = dict(self._site.warm_nodes)[partition]
        if warm.cluster:
            return round(await existing_cluster.node_price(self._client, warm.cluster, len(warm.names)), 6)
        fields = task_fields(warm, Order("", partition, list(warm.names[:nodes])), self._site)
        return round((await prices.hourly_price(self._client, prices.price_task(fields)) or 0.0) / nodes, 6)

    async def _place(self, order: Order) -> None:
        """Record infra, region and instance type of the nodes."""
        try:
            row = await self._row(order)
        except SkyError as error:
            log.info("cluster %s: %s", order.name, error)
            return
        infra = str(row.get("infra") or "/".join(str(row[key]) for key in ("cloud", "region") if row.get(key)))
        order.place = " ".join(filter(None, (infra, str(row.get("resources_str") or ""))))

    async def alive(self, order: Order) -> bool:
        status = ""
        try:
            status = await self._status(order, refresh="FORCE")
            return bool(status) and await self._job_status(order) not in _ENDED
        except SkyError as error:
            if status == "INIT" and not error.may_succeed_later and not order.existing:
                return False  # some of its nodes, including the first, no longer exist: a preempted spot node
            raise TemporarilyUnavailable(str(error)) from error

    async def down(self, order: Order) -> None:
        try:
            if order.notes.request and not order.notes.job:
                try:
                    await self._client.call("/api/cancel", {"request_ids": [order.notes.request]})
                except SkyError as error:
                    log.info("cluster %s: its launch could not be cancelled: %s", order.name, error)
            if order.existing:  # its pilot may be pending, and would start later
                if order.notes.job:
                    await self._client.call("/cancel", {"cluster_name": order.name, "job_ids": [order.notes.job]})
            elif order.notes.sent:
                await self._client.call("/down", {"cluster_name": order.name})
        except Rejected as error:
            gone = "DoesNotExist" in error.kind or any(w in str(error) for w in ("does not exist", "not found"))
            if order.existing and "NotUp" in error.kind:
                gone = await self._status(order) != "INIT"  # which it is during another user's launch, too
                if not gone:
                    raise TemporarilyUnavailable(str(error)) from error
            if not gone:
                raise EngineError(str(error)) from error
        except SkyError as error:
            raise TemporarilyUnavailable(str(error)) from error

    def tunnel(self, order: Order, node: str) -> Tunnel | None:
        folder = order.folder / node
        folder.mkdir(mode=0o700, exist_ok=True)
        return _Tunnel(order.name, order.address(node), folder)

    async def _status(self, order: Order, refresh: str = "NONE") -> str:
        """Return UP, INIT, or "" for a cluster without nodes."""
        word = str((await self._row(order, refresh)).get("status", ""))
        return word if word in ("UP", "INIT") else ""

    async def _row(self, order: Order, refresh: str = "NONE") -> dict[str, Any]:
        body: dict[str, Any] = {"cluster_names": [order.name], "include_credentials": False, "include_handle": False}
        body |= {"summary_response": True, "refresh": refresh}
        rows = await self._client.call("/status", body)
        return next((row for row in rows or () if isinstance(row, dict)), {})

    async def _job_status(self, order: Order) -> str:
        body = {"cluster_name": order.name, "job_ids": [order.notes.job]}
        value = await self._client.call("/job_status", body)
        word = str(next(iter((value or {}).values()), None) or "") if isinstance(value, dict) else ""
        return word.rpartition(".")[2]


class _Tunnel(SshTunnel):
    """SkyPilot's ssh to a cluster, with a provider's errors."""

    async def path(self) -> str:
        try:
            return await super().path()
        except HeadUnreachable as error:
            raise TemporarilyUnavailable(str(error)) from error


def _private(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
