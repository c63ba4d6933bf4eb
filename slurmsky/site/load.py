"""Parses a site file into a Site, or builds the default Site."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from ..model.policy import NORMAL, AccountConfig, Limits, QosConfig
from ..model.spec import DeclaredOption
from . import schema
from .record import (
    Budget,
    GpuNames,
    MachineHardware,
    ModuleConfig,
    PartitionSky,
    PathMap,
    Route,
    Site,
    SiteError,
    SkyConfig,
    WarmNodes,
)
from .warm_nodes import WARM_FIELDS, warm_nodes

_LINE_COLUMN = re.compile(r"^(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)$", re.DOTALL)
#: scontrol show config of a site that describes its QOS or accounts
_ENFORCED = (("AccountingStorageEnforce", "associations,limits,qos"),)
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")


def load(text: str, name: str, machine: MachineHardware | None = None) -> Site:
    """Parse the text of a site file.

    ``name`` is the file's name for messages. A file without [[node]] describes the site of ``machine`` (one node, as
    in default_site); without ``machine`` the cluster has no nodes. A file without [[partition]] gets the partition
    ``debug*`` with all nodes. Raises SiteError with line and column.
    """
    return _SiteReader(text, name).site(_parsed(text, name) if text else {}, machine)


def _parsed(text: str, name: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):  # here, because many users have no site file
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _LINE_COLUMN.match(str(error))
        if found:
            raise SiteError(name, int(found["line"]), int(found["column"]), found["what"]) from error
        # "... (at end of document)"
        lines = text.split("\n")
        raise SiteError(name, len(lines), len(lines[-1]) + 1, str(error)) from error


def default_site(machine: MachineHardware) -> Site:
    """Site of a machine without a site file. It has one node in one partition ``debug`` without limits."""
    return load("", "", machine)


def machine_node(machine: MachineHardware) -> NodeConfig:
    """Describe this machine as a node."""
    gres = tuple(("gpu", kind, number) for kind, number in Counter(machine.gpus).items())
    return NodeConfig(
        name=machine.short_name,
        host_name=machine.host_name,
        cpus=machine.cpus,
        sockets=machine.sockets,
        cores=machine.cores,
        threads=machine.threads,
        memory_mib=machine.memory_mib,
        tmp_mib=machine.tmp_mib,
        gres=gres,
        arch=machine.arch,
        os=machine.os,
    )


#: values that map all modules that the site file does not list
_MODULE_MAPS = ("shipped", "none")


def position_of_key(text: str, table: str, index: int, key: str) -> tuple[int, int]:
    """Line and column of a key in the index-th [[table]]."""
    return _SiteReader(text, "").position_of_key(table, index, key)


class _SiteReader:
    """Reader of tables by schema. It keeps the text, for the line and column of errors."""

    def __init__(self, text: str, name: str) -> None:
        self.lines = text.splitlines()
        self.name = name

    def site(self, data: Mapping[str, Any], machine: MachineHardware | None) -> Site:
        known = {*schema.TOP, *schema.TABLES, *schema.LISTS, *schema.FREE}
        for word in data:
            if word not in known:
                raise self.fault("", 0, word, _unknown(word, known))
        top = self.table("", 0, {word: data[word] for word in schema.TOP if word in data}, schema.TOP)
        tables = {
            word: self.table(word, 0, self.mapping(word, data.get(word, {})), keys)
            for word, keys in schema.TABLES.items()
        }
        lists = {
            word: [self.table(word, index, item, keys) for index, item in enumerate(self.items(word, data))]
            for word, keys in schema.LISTS.items()
        }
        free = {word: self.value(word, 0, "", read, data.get(word, {})) for word, read in schema.FREE.items() if read}

        nodes = self.nodes(lists["node"]) if lists["node"] else (machine_node(machine),) if machine else ()
        warm, cloud = warm_nodes(lists["partition"], {node.name for node in nodes}, self.fault)
        partitions, sky = self.partitions(lists["partition"], nodes, dict(warm))
        nodes += cloud
        qos, qos_routes = self.qos(lists["qos"])
        accounts, account_routes = self.accounts(lists["account"], {one.name for one in qos})
        for index, partition in enumerate(partitions):
            for word in filter(None, (partition.qos, *partition.allow_qos)):
                if qos and word not in {one.name for one in qos}:
                    key = "qos" if word == partition.qos else "allow_qos"
                    raise self.fault("partition", index, key, f"there is no QOS {word}")
        described = bool(lists["node"] or lists["partition"])
        unknown = top.get("unknown_partition", ())
        for _, target in unknown:
            if target != "refuse" and target not in {one.name for one in partitions}:
                raise self.fault("", 0, "unknown_partition", f"there is no partition {target}")
        limits = dict(tables["limits"])
        first_job_id = limits.pop("first_job_id", 1)
        enforce = dict(free["parameters"]).get("EnforcePartLimits")
        if enforce:
            read = schema.LIMITS["enforce_part_limits"].read
            limits["enforce_part_limits"] = self.value("parameters", 0, "EnforcePartLimits", read, enforce)
        cluster = ClusterConfig(
            nodes=nodes,
            partitions=partitions,
            licenses=free["licenses"],
            parameters=(*(_ENFORCED if qos or accounts else ()), *free["parameters"]),
            qos=qos,
            accounts=accounts,
            open=not tables["local"].get("strict", described),
            unknown_partition=unknown,
            declared_options=self.options(lists["option"]),
            **{key: value for key, value in top.items() if key == "name"},
            **limits,
            **tables["hooks"],
            **tables["mail"],
        )
        site = Site(
            cluster=cluster,
            engine=top.get("engine", "auto"),
            accounts=tuple(dict.fromkeys((*top.get("accounts", ()), *(one.name for one in accounts)))),
            qos_routes=qos_routes,
            account_routes=account_routes,
            sky=SkyConfig(**tables["sky"]),
            partition_sky=sky,
            warm_nodes=warm,
            gpus=GpuNames(**tables["gpus"]),
            modules=self.modules(data),
            shipped_modules=self.shipped_modules(data, cluster.open),
            environments=free["environments"],
            programs=free["programs"],
            paths=self.paths(free["paths"]),
            budgets=self.budgets(lists["budget"]),
            first_job_id=first_job_id,
            environment=free["environment"],
            source=self.name,
        )
        for index, partition in enumerate(cluster.partitions):
            found = site.sky_partition(partition.name)
            if found.arrays == "pool" and not found.pool:
                text = f'arrays = "pool" needs the name of a pool for partition {partition.name}: pool = ...'
                raise self.fault("partition", index, "arrays", text)
        return site

    def nodes(self, tables: list[dict[str, Any]]) -> tuple[NodeConfig, ...]:
        nodes: dict[str, NodeConfig] = {}
        for index, table in enumerate(tables):
            fields = {key: value for key, value in table.items() if key != "names"}
            size = NodeConfig(name="", **fields)
            product = size.boards * size.sockets * size.cores * size.threads
            if "cpus" not in fields:
                fields["cpus"] = product
            elif not {"boards", "sockets", "cores", "threads"} & set(fields):
                # slurm.conf: with CPUs= alone, each CPU is a separate socket
                fields["sockets"] = fields["cpus"]
            elif fields["cpus"] not in (product, product // size.threads):
                raise self.fault(
                    "node",
                    index,
                    "cpus",
                    f"{fields['cpus']} cpus are not boards x sockets x cores x threads = {product}",
                )
            for name in table["names"]:
                if name in nodes:
                    raise self.fault("node", index, "names", f"node {name} is described twice")
                nodes[name] = NodeConfig(name=name, host_name=name, **fields)
        return tuple(nodes.values())

    def partitions(
        self, tables: list[dict[str, Any]], nodes: tuple[NodeConfig, ...], by_partition: Mapping[str, WarmNodes]
    ) -> tuple[tuple[PartitionConfig, ...], tuple[tuple[str, PartitionSky], ...]]:
        if not tables:
            tables = [{"name": "debug", "default": True}]
        names = tuple(node.name for node in nodes)
        warm = {name for one in by_partition.values() for name in one.names}
        partitions: dict[str, PartitionConfig] = {}
        sky: list[tuple[str, PartitionSky]] = []
        for index, table in enumerate(tables):
            mine = {word: table[word] for word in schema.PARTITION_SKY if word in table}
            fields = {field: value for field, value in table.items() if field not in mine and field not in WARM_FIELDS}
            name = fields["name"]
            if name in partitions:
                raise self.fault("partition", index, "name", f"partition {name} is described twice")
            written = fields.setdefault("nodes_text", "ALL")
            members = (
                by_partition[name].names
                if name in by_partition
                else names
                if written.upper() == "ALL"
                else self.value("partition", index, "nodes", schema.hosts, written)
                if written
                else ()
            )
            for member in members:
                if member in warm and name not in by_partition and not set(members) <= warm:
                    raise self.fault("partition", index, "nodes", "warm nodes and others do not mix in a partition")
                if member not in warm and member not in names and mine.get("infra"):
                    text = "nodes needs the shape of the nodes: shape = { cpus = ..., memory = ... }"
                    raise self.fault("partition", index, "nodes", text)
                if member not in warm and member not in names and names:
                    raise self.fault("partition", index, "nodes", f"there is no node {member}")
            if members and set(members) <= warm:
                fields["engine"] = "nodes"
                fields.setdefault("exclusive_user", True)
            partitions[name] = PartitionConfig(nodes=tuple(members), **fields)
            if mine:
                sky.append((name, PartitionSky(**mine)))
        if sum(part.default for part in partitions.values()) > 1:
            raise self.fault("partition", len(tables) - 1, "default", "only one partition can be the default")
        return tuple(partitions.values()), tuple(sky)

    def qos(self, tables: list[dict[str, Any]]) -> tuple[tuple[QosConfig, ...], tuple[tuple[str, Route], ...]]:
        """QOS of the file and ``normal``; none without QOS."""
        found: dict[str, QosConfig] = {NORMAL.name: NORMAL} if tables else {}
        routes = []
        for index, table in enumerate(tables):
            rest = dict(table)
            if found.get(rest["name"], NORMAL) is not NORMAL:
                raise self.fault("qos", index, "name", f"QOS {rest['name']} is described twice")
            limits, route = (
                _pop_fields(rest, schema.QOS_LIMITS),
                _pop_fields(rest, {**schema.ROUTE, "max_hourly_cost": None}),
            )
            found[rest["name"]] = QosConfig(**rest, limits=Limits(**limits))
            routes.append((rest["name"], Route(**route)))
        return tuple(found.values()), tuple(routes)

    def accounts(
        self, tables: list[dict[str, Any]], qos: set[str]
    ) -> tuple[tuple[AccountConfig, ...], tuple[tuple[str, Route], ...]]:
        found: dict[str, AccountConfig] = {}
        routes = []
        for index, table in enumerate(tables):
            rest = dict(table)
            if rest["name"] in found:
                raise self.fault("account", index, "name", f"account {rest['name']} is described twice")
            limits, route = _pop_fields(rest, schema.ACCOUNT_LIMITS), _pop_fields(rest, schema.ROUTE)
            account = found[rest["name"]] = AccountConfig(**rest, limits=Limits(**limits))
            routes.append((account.name, Route(**route)))
            for word in account.qos:
                if word not in qos:
                    raise self.fault("account", index, "qos", f"there is no QOS {word}")
            if account.default_qos and account.default_qos not in (account.qos or qos):
                raise self.fault("account", index, "default_qos", f"QOS {account.default_qos} is not one of its own")
        if sum(account.default for account in found.values()) > 1:
            raise self.fault("account", len(tables) - 1, "default", "only one account can be the default")
        return tuple(found.values()), tuple(routes)

    def modules(self, data: Mapping[str, Any]) -> tuple[ModuleConfig, ...]:
        modules = []
        given = data.get("modules", {})
        for name, table in self.mapping("modules", {} if given in _MODULE_MAPS else given).items():
            if name == "*" and table in _MODULE_MAPS:
                continue
            if isinstance(table, str):  # "cuda/12.1" = "docker:nvidia/cuda:..."
                table = {"image": table}
            modules.append(ModuleConfig(name, **self.table(f"modules.{name}", 0, table, schema.MODULE)))
        return tuple(modules)

    def shipped_modules(self, data: Mapping[str, Any], is_open: bool) -> bool:
        """Return whether the shipped module map applies.

        ``modules = "shipped"`` or ``"*" = "shipped"`` in the table selects the map, else ``is_open`` decides.
        """
        given = data.get("modules", {})
        setting = given if isinstance(given, str) else given.get("*") if isinstance(given, Mapping) else None
        return setting == "shipped" if setting in _MODULE_MAPS else is_open

    def paths(self, given: tuple[tuple[str, str], ...]) -> tuple[PathMap, ...]:
        for path, target in given:
            if not path.startswith(("/", "~")):
                raise self.fault("paths", 0, path, f"{path} is not an absolute path")
            if path in ("/*", "~/*") and "://" not in target:
                raise self.fault(
                    "paths", 0, path, f"{path} needs a bucket URL: each folder is mapped to a folder of that bucket"
                )
            if not re.match(r"(s3|gs|r2|azure|oci|cos|nebius|https)://.|volume:.|host:/|nfs:[^:/]+:/", target):
                expected = "a bucket URL, volume:NAME, nfs:SERVER:/PATH or host:/PATH is expected"
                raise self.fault("paths", 0, path, expected)
        return tuple(PathMap(path.rstrip("/") or "/", target) for path, target in given)

    def options(self, tables: list[dict[str, Any]]) -> tuple[DeclaredOption, ...]:
        for index, table in enumerate(tables):
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", table["name"]):
                raise self.fault("option", index, "name", f"{table['name']!r} cannot be an option's name")
            if table.get("policy") == "environment" and not table.get("environment"):
                raise self.fault("option", index, "policy", "the key environment, with the variable's name, is missing")
        return tuple(DeclaredOption(**table) for table in tables)

    def budgets(self, tables: list[dict[str, Any]]) -> tuple[Budget, ...]:
        for index, table in enumerate(tables):
            if not {"month", "hourly"} & set(table):
                raise self.fault("budget", index, "", "month or hourly is missing")
        return tuple(Budget(**table) for table in tables)

    # -- reading by schema

    def mapping(self, word: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.fault("", 0, word, f"{word} must be a table: [{word}]")
        return value

    def items(self, word: str, data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        value = data.get(word, [])
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            raise self.fault("", 0, word, f"{word} must be written as [[{word}]]")
        return value

    def table(
        self, word: str, index: int, given: Mapping[str, Any], keys: Mapping[str, schema.SiteKey]
    ) -> dict[str, Any]:
        found = {}
        for name, value in self.mapping(word, given).items():
            if name not in keys:
                raise self.fault(word, index, name, _unknown(name, keys))
            found[keys[name].field or name] = self.value(word, index, name, keys[name].read, value)
        for name, key in keys.items():
            if key.required and name not in given:
                raise self.fault(word, index, "", f"{name} is missing")
        return found

    def value(self, word: str, index: int, key: str, read: Any, value: Any) -> Any:
        try:
            return read(value)
        except schema.Bad as error:
            raise self.fault(word, index, key, f"{key or word}: {error}") from error

    def fault(self, word: str, index: int, key: str, message: str) -> SiteError:
        line, column = self.position_of_key(word, index, key)
        return SiteError(self.name, line, column, message)

    def position_of_key(self, word: str, index: int, key: str) -> tuple[int, int]:
        """Line and column of a key in the index-th table ``word``. The default is the position of the table's head."""
        table, seen, head = "", -1, (1, 1)
        wanted = re.compile(r"^\s*(\"%s\"|'%s'|%s)\s*[.=]" % ((re.escape(key),) * 3)) if key else None
        for number, line in enumerate(self.lines, 1):
            header = _HEADER.match(line)
            if header:
                table = re.sub(r"[\"'\s]", "", header[2])
                seen += table == word
                if table in (word, key, f"{word}.{key}") and (seen == index or not word):
                    head = (number, header.start(2) + 1)
            elif wanted and table == word and (not word or seen == index) and (found := wanted.match(line)):
                return number, found.start(1) + 1
        return head


def _pop_fields(table: dict[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Remove some keys from a table; return their values."""
    fields = {key.field or name if isinstance(key, schema.SiteKey) else name for name, key in keys.items()}
    return {field: table.pop(field) for field in fields if field in table}


def _unknown(word: str, known: Any) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), 1)
    return f"{word} is not known here" + (f". Did you mean {near[0]}?" if near else "")
