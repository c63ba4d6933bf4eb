"""A first site file, from what is known of the old cluster: slurm.conf, sinfo's output, `module avail`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..language import hostlist, timelimit
from ..language.errors import LanguageError
from .modules import shipped
from .record import KNOWN_GPUS


@dataclass
class OldPartition:
    """A partition of the old cluster."""

    name: str
    nodes: str = ""
    default: bool = False
    max_time: str = ""
    max_nodes: str = ""
    cpus: int = 0  # of its largest node
    gpu: str = ""  # Slurm's type of its GPUs
    gpus: int = 0


@dataclass
class Old:
    """What was found out about the old cluster."""

    cluster: str = ""
    partitions: dict[str, OldPartition] = field(default_factory=dict)
    features: list[str] = field(default_factory=list)
    licenses: list[tuple[str, int]] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    max_array_size: int = 0
    mail_program: str = ""
    problems: list[str] = field(default_factory=list)


_PAIR = re.compile(r'([A-Za-z]+)=("[^"]*"|\S+)')


def read_slurm_conf(text: str, old: Old) -> None:
    """slurm.conf's nodes, partitions and a few settings. Names count in any case; a backslash continues a line.

    Source: man slurm.conf.
    """
    nodes: dict[str, tuple[int, str, int]] = {}  # cpus, GPU type, GPUs
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        pairs = {name.lower(): value.strip('"') for name, value in _PAIR.findall(line.split("#", 1)[0])}
        try:
            if "nodename" in pairs:
                _node(pairs, nodes, old)
            elif "partitionname" in pairs:
                _partition(pairs, nodes, old)
            else:
                _setting(pairs, old)
        except (LanguageError, ValueError) as error:
            old.problems.append(f"slurm.conf line {number}: {error}")


def _node(pairs: dict[str, str], nodes: dict[str, tuple[int, str, int]], old: Old) -> None:
    if pairs["nodename"].upper() == "DEFAULT":
        return
    cpus = int(pairs.get("cpus") or pairs.get("procs") or 0)
    if not cpus:
        cpus = 1
        for key in ("sockets", "corespersocket", "threadspercore", "boards"):
            cpus *= int(pairs.get(key, "1"))
    kind, count = "", 0
    for word in pairs.get("gres", "").split(","):
        parts = word.split("(")[0].split(":")
        if parts[0] == "gpu":
            count = int(parts[-1]) if parts[-1].isdigit() else 1
            kind = parts[1] if len(parts) > 2 or (len(parts) == 2 and not parts[1].isdigit()) else ""
    for name in hostlist.expand(pairs["nodename"]):
        nodes[name] = (cpus, kind, count)
    for feature in re.split(r"[,&]", pairs.get("feature", "") or pairs.get("features", "")):
        if feature and feature not in old.features:
            old.features.append(feature)


def _partition(pairs: dict[str, str], nodes: dict[str, tuple[int, str, int]], old: Old) -> None:
    name = pairs["partitionname"]
    if name.upper() == "DEFAULT":
        return
    wanted = pairs.get("nodes", "")
    members = list(nodes) if wanted.upper() == "ALL" else hostlist.expand(wanted) if wanted else []
    facts = [nodes[member] for member in members if member in nodes]
    with_gpus = [fact for fact in facts if fact[2]]
    old.partitions[name] = OldPartition(
        name=name,
        nodes=wanted,
        default=pairs.get("default", "").upper() == "YES",
        max_time=pairs.get("maxtime", ""),
        max_nodes=pairs.get("maxnodes", ""),
        cpus=max((fact[0] for fact in facts), default=0),
        gpu=with_gpus[0][1] if with_gpus else "",
        gpus=max((fact[2] for fact in facts), default=0),
    )


def _setting(pairs: dict[str, str], old: Old) -> None:
    old.cluster = pairs.get("clustername", old.cluster)
    old.mail_program = pairs.get("mailprog", old.mail_program)
    if pairs.get("maxarraysize", "").isdigit():
        old.max_array_size = int(pairs["maxarraysize"])
    for word in pairs.get("licenses", "").split(","):
        name, _, count = word.replace("*", ":").partition(":")
        if name:
            old.licenses.append((name, int(count) if count.isdigit() else 1))


def read_sinfo(text: str, old: Old) -> None:
    """sinfo's default columns: PARTITION AVAIL TIMELIMIT NODES STATE NODELIST."""
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or words[0] in ("PARTITION", "CLUSTER:") or words[0].startswith("-"):
            continue
        name = words[0].rstrip("*")
        part = old.partitions.setdefault(name, OldPartition(name))
        part.default = part.default or words[0].endswith("*")
        part.max_time = part.max_time or words[2]
        if len(words) > 5 and words[5] not in part.nodes:
            part.nodes = ",".join(filter(None, (part.nodes, words[5])))


_MODULE = re.compile(r"(?<![\w./+-])([A-Za-z][\w.+-]*(?:/[\w.+-]+)*)(?:\s*[(<][^)>]*[)>])*")


def read_module_avail(text: str, old: Old) -> None:
    """Names from `module avail`: words with a version, not the headings of its sections."""
    for line in text.splitlines():
        if not line.strip() or re.match(r"\s*(-{3,}|/|Where:|Use |Module|Key:|If the|L:|D:|\()", line):
            continue
        for name in _MODULE.findall(line):
            if "/" in name and name not in old.modules:
                old.modules.append(name)


def render(old: Old, *, infra: Sequence[str] = (), gpu: str = "", engine: str = "auto") -> str:
    """The site file. Lines that need a thought are comments."""
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
        f"infra = {_list(infra)}"
        if infra
        else '# infra = ["kubernetes/CONTEXT", "aws"]  # () = wherever SkyPilot likes',
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
        lines += _partition_lines(part)
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


def _partition_lines(part: OldPartition) -> list[str]:
    lines = ["[[partition]]", f'name = "{_clean(part.name)}"']
    if part.default:
        lines.append("default = true")
    if part.max_time.upper() not in ("", "INFINITE", "UNLIMITED", "N/A"):
        try:
            timelimit.parse(part.max_time)
            lines.append(f'max_time = "{_clean(part.max_time)}"')
        except LanguageError:
            lines.append(f"# the time limit was {_clean(part.max_time)}")
    if part.max_nodes.isdigit():
        lines.append(f"max_nodes = {part.max_nodes}")
    if part.cpus:
        lines.append(f"max_cpus_per_node = {part.cpus}")
    if part.gpu:
        lines.append(f'gpu = "{_clean(_sky_gpu(part.gpu))}"  # {_clean(part.gpu)}:{part.gpus} on the old nodes')
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
    return dict(KNOWN_GPUS).get(kind.lower(), kind.upper())


def _list(words: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{_clean(word)}"' for word in words) + "]"


def _clean(text: str) -> str:
    """A text for within TOML's double quotes or a comment."""
    kept = "".join(char for char in text if char.isprintable())
    return kept.replace("\\", "\\\\").replace('"', '\\"')
