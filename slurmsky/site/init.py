"""Writes a first site file for the old cluster and SkyPilot.

Inputs: the old cluster's slurm.conf, sinfo output, `module avail`, QOS and accounts; the output of `sky check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..language import hostlist, timelimit
from ..language.colours import without_colours
from ..language.syntax_errors import LanguageError
from . import schema
from .gpunames import known_gpu
from .modules import shipped


@dataclass
class OldPartition:
    """A partition of the old cluster."""

    name: str
    nodes: str = ""
    default: bool = False
    max_time: str = ""
    max_nodes: str = ""
    cpus: int = 0  # number of CPUs of its largest node
    gpu: str = ""  # Slurm's type of the GPUs
    gpus: int = 0
    more: dict[str, str] = field(default_factory=dict)  # further keys of [[partition]] and their texts


@dataclass
class OldCluster:
    """Description of the old cluster, with the enabled infra."""

    cluster: str = ""
    partitions: dict[str, OldPartition] = field(default_factory=dict)
    features: list[str] = field(default_factory=list)
    licenses: list[tuple[str, int]] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    max_array_size: int = 0
    mail_program: str = ""
    problems: list[str] = field(default_factory=list)
    qos: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> keys of [[qos]] and their texts
    accounts: dict[str, str] = field(default_factory=dict)  # name -> description
    infra: list[str] = field(default_factory=list)  # enabled in SkyPilot


_PAIR = re.compile(r'([A-Za-z]+)=("[^"]*"|\S+)')


def read_slurm_conf(text: str, old: OldCluster) -> None:
    """Read nodes, partitions and a few settings of slurm.conf.

    Names ignore case; a backslash continues a line.

    Source: man slurm.conf.
    """
    nodes: dict[str, tuple[int, str, int]] = {}  # CPUs, GPU type, and GPUs by node
    usual: dict[str, dict[str, str]] = {"nodename": {}, "partitionname": {}}  # settings of the DEFAULT lines so far
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        pairs = {name.lower(): value.strip('"') for name, value in _PAIR.findall(line.split("#", 1)[0])}
        for what, default in usual.items():
            if pairs.get(what, "").upper() == "DEFAULT":
                default.update({key: value for key, value in pairs.items() if key != what})
            elif what in pairs:
                pairs = {**default, **pairs}
        try:
            if "nodename" in pairs:
                _node(pairs, nodes, old)
            elif "partitionname" in pairs:
                _partition(pairs, nodes, old)
            else:
                _setting(pairs, old)
        except (LanguageError, ValueError) as error:
            old.problems.append(f"slurm.conf line {number}: {error}")


def _node(pairs: dict[str, str], nodes: dict[str, tuple[int, str, int]], old: OldCluster) -> None:
    if pairs["nodename"].upper() == "DEFAULT":
        return
    cpus = int(pairs.get("cpus") or pairs.get("procs") or 0)
    if not cpus:
        cpus = 1
        for key in ("sockets", "corespersocket", "threadspercore", "boards"):
            cpus *= int(pairs.get(key, "1"))
    kind, count = _gpus(pairs.get("gres", ""))
    for name in hostlist.expand(pairs["nodename"]):
        nodes[name] = (cpus, kind, count)
    _note_features(pairs.get("feature", "") or pairs.get("features", ""), old)


def _gpus(gres: str) -> tuple[str, int]:
    """Type and number of the GPUs in a gres text."""
    kind, count = "", 0
    for word in re.sub(r"\([^)]*\)", "", gres).split(","):
        parts = word.split(":")
        if parts[0] == "gpu":
            count = int(parts[-1]) if parts[-1].isdecimal() else 1
            kind = parts[1] if len(parts) > 2 or (len(parts) == 2 and not parts[1].isdecimal()) else ""
    return kind, count


def _note_features(text: str, old: OldCluster) -> None:
    for feature in re.split(r"[,&]", text):
        if feature and feature not in old.features:
            old.features.append(feature)


def _partition(pairs: dict[str, str], nodes: dict[str, tuple[int, str, int]], old: OldCluster) -> None:
    name = _printable(pairs["partitionname"])
    if not name or name.upper() == "DEFAULT":
        return
    wanted = pairs.get("nodes", "")
    members = list(nodes) if wanted.upper() == "ALL" else hostlist.expand(wanted) if wanted else []
    found = [nodes[member] for member in members if member in nodes]
    with_gpus = [one for one in found if one[2]]
    old.partitions[name] = OldPartition(
        name=name,
        nodes=wanted,
        default=pairs.get("default", "").upper() == "YES",
        max_time=pairs.get("maxtime", ""),
        max_nodes=pairs.get("maxnodes", ""),
        cpus=max((one[0] for one in found), default=0),
        gpu=with_gpus[0][1] if with_gpus else "",
        gpus=max((one[2] for one in found), default=0),
        more={key: pairs[word] for word, key in _PARTITION_KEYS.items() if pairs.get(word, "ALL").upper() != "ALL"},
    )


#: further options of a PartitionName line -> keys of [[partition]]
_PARTITION_KEYS = {"defaulttime": "default_time", "allowaccounts": "allow_accounts", "allowqos": "allow_qos",
                   "allowgroups": "allow_groups", "qos": "qos", "prioritytier": "priority_tier",
                   "maxmempernode": "max_mem_per_node_mib", "oversubscribe": "oversubscribe"}  # fmt: skip


def _setting(pairs: dict[str, str], old: OldCluster) -> None:
    old.cluster = pairs.get("clustername", old.cluster)
    old.mail_program = pairs.get("mailprog", old.mail_program)
    if pairs.get("maxarraysize", "").isdecimal():
        old.max_array_size = int(pairs["maxarraysize"])
    for word in pairs.get("licenses", "").split(","):
        name, _, count = word.replace("*", ":").partition(":")
        if name:
            old.licenses.append((name, int(count) if count.isdecimal() else 1))


#: headings of sinfo's columns -> field that they fill
_SINFO = {"PARTITION": "name", "TIMELIMIT": "time", "NODELIST": "nodes", "CPUS": "cpus", "GRES": "gres",
          "AVAIL_FEATURES": "features", "ACTIVE_FEATURES": "features", "FEATURES": "features"}  # fmt: skip
_NONE = ("(null)", "N/A", "n/a", "")


def read_sinfo(text: str, old: OldCluster) -> None:
    """Read sinfo's output by its headings. Without headings it has the columns of a plain ``sinfo``."""
    columns = ["name", "", "time", "", "", "nodes"]
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "PARTITION":
            columns = [_SINFO.get(word, "") for word in words]
            continue
        if len(words) < 3 or words[0] == "CLUSTER:" or words[0].startswith("-"):
            continue
        cells = {key: word for key, word in zip(columns, words, strict=False) if key and word not in _NONE}
        shown = _printable(cells.get("name", ""))
        if not shown.rstrip("*"):
            continue
        part = old.partitions.setdefault(shown.rstrip("*"), OldPartition(shown.rstrip("*")))
        part.default = part.default or shown.endswith("*")
        part.max_time = part.max_time or cells.get("time", "")
        if cells.get("nodes", "") not in part.nodes:
            part.nodes = ",".join(filter(None, (part.nodes, cells["nodes"])))
        digits = cells.get("cpus", "").rstrip("+")
        part.cpus = max(part.cpus, int(digits) if digits.isdecimal() else 0)
        kind, count = _gpus(cells.get("gres", ""))
        part.gpu, part.gpus = part.gpu or kind, max(part.gpus, count)
        _note_features(cells.get("features", ""), old)


def read_sacctmgr(text: str, old: OldCluster) -> None:
    """Read the QOS and accounts of sacctmgr -P show.

    The text has ``sacctmgr -P show qos`` and ``... show account``, whose columns differ.
    """
    columns: list[str] = []
    for line in text.splitlines():
        cells = [_printable(cell) for cell in line.split("|")]
        if cells[0] in ("Name", "Account"):
            columns = cells
        elif columns[:1] == ["Account"] and cells[0] not in (*_NONE, "root"):
            old.accounts[cells[0]] = dict(zip(columns, cells, strict=False)).get("Descr", "")
        elif columns and cells[0] not in _NONE:
            row = dict(zip(columns, cells, strict=False))
            old.qos[cells[0]] = {key: row[name] for name, key in _QOS_COLUMNS.items() if row.get(name)}


#: columns of ``sacctmgr show qos`` -> keys of [[qos]]
_QOS_COLUMNS = {
    "Descr": "description", "Priority": "priority", "Flags": "flags", "GrpTRES": "grp_tres", "GrpJobs": "grp_jobs",
    "GrpSubmit": "grp_submit_jobs", "MaxTRES": "max_tres", "MaxTRESPerNode": "max_tres_per_node",
    "MaxTRESMins": "max_tres_mins", "MaxWall": "max_wall", "MaxTRESPU": "max_tres_per_user",
    "MaxJobsPU": "max_jobs_per_user", "MaxSubmitPU": "max_submit_jobs_per_user", "MaxTRESPA": "max_tres_per_account",
    "MaxJobsPA": "max_jobs_per_account", "MaxSubmitPA": "max_submit_jobs_per_account", "MinTRES": "min_tres",
}  # fmt: skip
_ENABLED = re.compile(r"\s*([A-Za-z][\w ()-]*?) \[([\w, ]*)\]\s*$")
_CONTEXT = re.compile(r"\s*[\u2500-\u257f]+\s*(\S+?):?(?:\s.*)?$")
#: clouds with contexts, clusters or pools of machines, written as NAME/CONTEXT
_WITH_CONTEXTS = {"kubernetes": "kubernetes", "slurm": "slurm", "ssh": "ssh", "ssh node pools": "ssh"}


def read_sky_check(text: str, old: OldCluster) -> None:
    """Read the usable clouds and contexts of ``sky check``.

    They follow "Enabled infra".

    Source: sky/check.py, _summary_message.
    """
    plain = without_colours(text).partition("Enabled infra")[2]
    cloud, contexts = "", 0
    for line in [*plain.splitlines()[1:], "end [compute]"]:
        title, context = _ENABLED.match(line), _CONTEXT.match(line)
        if title:
            if cloud and not contexts:
                old.infra.append(cloud)
            name = title[1].lower()
            cloud, contexts = (_WITH_CONTEXTS.get(name, name) if "compute" in title[2] else ""), 0
        elif context and cloud in _WITH_CONTEXTS.values():
            old.infra.append(f"{cloud}/{context[1]}")
            contexts += 1


_MODULE = re.compile(r"(?<![\w./+-])([A-Za-z][\w.+-]*(?:/[\w.+-]+)*)(?:\s*[(<][^)>]*[)>])*")


def read_module_avail(text: str, old: OldCluster) -> None:
    """Read module names from `module avail`.

    A module name is a word with a version; headings of sections are dropped.
    """
    for line in text.splitlines():
        if not line.strip() or re.match(r"\s*(-{3,}|/|Where:|Use |Module|Key:|If the|L:|D:|\()", line):
            continue
        for name in _MODULE.findall(line):
            if "/" in name and name not in old.modules:
                old.modules.append(name)


def render(old: OldCluster, *, infra: Sequence[str] = (), gpu: str = "", engine: str = "auto") -> str:
    """Text of the site file. Lines that need a decision are comments."""
    lines = [
        "# slurmsky's site file. `slurmsky site check` proves it.",
        f'cluster = "{_clean(old.cluster or "cluster")}"',
        f'engine = "{engine}"',
        "",
    ]
    limits = [f"max_array_size = {old.max_array_size}"] if old.max_array_size else []
    if limits:
        lines += ["[limits]", *limits, ""]
    if old.licenses:
        lines += ["[licenses]", *(f'"{_clean(name)}" = {count}' for name, count in old.licenses), ""]
    if old.mail_program:
        lines += ["[mail]", f'program = "{_clean(old.mail_program)}"', ""]
    lines += [
        "[sky]",
        f"infra = {_list(infra or old.infra)}"
        if infra or old.infra
        else '# infra = ["kubernetes/CONTEXT", "aws"]  # () = SkyPilot chooses',
        "",
    ]
    kinds = [part.gpu for part in old.partitions.values() if part.gpu]
    default = gpu or (_sky_gpu(kinds[0]) if kinds else "")
    lines += [
        "[gpus]",
        f'default = "{_clean(default)}"' if default else '# default = "H100"  # what --gpus without a type means',
        "",
    ]
    for part in old.partitions.values():
        lines += _partition_lines(part, old)
    for name, keys in old.qos.items():
        lines += ["[[qos]]", f'name = "{_clean(name)}"', *_keys(keys, schema.LISTS["qos"]), ""]
    for name, description in old.accounts.items():
        lines += [
            "[[account]]",
            f'name = "{_clean(name)}"',
            *([f'description = "{_clean(description)}"'] if description else []),
            "",
        ]
    if old.features:
        lines += ['# Features of the old nodes; in a partition: features = { NAME = "GPU or instance type" }']
        lines += [f"#   {_clean(name)}" for name in old.features[:40]]
        lines += [""]
    if old.modules:
        lines += _module_lines(old.modules)
    lines += [
        "[paths]",
        "# Where the content of the old cluster's paths is now: a bucket, volume:NAME or host:/PATH",
        '# "/scratch" = "s3://BUCKET/scratch"',
        "",
    ]
    return "\n".join(lines)


def _keys(texts: Mapping[str, str], keys: Mapping[str, schema.SiteKey]) -> list[str]:
    """Lines of a table; invalid values become comments."""
    lines = []
    for key, text in texts.items():
        value: object = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text
        if key in ("max_wall", "description", "default_time"):
            value = text
        if key == "priority" and not value:
            continue
        shown = str(value) if isinstance(value, int) else f'"{_clean(text)}"'
        try:
            keys[key].read(value)
            lines.append(f"{key} = {shown}")
        except schema.Bad as error:
            lines.append(f"# {key} was {_clean(text)}: {error}")
    return lines


def _partition_lines(part: OldPartition, old: OldCluster) -> list[str]:
    lines = ["[[partition]]", f'name = "{_clean(part.name)}"']
    if part.default:
        lines.append("default = true")
    if part.max_time.upper() not in ("", "INFINITE", "UNLIMITED", "N/A"):
        try:
            timelimit.parse(part.max_time)
            lines.append(f'max_time = "{_clean(part.max_time)}"')
        except LanguageError:
            lines.append(f"# the time limit was {_clean(part.max_time)}")
    if part.max_nodes.isascii() and part.max_nodes.isdecimal():
        lines.append(f"max_nodes = {part.max_nodes}")
    if part.cpus:
        lines.append(f"max_cpus_per_node = {part.cpus}")
    if part.gpu:
        lines.append(f'gpu = "{_clean(_sky_gpu(part.gpu))}"  # {_clean(part.gpu)}:{part.gpus} on the old nodes')
    more = dict(part.more)
    known = {"normal", *old.qos} if old.qos else None
    for key in ("qos", "allow_qos"):
        text = more.get(key, "")
        words = [text] if key == "qos" else schema.texts(text)  # splits the text like the site file's reader
        if known is not None and any(word not in known for word in words if word):
            lines.append(f"# {key} was {_clean(more.pop(key))}")
    lines += _keys(more, schema.PARTITION)
    if part.nodes:
        lines.append(f"# was {_clean(part.nodes)}")
    return [*lines, '# infra = "kubernetes/CONTEXT"', ""]


def _module_lines(names: Iterable[str]) -> list[str]:
    unknown = sorted({name for name in names if name.split("/")[0].lower() not in shipped()})
    lines = [
        "[modules]",
        '# The shipped map knows the others of `module avail`. NAME = image, or a table: [modules."NAME"]',
    ]
    lines += [f'# "{_clean(name)}" = "docker:IMAGE"' for name in unknown[:200]]
    return [*lines, ""]


def _sky_gpu(kind: str) -> str:
    return known_gpu(kind) or kind.upper()


def _list(words: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{_clean(word)}"' for word in words) + "]"


def _clean(text: str) -> str:
    """Make a text safe in TOML's double quotes and comments."""
    return _printable(text).replace("\\", "\\\\").replace('"', '\\"')


def _printable(text: str) -> str:
    """Remove control characters. Names that look equal are then equal."""
    return "".join(char for char in text if char.isprintable())
