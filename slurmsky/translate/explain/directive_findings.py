"""Findings for directives: the effect of each option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...language import directives
from ...options.getopt import split
from ...options.table import Option
from ...options.usage_errors import CommandError
from ...site.assumed import partition_for, unknown_cluster
from ..script import gpu_types, mount_points
from ..script.conversion_tables import one_line
from ..script.unknown_directives import RENAMED
from ..sky_task import option_support
from . import form_findings
from .explain_input import View
from .finding import CHANGED, DECISION, KEPT, MISSING, NOTHING, REFUSED, Finding
from .site_suggestions import toml

#: options -> the task field that holds most of their effect
_FIELDS = {
    "nodes": "num_nodes", "cpus-per-task": "cpus", "ntasks": "cpus", "ntasks-per-node": "cpus", "mem": "memory",
    "mem-per-cpu": "memory", "mem-per-gpu": "memory", "gpus": "accelerators", "gpus-per-node": "accelerators",
    "gpus-per-task": "accelerators", "gres": "accelerators", "tmp": "disk_size", "nice": "priority",
    "job-name": "name", "partition": "infra",
}  # fmt: skip
_GPU_OPTIONS = frozenset(("gpus", "gres", "gpus-per-node", "gpus-per-task", "gpus-per-socket"))


def _asks_gpus(name: str, value: str) -> bool:
    return name in _GPU_OPTIONS and (name != "gres" or "gpu" in value)


@dataclass
class Directives:
    """Finder of the effects of one script's directives."""

    view: View

    def findings(self, source: bytes) -> Iterator[Finding]:
        """A finding for each option of each line."""
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
        """Effect and reason of a line that starts another component."""
        refused = self.view.refused
        if refused is not None and refused.option == "hetjob":
            return REFUSED, f"{refused}: {refused.hint}"
        note = self.view.notes.get("hetjob")
        return form_findings.NEXT_COMPONENT if note is None else (CHANGED, note.text)

    def _line(self, line: int, texts: list[str]) -> Iterator[Finding]:
        found = split(self.view.table, texts)
        for option, text in found.found:
            shown = f"--{option.name}" + ("" if text is None else f"={one_line(text, 60)}")
            yield self._option(line, shown, option, text)
        if found.fault is not None:
            yield self._unknown(line, texts, found.fault)
        elif found.rest:
            reason = f"Invalid directive found in batch script: {one_line(found.rest[0])}"
            yield Finding(line, "directive", one_line(" ".join(texts), 60), REFUSED, reason)

    def _unknown(self, line: int, texts: list[str], fault: CommandError) -> Finding:
        message = one_line(fault.lines[0].partition(": ")[2]) if fault.lines else "unknown option"
        name = next((text[2:].partition("=")[0] for text in texts if text.startswith("--")), "")
        shown = one_line(" ".join(texts), 60)
        if name in RENAMED:
            return Finding(line, "directive", shown, DECISION, f"{message}; Slurm calls it --{RENAMED[name]}")
        if "unrecognized" in message and re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII):
            argument = "none" if texts == [f"--{name}"] else "required"
            suggestion = f'[[option]]  # an option of the old site\'s own\nname = "{name}"\nargument = "{argument}"'
            return Finding(line, "directive", shown, DECISION, message, suggestion)
        return Finding(line, "directive", shown, REFUSED, message)

    def _option(self, line: int, shown: str, option: Option, text: str | None) -> Finding:
        view = self.view

        def finding(effect: str, reason: str, suggestion: str = "") -> Finding:
            return Finding(line, "directive", shown, effect, reason, suggestion)

        name = option.name
        if option.policy == "refused":
            return finding(REFUSED, option.why or "is not available here")
        decision = self._decision(name, text or "")
        if decision is not None:
            return finding(*decision)
        reason = view.sentence("option", name)
        if view.sky:
            if view.refused is not None and view.refused.option == name:
                return finding(REFUSED, f"{view.refused}: {view.refused.hint}")
            note = view.notes.get("gpus" if name in _GPU_OPTIONS and name not in view.notes else name)
            if note is not None:
                effect = {"kept": KEPT, "agent": KEPT, "changed": CHANGED}.get(note.effect, NOTHING)
                accelerators = f"accelerators: {view.fields['accelerators']}; " if self._is_gpu(name) else ""
                return finding(effect, accelerators + note.text)
            if option.field in option_support.WITHOUT_EFFECT:
                return finding(NOTHING, option_support.WITHOUT_EFFECT[option.field])
        if option.policy in ("recorded", "none"):
            return finding(NOTHING, reason or option.why or "recorded with the job, without effect")
        here = _FIELDS.get(name, "")
        if view.sky and here in view.fields:
            value = view.fields[here]
            reason = f"{here}: {value} ({reason})" if reason != here else f"{here}: {value}"
        changed = (
            view.sky and option.field in option_support.TASK and name not in ("time", "job-name", "requeue", "nodes")
        )
        return finding(CHANGED if changed else KEPT, reason or "as in Slurm")

    @property
    def _no_gpu_here(self) -> bool:
        """Return whether the local engine has no GPU. nvidia-smi is then missing."""
        return self.view.lookup is not None and not self.view.lookup.program("nvidia-smi")

    def _is_gpu(self, name: str) -> bool:
        return name in _GPU_OPTIONS and "accelerators" in self.view.fields

    def _decision(self, name: str, value: str) -> tuple[str, str] | tuple[str, str, str] | None:
        """Effect, reason and site-file lines of a site-dependent option. Options may also depend on the machine."""
        view, site = self.view, self.view.site
        if name == "partition":
            return self._partition(value)
        if name == "account" and site.accounts and value not in site.accounts:
            described = f'[[account]]\nname = "{toml(value)}"'
            names = ", ".join(f'"{toml(word)}"' for word in (*site.accounts, value))
            lines = described if site.cluster.accounts else f"accounts = [{names}]"
            return DECISION, f"account {one_line(value)} is not in the site file", lines
        if name == "qos" and site.cluster.qos and value not in {one.name for one in site.cluster.qos}:
            return DECISION, f"there is no QOS {one_line(value)} here", f'[[qos]]\nname = "{toml(value)}"'
        if name in ("clusters", "cluster"):
            word = unknown_cluster(site.cluster, value)
            return (REFUSED, f"No cluster '{one_line(word)}' known by database.") if word else None
        if name == "chdir" and value.startswith("/"):
            return self._chdir(value.rstrip("/"))
        if name in ("output", "error") and "/" in value:
            return self._log(value)
        if not view.sky and site.cluster.open and _asks_gpus(name, value) and self._no_gpu_here:
            return KEPT, "this machine has no GPU: the job runs without, CUDA_VISIBLE_DEVICES is empty"
        if view.refused is not None and name in _GPU_OPTIONS and "GPU type" in view.refused.hint:
            why = "SkyPilot needs a GPU type and the script names none"
            return DECISION, why, '[gpus]\ndefault = "H100"'
        kind = view.task.geometry.gpu_type if view.task is not None and self._is_gpu(name) else ""
        if (
            kind.isalpha()
            and not gpu_types.sky_name(site.gpus, kind)
            and f"{kind.upper()}:" in str(view.fields["accelerators"])
        ):
            return DECISION, f"{kind} is no GPU of a cloud", f'[gpus.names]\n"{toml(kind)}" = "GPU_TYPE"'
        if view.sky and name == "constraint" and not site.cluster.open:
            return self._constraint(value)
        return None

    def _partition(self, value: str) -> tuple[str, str, str] | tuple[str, str] | None:
        view, cluster = self.view, self.view.site.cluster
        missing = [word for word in value.split(",") if partition_for(cluster, word) is None]
        if missing and len(missing) == len(value.split(",")):
            infra = '\ninfra = "kubernetes/CONTEXT"' if view.sky else ""
            lines = f'[[partition]]\nname = "{toml(missing[0])}"{infra}'
            return DECISION, f"there is no partition {one_line(missing[0])} here", lines
        first = value.split(",")[0]
        if cluster.partition(first) is None or cluster.open:
            found = partition_for(cluster, first)
            like = "any name is accepted" if found is None or found.name == first else f"treated as {found.name}"
            if view.sky and not view.infra:
                return CHANGED, f"{like} without a site file; SkyPilot chooses where"
            return KEPT, like
        return None

    def _chdir(self, value: str) -> tuple[str, str, str] | tuple[str, str] | None:
        """Effect of a --chdir to a folder of the old cluster. If the folder is missing, the job runs in /tmp."""
        view, project = self.view, self.view.project
        if not view.sky:
            known = view.lookup is None or view.lookup.path(value)
            return None if known else (MISSING, "the folder is not on this machine: the job would run in /tmp")
        if project is None or project.holds(value) or mount_points.is_mounted(value, view.mounted):
            return None
        if mount_points.is_mounted(value, view.wants.links):
            return CHANGED, "the submit folder as another machine names it: a link to it"
        if mount_points.on_every_node(value) or not view.wants.work_folder[1]:
            return None
        top = mount_points.mount_of(value)
        why = "on this machine, outside the submit folder: submit from there" if project.elsewhere(value) else (
            "is on the old cluster")  # fmt: skip
        return (
            DECISION,
            f"{why}, or set where nodes find its content",
            f'[paths]\n"{toml(top)}" = "s3://BUCKET{toml(top)}"',
        )

    def _log(self, value: str) -> tuple[str, str, str] | tuple[str, str] | None:
        """Effect of an --output in a folder. Missing folders below the submit folder are created."""
        folder = re.split(r"/[^/]*%", value, maxsplit=1)[0] if "%" in value else value.rpartition("/")[0]
        if not value.startswith("/"):
            return None
        if mount_points.on_every_node(value) or mount_points.on_every_node(folder + "/x"):
            return None
        lookup = self.view.lookup
        if lookup is not None and lookup.path(folder or "/"):
            return KEPT, "the folder is here; written as the log arrives" if self.view.sky else "the folder is here"
        if not self.view.sky:
            return (
                (MISSING, f"the folder {one_line(folder, 60)} is not here: no job can write there") if lookup else None
            )
        return CHANGED, f"if there is no {one_line(folder, 60)}, the log is a file of that name in the submit folder"

    def _constraint(self, value: str) -> tuple[str, str, str] | None:
        view = self.view
        mapped = {word for word, _ in view.site.sky_partition(view.partition).features}
        words = [
            word
            for word in re.findall(r"[A-Za-z_][\w.-]*", value)
            if word not in mapped and not gpu_types.sky_name(view.site.gpus, word)
        ]
        if not words:
            return None
        lines = f'[[partition]]\nname = "{toml(view.partition)}"\n'
        key = words[0] if re.fullmatch(r"[\w-]+", words[0], re.ASCII) else f'"{toml(words[0])}"'
        lines += f'features = {{ {key} = "INSTANCE TYPE OR GPU" }}'
        return DECISION, f"no feature {one_line(words[0])} is mapped", lines
