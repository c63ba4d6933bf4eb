"""Schema of slurmsky.toml: reader and record field of each key.

Where a table has a key for each field of its record, the keys are derived from the record.

The module exceeds 400 lines because it holds the table of all keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..language import hostlist, timelimit
from ..language import tres as tres_text
from ..model.policy import QOS_FLAGS
from ..model.spec import INFINITE, DeclaredOption
from .record import Budget, GpuNames, ModuleConfig, PartitionSky, Shape, SkyConfig


class Bad(Exception):
    """Error for an invalid value; it names accepted values."""


def text(value: Any) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise Bad("a string in quotes is expected")
    return value


def unsupported_hook(value: Any) -> str:
    """Refuse a hook that slurmsky never calls. An ignored setting would mislead."""
    raise Bad("nothing runs it here: jobs run as you; task_prolog and task_epilog are run for each task")


def only(value: str | int, why: str) -> Callable[[Any], Any]:
    """Reader that accepts only the value that slurmsky implements. An ignored setting would mislead."""

    def read(given: Any) -> Any:
        if (given.upper() if isinstance(given, str) else given) != value or isinstance(given, bool):
            raise Bad(why)
        return value

    return read


def texts(value: Any) -> tuple[str, ...]:
    """Read a list of strings, or one string with commas."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if not isinstance(value, list):
        raise Bad("a list of strings is expected")
    return tuple(text(item) for item in value)


def account(value: Any) -> str:
    """Read an account's name, in lower case as in Slurm."""
    return text(value).lower()


def accounts(value: Any) -> tuple[str, ...]:
    """Read a list of accounts, or a string with commas."""
    return tuple(map(str.lower, texts(value)))


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise Bad("true or false is expected")
    return value


def count(value: Any) -> int:
    """Read an integer of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Bad("a number of 0 or more is expected")
    if value >= INFINITE:
        raise Bad(f"a number below {INFINITE} is expected")  # Slurm's largest
    return value


def positive(value: Any) -> int:
    """Read an integer of 1 or more."""
    if count(value) == 0:
        raise Bad("a number of 1 or more is expected")
    return int(value)


def limit(value: Any) -> int:
    """Read a count, or "UNLIMITED" / "INFINITE"."""
    if isinstance(value, str) and value.upper() in ("UNLIMITED", "INFINITE"):
        return INFINITE
    return count(value)


def dollars(value: Any) -> float:
    """Read a number of dollars above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise Bad("a number of dollars above 0 is expected")
    return float(value)


def minutes(value: Any) -> int:
    """Read minutes as a number or a Slurm time.

    Source: time_str2mins.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    try:
        return timelimit.parse(text(value))
    except ValueError as error:
        raise Bad('a Slurm time is expected, such as "1-12:00:00" or "INFINITE"') from error


def seconds(value: Any) -> int | None:
    """Read seconds as a number or a Slurm time. None: INFINITE or -1."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= -1:
        return None if value == -1 else count(value)
    try:
        found = timelimit.parse_seconds(text(value))
    except (ValueError, Bad) as error:
        raise Bad('a Slurm time such as "20:00", a number of seconds, or "INFINITE" is expected') from error
    return None if found == INFINITE else found


def patience(value: Any) -> int:
    """Read ``seconds`` that are finite and above 0."""
    found = seconds(value)
    if not found or found < 0:
        raise Bad('a Slurm time above 0 is expected, such as "15:00"')
    return found


def cpus(value: Any) -> str:
    """Read a ``size`` of at least one CPU, which a Slurm node has."""
    word = size(value)
    if float(word.rstrip("+")) < 1:
        raise Bad(f"a node has at least one CPU, not {word}")
    return word


def size(value: Any) -> str:
    """Read a size of SkyPilot: 8, "8+" or 0.5."""
    word = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else text(value)
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?\+?", word) or not float(word.rstrip("+")):
        raise Bad(f'a number such as 8 or "8+" is expected, not {value!r}')
    return word


def devices(value: Any) -> str:
    """Read SkyPilot's accelerator and its count: "H100:8"."""
    name, colon, number = text(value).partition(":")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", name) or (colon and not re.fullmatch("[1-9][0-9]{0,8}", number)):
        raise Bad('an accelerator and its count are expected, such as "H100:8"')
    return f"{name}:{number or 1}"


def cluster(value: Any) -> str:
    """Read the name of a SkyPilot cluster.

    Source: sky/skylet/constants.py CLUSTER_NAME_VALID_REGEX.
    """
    if not re.fullmatch(r"[a-zA-Z]([-_.a-zA-Z0-9]*[a-zA-Z0-9])?", text(value)):
        raise Bad("the name of a SkyPilot cluster is expected")
    return str(value)


def shape(value: Any) -> Shape:
    """Read a table of node resources with keys of SkyPilot's ``resources:``."""
    if not isinstance(value, Mapping):
        raise Bad('a table is expected, such as { cpus = "8+", memory = "32+" }')
    found = {}
    for name, given in value.items():
        if name not in SHAPE:
            raise Bad(f"{name} is not known here; {', '.join(SHAPE)} are")
        try:
            found[name] = SHAPE[name].read(given)
        except Bad as error:
            raise Bad(f"{name}: {error}") from error
    for name, key in SHAPE.items():
        if key.required and name not in found:
            raise Bad(f"{name} is missing")
    return Shape(**found)


def hosts(value: Any) -> tuple[str, ...]:
    """Read and expand a Slurm host list."""
    try:
        names = tuple(hostlist.expand(text(value)))
    except ValueError as error:
        raise Bad('a host list is expected, such as "n[1-4]"') from error
    if not all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names):  # error about an open bracket
        raise Bad('a host list is expected, such as "n[1-4]"')
    return names


def gres(value: Any) -> tuple[tuple[str, str, int], ...]:
    """Read devices as in slurm.conf's Gres=: ``name[:type][:count]``. Lists of sockets in brackets are dropped."""
    found = []
    for word in texts(value):
        name, *rest = word.split("(", 1)[0].split(":")
        number = 1
        if rest and rest[-1].isdecimal():
            number = int(rest.pop())
        if "no_consume" in rest:
            raise Bad(f'no_consume is a key of its own here: gres_not_consumed = ["{name}"]')
        if not name or len(rest) > 1:
            raise Bad('gres is expected as "name:type:count", such as "gpu:a100:4"')
        found.append((name, rest[0] if rest else "", number))
    return tuple(found)


def tres(value: Any) -> tuple[tuple[str, int], ...]:
    """Read resources as in a limit of sacctmgr. Only Budgets limit the cost of resources."""
    try:
        return tres_text.parse(text(value))
    except ValueError as error:
        raise Bad('resources are expected, such as "cpu=64,mem=256G,node=4,gres/gpu=8"') from error


def usage_tres(value: Any) -> tuple[tuple[str, int], ...]:
    """Read resources whose use over time is summed."""
    found = tres(value)
    if not {name for name, _ in found} <= set(tres_text.ORDER):
        raise Bad(f"only {', '.join(tres_text.ORDER)} can be limited over time")
    return found


def flags(value: Any) -> tuple[str, ...]:
    """Read flags of a QOS, in their listed spelling."""
    read = one_of(*QOS_FLAGS)
    return tuple(read(word) for word in texts(value))


def pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """Read a table of strings."""
    if not isinstance(value, Mapping):
        raise Bad("a table of texts is expected")
    return tuple((key, text(item)) for key, item in value.items())


def counts(value: Any) -> tuple[tuple[str, int], ...]:
    """Read a table of numbers."""
    if not isinstance(value, Mapping):
        raise Bad("a table of numbers is expected")
    return tuple((key, count(item)) for key, item in value.items())


def one_of(*words: str) -> Callable[[Any], str]:
    """Reader of one of some words, in any case. It returns the word as listed."""

    def read(value: Any) -> str:
        for word in words:
            if text(value).lower() == word.lower():
                return word
        raise Bad(f"one of {', '.join(words)} is expected")

    return read


def oversubscribe(value: Any) -> str:
    """Read NO or EXCLUSIVE.

    YES and FORCE would give a CPU to several jobs. Source: slurm.conf OverSubscribe.
    """
    word = text(value).upper()
    if word.partition(":")[0] in ("YES", "FORCE"):
        raise Bad("a CPU is never given to several jobs here: NO or EXCLUSIVE")
    if word not in ("NO", "EXCLUSIVE"):
        raise Bad("NO or EXCLUSIVE is expected")
    return word


@dataclass(frozen=True)
class SiteKey:
    """One key: reader of its value, and record field. The field "" means the key's own name."""

    read: Callable[[Any], Any]
    field: str = ""
    required: bool = False


#: readers by the type of the field
_READERS: dict[str, Callable[[Any], Any]] = {
    "bool": flag,
    "bool | None": flag,
    "float | None": dollars,
    "int": count,
    "str": text,
    "tuple[str, ...]": texts,
    "tuple[tuple[str, str], ...]": pairs,
}


def _keys_of(record: Any, **other: Callable[[Any], Any] | SiteKey) -> dict[str, SiteKey]:
    """Create a key for each field of a record.

    The field's type selects the reader, unless ``other`` has one for the field.
    """
    readers = {item.name: other.get(item.name) or _READERS[str(item.type)] for item in fields(record)}
    return {name: read if isinstance(read, SiteKey) else SiteKey(read) for name, read in readers.items()}


ARRAYS = one_of("packed", "num_jobs", "pool")
REACH = one_of("auto", "direct", "ssh")
ENGINE = one_of("auto", "sky", "local")

NODE = {
    "names": SiteKey(hosts, required=True),
    "address": SiteKey(text),
    "cpus": SiteKey(positive),
    "boards": SiteKey(positive),
    "sockets": SiteKey(positive),
    "cores": SiteKey(positive),
    "threads": SiteKey(positive),
    "memory_mib": SiteKey(positive),
    "tmp_mib": SiteKey(count),
    "weight": SiteKey(count),
    "gres": SiteKey(gres),
    "gres_not_consumed": SiteKey(texts),
    "features": SiteKey(texts),
    "state": SiteKey(one_of("UNKNOWN", "IDLE", "DOWN", "DRAIN", "FAIL", "FUTURE")),
    "reason": SiteKey(text),
    "arch": SiteKey(text),
    "os": SiteKey(text),
}

# PartitionConfig's fields, then PartitionSky's.
PARTITION = {
    "name": SiteKey(text, required=True),
    "nodes": SiteKey(text, "nodes_text"),
    "default": SiteKey(flag),
    "max_time": SiteKey(minutes, "max_time_min"),
    "default_time": SiteKey(minutes, "default_time_min"),
    "max_nodes": SiteKey(limit),
    "min_nodes": SiteKey(count),
    "max_cpus_per_node": SiteKey(limit),
    "state": SiteKey(one_of("UP", "DOWN", "DRAIN", "INACTIVE")),
    "priority_tier": SiteKey(count),
    "priority_job_factor": SiteKey(
        only(1, "jobs have no priority factors here: priority_tier, or the priority of a QOS")
    ),
    "oversubscribe": SiteKey(oversubscribe),
    "hidden": SiteKey(flag),
    "root_only": SiteKey(flag),
    "exclusive_user": SiteKey(flag),
    "grace_time_s": SiteKey(only(0, "no job is preempted here")),
    "def_mem_per_node_mib": SiteKey(count),
    "def_mem_per_cpu_mib": SiteKey(count),
    "max_mem_per_node_mib": SiteKey(count),
    "max_mem_per_cpu_mib": SiteKey(only(0, "not followed: max_mem_per_node_mib, or max_tres_per_node of a [[qos]]")),
    "over_time_limit": SiteKey(limit, "over_time_limit_min"),
    "preempt_mode": SiteKey(only("OFF", "no job is preempted here")),
    "qos": SiteKey(text),
    "allow_accounts": SiteKey(accounts),
    "allow_qos": SiteKey(texts),
    "allow_groups": SiteKey(texts),
    "engine": SiteKey(ENGINE),
}
PARTITION_SKY = _keys_of(PartitionSky, array_nodes=positive, arrays=ARRAYS)
#: WarmNodes' fields; PARTITION's ``nodes`` names them
PARTITION_WARM = {
    "shape": SiteKey(shape),
    "suspend_time": SiteKey(seconds, "suspend_time_s"),
    "keep_up": SiteKey(count),
    "resume_timeout": SiteKey(patience, "resume_timeout_s"),
    "cluster": SiteKey(cluster),
}
_SIZES = {"cpus": SiteKey(cpus, required=True), "memory": SiteKey(size, required=True)}
SHAPE = _keys_of(Shape, **_SIZES, gpus=devices, disk=positive)

# ClusterConfig's fields; first_job_id is Site's.
LIMITS = {
    "max_array_size": SiteKey(positive),
    "max_job_count": SiteKey(only(200_000, "nothing here follows it: max_submit_jobs of a [[qos]] does")),
    "min_job_age_s": SiteKey(count),
    "job_files_days": SiteKey(count),
    "kill_wait_s": SiteKey(count),
    "constrain_ram_space": SiteKey(flag),
    "over_time_limit_min": SiteKey(limit),
    "idle_exit_s": SiteKey(count),
    "inactive_limit_s": SiteKey(
        only(0, "an allocation ends with its salloc or srun; on SkyPilot also after idle_minutes")
    ),
    "max_script_size": SiteKey(positive),
    "batch_requeue": SiteKey(flag),
    "enforce_part_limits": SiteKey(one_of("NO", "ANY", "ALL")),
    "first_job_id": SiteKey(positive),
}
HOOKS = {
    "prolog": SiteKey(unsupported_hook),
    "epilog": SiteKey(unsupported_hook),
    "task_prolog": SiteKey(text),
    "task_epilog": SiteKey(text),
}
SKY = _keys_of(SkyConfig, arrays=ARRAYS, queue_poll_s=positive, reach=REACH)
# Limits' fields; for an account, the fields of an association.
_GROUP = {"grp_jobs": SiteKey(count), "grp_submit_jobs": SiteKey(count), "grp_tres": SiteKey(tres),
          "grp_tres_mins": SiteKey(usage_tres), "grp_wall": SiteKey(minutes, "grp_wall_min")}  # fmt: skip
_JOB = {"max_wall": SiteKey(minutes, "max_wall_min"), "max_tres": SiteKey(tres), "max_tres_per_node": SiteKey(tres),
        "max_tres_mins": SiteKey(tres)}  # fmt: skip
QOS_LIMITS = {
    **_GROUP,
    **_JOB,
    "max_jobs_per_user": SiteKey(count),
    "max_jobs_per_account": SiteKey(count),
    "max_submit_jobs_per_user": SiteKey(count),
    "max_submit_jobs_per_account": SiteKey(count),
    "max_tres_per_user": SiteKey(tres),
    "max_tres_per_account": SiteKey(tres),
    "min_tres": SiteKey(tres),
}
ACCOUNT_LIMITS = {
    **_GROUP,
    **_JOB,
    "max_jobs": SiteKey(count, "max_jobs_per_user"),
    "max_submit_jobs": SiteKey(count, "max_submit_jobs_per_user"),
}
#: settings of a SkyPilot task by QOS and account: Route's fields
ROUTE = {"kueue_queue": SiteKey(text), "priority_class": SiteKey(text), "labels": SiteKey(pairs)}
QOS = {
    "name": SiteKey(text, required=True),
    "description": SiteKey(text),
    "priority": SiteKey(count),
    "flags": SiteKey(flags),
    "max_hourly_cost": SiteKey(dollars),
}
ACCOUNT = {
    "name": SiteKey(account, required=True),
    "description": SiteKey(text),
    "default": SiteKey(flag),
    "qos": SiteKey(texts),
    "default_qos": SiteKey(text),
}
GPUS = _keys_of(GpuNames)
MODULE = {key: value for key, value in _keys_of(ModuleConfig).items() if key != "name"}
OPTION = _keys_of(
    DeclaredOption,
    name=SiteKey(text, required=True),
    argument=one_of("none", "required", "optional"),
    policy=one_of("recorded", "environment", "refused"),
)
BUDGET = _keys_of(Budget, account=account)
MAIL = {"program": SiteKey(text, "mail_program")}
LOCAL = {"strict": SiteKey(flag)}


def unknown_names(value: Any) -> tuple[tuple[str, str], ...]:
    """Read the map of unknown names. It is one word for all, or a table of shell patterns."""
    return pairs(value) if isinstance(value, Mapping) else (("*", text(value)),)


TOP = {"cluster": SiteKey(text, "name"), "engine": SiteKey(ENGINE), "accounts": SiteKey(accounts),
       "unknown_partition": SiteKey(unknown_names)}  # fmt: skip

#: table -> its keys
TABLES = {"limits": LIMITS, "local": LOCAL, "hooks": HOOKS, "sky": SKY, "gpus": GPUS, "mail": MAIL}
#: arrays of tables, [[word]]
LISTS = {
    "node": NODE,
    "partition": {**PARTITION, **PARTITION_SKY, **PARTITION_WARM},
    "qos": {**QOS, **QOS_LIMITS, **ROUTE},
    "account": {**ACCOUNT, **ACCOUNT_LIMITS, **ROUTE},
    "option": OPTION,
    "budget": BUDGET,
}
#: tables whose keys the site chooses
FREE = {"licenses": counts, "paths": pairs, "parameters": pairs, "environment": pairs, "environments": pairs,
        "programs": pairs, "modules": None}  # fmt: skip
