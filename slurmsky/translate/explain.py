"""What each line of a batch script becomes here: directives, module lines, variables, commands, paths. Pure.

The sentences are rows of explain.csv, beside what the option table and the translation say themselves; the
fates are what a person must know before paying: kept, changed, no effect, refused, or a decision to make.
"""

from __future__ import annotations

import csv
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from ..language import directives, modulelines
from ..language.syntax_errors import LanguageError
from ..model.spec import JobSpec
from ..options.getopt import split
from ..options.table import Option, Table, load
from ..options.usage_errors import CommandError
from ..site.assumed import partition_for
from ..site.modules import find
from ..site.record import KNOWN_GPUS, Site
from . import explainforms, option_support
from .idiom import one_line
from .idiomvars import RENAMED
from .images import of_steps
from .notes import Note, Refused
from .shell import Script, parse
from .site_suggestions import merged, toml
from .sky_components import plan_all
from .task import SkyTask, plan

KEPT, CHANGED, NOTHING, REFUSED, DECISION = "kept", "changed", "no effect", "refused", "decision"
_LOADS = ("load", "try-load", "load-any", "swap")
_KINDS = ("form", "directive", "module", "command", "step", "variable", "path")
FATES = (KEPT, CHANGED, NOTHING, DECISION, REFUSED)
#: Longer scripts are not explained line by line; sbatch itself takes 4 MiB.
MAX_SOURCE = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One thing in the script. ``settle``: lines of the site file that would settle it."""

    line: int
    kind: str  # form | directive | module | command | step | variable | path
    text: str
    fate: str
    reason: str
    settle: str = ""


@dataclass(frozen=True)
class Page:
    """A script explained."""

    file: str
    findings: tuple[Finding, ...]
    engine: str  # local | sky
    partition: str = ""
    refusal: str = ""  # what sbatch would say, where it refuses the script
    task_yaml: str = ""  # of SkyPilot, as slurmsky launches it
    infra: tuple[str, ...] = ()
    nodes: int = 0
    prices: tuple[Mapping[str, str], ...] = ()
    prices_note: str = ""
    remarks: tuple[str, ...] = ()  # of the job's surroundings, not of a line
    time_limit_min: int | None = None

    @property
    def unchanged(self) -> bool:
        """Whether the script runs as it is, with nobody deciding anything."""
        return not self.refusal and not any(found.fate in (REFUSED, DECISION) for found in self.findings)

    def count(self, fate: str) -> int:
        return sum(found.fate == fate for found in self.findings)

    @property
    def settle(self) -> tuple[str, ...]:
        """Site-file lines, each once, under one heading for each table."""
        return merged(found.settle for found in self.findings)


@cache
def sentences() -> Mapping[tuple[str, str], tuple[str, str]]:
    """(kind, name) -> what becomes of it (here, on SkyPilot)."""
    data = pkgutil.get_data("slurmsky.translate", "explain.csv")
    assert data is not None, "explain.csv is missing from the package"
    rows = csv.DictReader(data.decode("utf-8").splitlines())
    return {(row["kind"], row["name"]): (row["here"], row["sky"]) for row in rows}


def explain(
    source: bytes,
    specs: Sequence[JobSpec],
    site: Site,
    table: Table,
    *,
    file: str,
    engine: str,
    refusal: str = "",
) -> Page:
    """The page of a script. ``specs`` is empty where sbatch refuses it with ``refusal``."""
    text = source[:MAX_SOURCE].decode("utf-8", "surrogateescape").replace("\0", "\ufffd")
    spec = specs[0] if specs else JobSpec()
    default = site.cluster.default_partition
    partition = (spec.partition or (default.name if default else "")).split(",")[0]
    draft = _Draft(site, table, engine, partition, spec)
    task: SkyTask | None = None
    if engine == "sky" and specs:
        try:
            task = plan_all(
                [(part, (part.partition or partition).split(",")[0]) for part in specs],
                site,
                modules=tuple(_loaded(text)),
                images=of_steps(text),
            )
        except Refused as error:
            draft.refused = error
            task = _with_some_gpu(spec, site, partition) if len(specs) == 1 else None
        except LanguageError:
            task = None  # the directive's own finding tells
    draft.fields = {**task.fields, **task.fields["resources"]} if task else {}
    draft.notes = {note.option: note for note in task.notes} if task else {}
    script = parse(text)
    found = [Finding(one.line, "form", one.text, one.fate, one.reason)
             for one in explainforms.forms(source[:MAX_SOURCE], table, draft.sky, draft.next_component())]  # fmt: skip
    found += [*draft.directives(source), *draft.modules(text), *draft.variables(script)]
    found += [*draft.commands(script), *draft.steps(script), *draft.paths(script)]
    found.sort(key=lambda entry: (entry.line, _KINDS.index(entry.kind)))
    return Page(
        file=file,
        findings=tuple(found),
        engine=engine,
        partition=partition,
        refusal=refusal,
        task_yaml=_task_yaml(task, file) if task else "",
        infra=draft.infra,
        nodes=task.geometry.nodes if task else 0,
        time_limit_min=spec.time_limit_min,
    )


def _loaded(text: str) -> Iterator[str]:
    for asked in modulelines.parse(text):
        if asked.action in _LOADS:
            yield from asked.names


def _with_some_gpu(spec: JobSpec, site: Site, partition: str) -> SkyTask | None:
    """The task as it would be with a GPU type; None where that is not what is missing."""
    try:
        return plan(spec, replace(site, gpus=replace(site.gpus, default="GPU_TYPE")), partition)
    except (Refused, LanguageError):
        return None


def _task_yaml(task: SkyTask, file: str) -> str:
    return f"# what sbatch launches; run starts slurmsky's agent, which runs {one_line(file)} as it is\n" + task.yaml(
        run=f"sh ~/.slurmsky/{task.name}/start.sh\n"
    )


@dataclass
class _Draft:
    site: Site
    table: Table
    engine: str
    partition: str
    spec: JobSpec
    notes: dict[str, Note] = field(default_factory=dict)
    refused: Refused | None = None
    fields: Mapping[str, object] = field(default_factory=dict)  # of the SkyPilot task, resources' among them

    @property
    def sky(self) -> bool:
        return self.engine == "sky"

    @property
    def infra(self) -> tuple[str, ...]:
        return self.site.sky_partition(self.partition).infra

    def sentence(self, kind: str, name: str) -> str:
        row = sentences().get((kind, name))
        return "" if row is None else row[1 if self.sky else 0]

    # --- directives

    def directives(self, source: bytes) -> Iterator[Finding]:
        try:
            components = directives.parse(source).components
        except directives.ScriptError as error:
            yield Finding(error.pos, "directive", "#SBATCH", REFUSED, one_line(str(error)))
            return
        for words in components:
            lines: dict[int, list[str]] = {}
            for word in words:
                lines.setdefault(word.line, []).append(word.text)
            for line, texts in lines.items():
                yield from self._line(line, texts)

    def next_component(self) -> tuple[str, str]:
        """Fate and reason of a line that begins another component."""
        if self.refused is not None and self.refused.option == "hetjob":
            return REFUSED, f"{self.refused}: {self.refused.hint}"
        note = self.notes.get("hetjob")
        return explainforms.NEXT_COMPONENT if note is None else (CHANGED, note.text)

    def _line(self, line: int, texts: list[str]) -> Iterator[Finding]:
        found = split(self.table, texts)
        for option, text in found.found:
            shown = f"--{option.name}" + ("" if text is None else f"={one_line(text, 60)}")
            yield self._option(line, shown, option, text)
        if found.fault is not None:
            yield self._unknown(line, texts, found.fault)
        elif found.rest:
            reason = f"Invalid directive found in batch script: {one_line(found.rest[0])}"
            yield Finding(line, "directive", one_line(" ".join(texts), 60), REFUSED, reason)

    def _unknown(self, line: int, texts: list[str], fault: CommandError) -> Finding:
        said = one_line(fault.lines[0].partition(": ")[2]) if fault.lines else "unknown option"
        name = next((text[2:].partition("=")[0] for text in texts if text.startswith("--")), "")
        settle = ""
        if "unrecognized" in said and re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII):
            settle = f'[[option]]  # an option of the old site\'s own\nname = "{name}"\nargument = "required"'
            return Finding(line, "directive", one_line(" ".join(texts), 60), DECISION, said, settle)
        return Finding(line, "directive", one_line(" ".join(texts), 60), REFUSED, said)

    def _option(self, line: int, shown: str, option: Option, text: str | None) -> Finding:
        def finding(fate: str, reason: str, settle: str = "") -> Finding:
            return Finding(line, "directive", shown, fate, reason, settle)

        name = option.name
        if option.policy == "refused":
            return finding(REFUSED, option.why or "cannot be had here")
        decision = self._decision(name, text)
        if decision:
            return finding(DECISION, *decision)
        reason = self.sentence("option", name)
        if self.sky:
            if self.refused is not None and self.refused.option == name:
                return finding(REFUSED, f"{self.refused}: {self.refused.hint}")
            note = self.notes.get(name)
            if note is not None:
                fate = {"kept": KEPT, "agent": KEPT, "changed": CHANGED}.get(note.fate, NOTHING)
                return finding(fate, note.text)
            if option.field in option_support.WITHOUT_EFFECT:
                return finding(NOTHING, option_support.WITHOUT_EFFECT[option.field])
        if option.policy in ("recorded", "none"):
            return finding(NOTHING, reason or option.why or "kept with the job, changes nothing")
        here = _FIELDS.get(name, "")
        if self.sky and here in self.fields:
            reason = f"{here}: {self.fields[here]} ({reason})" if reason != here else f"{here}: {self.fields[here]}"
        changed = (
            self.sky and option.field in option_support.TASK and name not in ("time", "job-name", "requeue", "nodes")
        )
        return finding(CHANGED if changed else KEPT, reason or "as in Slurm")

    def _decision(self, name: str, text: str | None) -> tuple[str, str] | None:
        """(what must be decided, site-file lines) for options that only the site can give a meaning."""
        site, value = self.site, text or ""
        if name == "partition":
            missing = [word for word in value.split(",") if partition_for(site.cluster, word) is None]
            if missing and len(missing) == len(value.split(",")):
                infra = '\ninfra = "kubernetes/CONTEXT"' if self.sky else ""
                lines = f'[[partition]]\nname = "{toml(missing[0])}"{infra}'
                return f"there is no partition {one_line(missing[0])} here", lines
        if name == "account" and site.accounts and value not in site.accounts:
            described = f'[[account]]\nname = "{toml(value)}"'
            names = ", ".join(f'"{toml(word)}"' for word in (*site.accounts, value))
            lines = described if site.cluster.accounts else f"accounts = [{names}]"
            return f"account {one_line(value)} is not in the site file", lines
        if name == "qos" and site.cluster.qos and value not in {one.name for one in site.cluster.qos}:
            return f"there is no QOS {one_line(value)} here", f'[[qos]]\nname = "{toml(value)}"'
        if not self.sky:
            return None
        wants_gpus = name in ("gpus", "gres", "gpus-per-node", "gpus-per-task")
        if wants_gpus and self.refused is not None and "GPU type" in self.refused.hint:
            return "SkyPilot needs a GPU type and the script names none", '[gpus]\ndefault = "H100"'
        if name == "constraint":
            mapped = {word for word, _ in site.sky_partition(self.partition).features}
            gpus = {word.lower() for word, _ in (*site.gpus.names, *KNOWN_GPUS)}
            words = [w for w in re.findall(r"[A-Za-z_][\w.-]*", value) if w not in mapped and w.lower() not in gpus]
            if words:
                lines = f'[[partition]]\nname = "{toml(self.partition)}"\n'
                key = words[0] if re.fullmatch(r"[\w-]+", words[0], re.ASCII) else f'"{toml(words[0])}"'
                lines += f'features = {{ {key} = "INSTANCE TYPE OR GPU" }}'
                return f"no feature {one_line(words[0])} is mapped", lines
        return None

    # --- module lines

    def modules(self, text: str) -> Iterator[Finding]:
        for asked in modulelines.parse(text):
            if asked.action not in _LOADS:
                reason = self.sentence("command", "module")
                yield Finding(asked.line, "module", one_line(str(asked)), KEPT, reason)
                continue
            for name in asked.names[-1:] if asked.action == "swap" else asked.names:
                yield self._module(asked.line, name)

    def _module(self, line: int, name: str) -> Finding:
        shown = f"module load {one_line(name)}"
        if "$" in name or "`" in name:
            return Finding(line, "module", shown, CHANGED, "its name is known when the job runs; then as the map says")
        module = find(self.site, name)
        if module is None:
            settle = f'[modules]\n"{toml(name)}" = "docker:IMAGE"'
            return Finding(line, "module", shown, DECISION, "no map knows it; the job is warned and goes on", settle)
        if module.kind == "licensed":
            settle = f'[modules]\n"{toml(name)}" = "docker:IMAGE"'
            return Finding(line, "module", shown, DECISION, module.note, settle)
        if module.source == "site":
            what = f"image {module.image}" if module.image else "setup and variables of the site file"
            return Finding(line, "module", shown, CHANGED if self.sky else KEPT, what)
        if not self.sky:
            return Finding(line, "module", shown, KEPT, "the machine's own modules, or counted as loaded")
        if module.image or module.setup:
            key, what = toml(name), toml(module.image or module.setup, 200)
            settle = f'[modules]\n"{key}" = "{what}"' if module.image else f'[modules."{key}"]\nsetup = "{what}"'
            why = f"counts as loaded, but what it stands for must be on the node; {module.note}".rstrip("; ")
            return Finding(line, "module", shown, DECISION, why, settle)
        return Finding(line, "module", shown, NOTHING, module.note)

    # --- variables

    def variables(self, script: Script) -> Iterator[Finding]:
        seen: set[str] = set()
        for match in re.finditer(r"\b(?:SLURMD?|SBATCH|SRUN)_\w+\b", script.source):
            name = match[0]
            start = script.source.rfind("\n", 0, match.start()) + 1
            if name in seen or script.source[start : start + 1] == "#":
                continue
            seen.add(name)
            line = script.source.count("\n", 0, match.start()) + 1
            yield Finding(line, "variable", name, *self._variable(name, script.source))
        yield from self._usual(script)

    def _usual(self, script: Script) -> Iterator[Finding]:
        """Variables that are nobody's in particular, where a person should know what they hold."""
        seen: set[str] = set()
        for match in _USUAL.finditer(script.source):
            start = script.source.rfind("\n", 0, match.start()) + 1
            if match[0] in seen or script.source[start : start + 1] == "#":
                continue
            seen.add(match[0])
            name = match[0] if ("variable", match[0]) in sentences() else "NCCL_"
            reason = self.sentence("variable", name)
            line = script.source.count("\n", 0, match.start()) + 1
            yield Finding(line, "variable", match[0], CHANGED if self.sky and "leave" in reason else KEPT, reason)

    def _variable(self, name: str, source: str) -> tuple[str, str]:
        if re.search(r"(?m)^\s*(?:export\s+)?%s=" % name, source):
            return KEPT, "the script sets it itself"
        if not _KNOWN.fullmatch(name):
            return KEPT, "no variable of Slurm's; as your environment has it"
        also = RENAMED.get(name, "")
        beside = f" ({also} says the same to SkyPilot's users)" if self.sky and also and also != "TASK_ID" else ""
        if name == "SLURM_TMPDIR" or name == "SLURM_LOGS":
            return CHANGED, "set by some sites only; [environment] of the site file can set it"
        return KEPT, f"set as Slurm sets it{beside}"

    # --- commands, options of their steps, and paths

    def steps(self, script: Script) -> Iterator[Finding]:
        """What becomes of the options of srun, each told once."""
        seen: set[str] = set()
        for command in script.commands:
            if command.name != "srun":
                continue
            for option, text in split(load("srun"), command.texts[1:]).found:
                if option.name not in seen:
                    seen.add(option.name)
                    shown = f"srun --{option.name}" + ("" if text is None else f"={one_line(text, 60)}")
                    yield Finding(command.line, "step", shown, *self._step(option))

    def _step(self, option: Option) -> tuple[str, str]:
        name = option.name
        if option.policy == "refused":
            return REFUSED, option.why
        reason = self.sentence("step", name)
        if name == "container-image" and self.sky and "image_id" in self.fields:
            return CHANGED, f"image_id: {self.fields['image_id']}"
        if name == "container-image" and self.sky:
            return DECISION, f"several images, or one that is a file: {reason}"
        if option.policy in ("recorded", "none"):
            return NOTHING, reason or option.why
        return KEPT, reason or ("done by slurmsky's srun on the nodes" if self.sky else "as in Slurm")

    def commands(self, script: Script) -> Iterator[Finding]:
        seen: set[str] = set()
        for command in script.commands:
            name = command.name
            texts = command.texts
            if name in ("env", "time", "nohup", "xargs", "timeout") and len(texts) > 1:
                name = next((text for text in texts[1:] if ("command", text) in sentences()), name)
            name = {"pip3": "pip", "mpiexec.hydra": "mpiexec", "ml": "module"}.get(name, name)
            reason = self.sentence("command", name)
            if not reason or name == "module" or name in seen:
                continue
            seen.add(name)
            changed = self.sky and ("needs" in reason or "name the image" in reason)
            shown = one_line(" ".join(text for text in texts[:3]), 50)
            yield Finding(command.line, "command", shown, CHANGED if changed else KEPT, reason)

    def paths(self, script: Script) -> Iterator[Finding]:
        seen: set[str] = set()
        mounted = [path.path for path in self.site.paths]
        mounted += [path for path, _ in self.site.sky_partition(self.partition).volumes]
        for command in script.commands:
            words = [
                *command.words,
                *(given.value for given in command.assignments),
                *(word for _, word in command.redirects),
            ]
            for word in words:
                for path in _PATH.findall(word.raw):
                    top = "/" + "/".join(path.strip("/").split("/")[:1])
                    if top in seen or top in _OF_THE_SYSTEM:
                        continue
                    seen.add(top)
                    yield self._path(word.line, path, top, mounted)
                for part in word.variables:
                    if part.name in _STORES and part.name not in seen:
                        seen.add(part.name)
                        yield self._store(word.line, part.name, script.source)

    def _path(self, line: int, path: str, top: str, mounted: Sequence[str]) -> Finding:
        shown = one_line(path, 60)
        if not self.sky:
            return Finding(line, "path", shown, KEPT, "as this machine has it")
        for place in mounted:
            if path == place or path.startswith(place.rstrip("/") + "/"):
                return Finding(line, "path", shown, KEPT, f"{place} is mounted")
        settle = f'[paths]\n"{toml(top)}" = "s3://BUCKET{toml(top)}"'
        return Finding(
            line, "path", shown, DECISION, "on the nodes only if it lies in the submit folder or is mounted", settle
        )

    def _store(self, line: int, name: str, source: str) -> Finding:
        if re.search(r"(?m)^\s*(?:export\s+)?%s=" % name, source) or name in dict(self.site.environment):
            return Finding(line, "variable", name, KEPT, "the script or the site file sets it")
        if not self.sky:
            return Finding(line, "variable", name, KEPT, "as your environment has it")
        settle = f'[environment]\n{name} = "/{name.lower()}"\n[paths]\n"/{name.lower()}" = "s3://BUCKET/{name.lower()}"'
        return Finding(
            line, "variable", name, DECISION, "a storage of the old cluster: say where its content is", settle
        )


#: options -> the field of the task that holds most of what they ask for
_FIELDS = {
    "nodes": "num_nodes",
    "cpus-per-task": "cpus",
    "ntasks": "cpus",
    "ntasks-per-node": "cpus",
    "mem": "memory",
    "mem-per-cpu": "memory",
    "mem-per-gpu": "memory",
    "gpus": "accelerators",
    "gpus-per-node": "accelerators",
    "gpus-per-task": "accelerators",
    "gres": "accelerators",
    "tmp": "disk_size",
    "nice": "priority",
    "job-name": "name",
    "partition": "infra",
}
_KNOWN = re.compile(
    r"SLURM_(ARRAY_(JOB_ID|TASK_(COUNT|ID|MAX|MIN|STEP))|CLUSTER_NAME|CPUS?_.*|DIST.*|GPUS?_.*|GPUS|GTIDS|HET_.*|HINT"
    r"|JOB_.*|JOBID|LAUNCH_NODE_IPADDR|LOCALID|MEM_.*|MPI_TYPE|NETWORK|NNODES|NODEID|NODELIST|NPROCS|NTASKS.*"
    r"|OPEN_MODE|OVERCOMMIT|PACK_.*|PRIO_PROCESS|PROCID|PROFILE|RESTART_COUNT|RLIMIT_.*|SCRIPT_CONTEXT|SRUN_.*"
    r"|STEP.*|SUBMIT_(DIR|HOST)|TASKS_PER_NODE|TASK_PID|THREADS_PER_CORE|TMPDIR|LOGS|TOPOLOGY_.*|TRES_PER_TASK"
    r"|UMASK|WCKEY|WORKING_CLUSTER|EXPORT_ENV|HOSTFILE|CONF|CONTAINER.*|ACCTG_FREQ|DISTRIBUTION|EXIT_.*)"
    r"|SLURMD_NODENAME|SLURMD_.*|SBATCH_[A-Z_]+|SRUN_(CPUS_PER_TASK|DEBUG|KILL_ON_BAD_EXIT)"
)
_USUAL = re.compile(
    r"(?<![\w.-])(?:(?:NCCL|GLOO|UCX|FI)_[A-Z0-9_]+|MASTER_ADDR|MASTER_PORT|WORLD_SIZE|OMP_NUM_THREADS|CUDA_VISIBLE_DEVICES"
    r"|TMPDIR|HOME|USER|PWD)\b"
)
_PATH = re.compile(r"(?<![\w./$}~:*-])/(?:[A-Za-z0-9_][\w.@+-]*)(?:/[\w.@+-]+)*")
_OF_THE_SYSTEM = frozenset(
    ("/bin", "/usr", "/etc", "/dev", "/tmp", "/proc", "/sys", "/opt", "/var", "/lib", "/lib64", "/sbin", "/run")
)
_STORES = frozenset(("SCRATCH", "WORK", "PROJECT", "LOCAL_SCRATCH", "WORKDIR", "PSCRATCH", "CFS", "SCRATCHDIR", "DATA"))


def with_prices(page: Page, prices: Sequence[Mapping[str, str]], note: str) -> Page:
    """The page with what SkyPilot's optimizer said."""
    return replace(page, prices=tuple(prices), prices_note=note)


_ROW = re.compile(
    r"^\s(?P<infra>\S.*?)\s{2,}(?P<instance>\S.*?)\s{2,}(?P<cpus>\S+)\s{2,}(?P<memory>\S+)\s{2,}"
    r"(?P<gpus>\S.*?)\s{2,}(?P<cost>[\d.]+|-)(?P<chosen>.*)$"
)


def read_prices(text: str) -> list[dict[str, str]]:
    """Rows of the optimizer's table "Considered resources". Cost: dollars an hour for all nodes.

    Source: sky/optimizer.py, print_optimized_plan.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    found = []
    for line in plain.partition("Considered resources")[2].splitlines():
        match = _ROW.match(line)
        if match and match["infra"] != "INFRA":
            row = {name: match[name].strip() for name in ("infra", "instance", "cpus", "memory", "gpus", "cost")}
            row["chosen"] = "yes" if "✔" in match["chosen"] else ""
            found.append(row)
    return found
