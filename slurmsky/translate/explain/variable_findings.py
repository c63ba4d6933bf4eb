"""Findings for variables: Slurm's, common ones, and unset ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from ...site.modules import find
from ..script.conversion_tables import one_line
from ..script.slurm_variables import KNOWN, RENAMED
from ..script.unset_variables import ENTERED, INPUT, INPUTS, unset_variables, values_read
from ..shell.script_commands import interpreter_of
from ..shell.word_sets import words
from .explain_input import View, sentences
from .finding import CHANGED, DECISION, KEPT, MISSING, Finding
from .site_suggestions import toml

_USUAL = re.compile(
    r"(?<![\w.-])(?:(?:NCCL|GLOO|UCX|FI)_[A-Z0-9_]+|MASTER_ADDR|MASTER_PORT|WORLD_SIZE|OMP_NUM_THREADS|CUDA_VISIBLE_DEVICES"
    r"|OMPI_MCA_(?:btl|oob)_tcp_if_include|TMPDIR|HOME|USER|PWD)\b"
)
#: a script that splits its own path
_OWN_PLACE = re.compile(r"\$\{?BASH_SOURCE\b|(?<=dirname )(?:-- )?\"?\$\{?0\b|\$\{0%/")
#: commands whose words need not exist
_MAKES = words("mkdir echo printf rm test [ [[ export touch")
#: a script that finds its original in a job
_FINDS_ORIGINAL = re.compile(r"\bSLURM_SUBMIT_DIR\b|scontrol\s+show\s+job|\bSLURM_JOB_?ID\b")
_SLURM = re.compile(r"\b(?:SLURMD?|SBATCH|SRUN)_\w+\b")
#: names of network interfaces that a cloud node may lack; ^ excludes interfaces, and lo exists everywhere
_OLD_CARD = re.compile(r"^=?(?!\^|lo$|eth|en|\$)[a-z]\w+")
_CARD_OPTION = re.compile(r"-{1,2}[\w-]*(?:interface|ifname|iface|nic)")
_CARD = re.compile(r"(?:ib|hsn|opa|ipogif|bond|roce|mlx5?_)[\w.:]*")


@dataclass
class Variables:
    """Finds variables of one script."""

    view: View
    unset: dict[str, int] = field(default_factory=dict)  # name -> line of its first use

    def findings(self) -> Iterator[Finding]:
        """All findings for variables, without repetition."""
        yield from self._slurm()
        yield from self._own_place()
        yield from self._common()
        yield from self._cards()
        yield from self._unset()

    def _matches(self, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
        source = self.view.source
        seen: set[str] = set()
        for match in pattern.finditer(source):
            start = source.rfind("\n", 0, match.start()) + 1
            if match[0] in seen or source[start : start + 1] == "#":
                continue
            seen.add(match[0])
            yield source.count("\n", 0, match.start()) + 1, match[0]

    def _slurm(self) -> Iterator[Finding]:
        for line, name in self._matches(_SLURM):
            yield Finding(line, "variable", name, *self._of_slurm(name))

    def _own_place(self) -> Iterator[Finding]:
        """Findings for the script's own path, used to find files. Slurm sets the path of the job's copy."""
        for line, text in self._matches(_OWN_PLACE):
            name = "BASH_SOURCE" if "BASH" in text else "$0"
            yield Finding(line, "variable", name, KEPT, self.view.sentence("variable", "BASH_SOURCE"))
            break
        else:
            return
        if _FINDS_ORIGINAL.search(self.view.source):
            return
        reading = (one for one in self.view.script.commands if one.name not in _MAKES)
        for command, word in ((one, word) for one in reading for word in one.words):
            own = re.match(r"\"?\$\{?(\w+)\}?\"?/(?!(\.\./?)+\"?$)", word.raw)
            if own and _OWN_PLACE.search(self._assigned(own[1])):
                reason = "not beside the job's copy of the script: sbatch of Slurm fails, too; use $SLURM_SUBMIT_DIR"
                yield Finding(command.line, "path", one_line(word.raw.strip('"'), 60), MISSING, reason)
                return

    def _assigned(self, name: str) -> str:
        """Source of a variable's values."""
        found = (given for command in self.view.script.commands for given in command.assignments if given.name == name)
        return "\n".join(given.value.raw for given in found)

    def _common(self) -> Iterator[Finding]:
        """Common variables whose value the user should check."""
        for line, name in self._matches(_USUAL):
            row = name if ("variable", name) in sentences() else "NCCL_"
            reason = self.view.sentence("variable", row)
            effect = KEPT
            card = self._card(name) if name.endswith(("_SOCKET_IFNAME", "_tcp_if_include")) else ""
            if self.view.sky and _OLD_CARD.search(card):
                effect = DECISION  # NCCL and Gloo fail without such an interface
            yield Finding(line, "variable", name, effect, reason)

    def _card(self, name: str) -> str:
        """Network card that a variable names, also one of a container: ``--env NCCL_SOCKET_IFNAME=ib0``."""
        given = re.search(rf"(?m)^[^#\n]*(?:ENV_|--env[ =]|-x |,){name}=[\"']?([\w=^]+)", self.view.source)
        return given[1] if given else self.view.scope.values.get(name, "")

    def _cards(self) -> Iterator[Finding]:
        """Options that name a network card: ``dask-mpi --interface ib0``. SkyPilot's nodes lack these cards."""
        for command in self.view.script.commands if self.view.sky else ():
            for word, following in pairwise([*command.words, *command.words[-1:]]):
                option, _, value = self.view.scope.expand(word).partition("=")
                value = value or self.view.scope.expand(following)
                if _CARD_OPTION.fullmatch(option) and _CARD.fullmatch(value):
                    reason = self.view.sentence("variable", "NCCL_SOCKET_IFNAME")
                    yield Finding(word.line, "command", one_line(f"{option} {value}", 60), DECISION, reason)

    def _of_slurm(self, name: str) -> tuple[str, str]:
        view = self.view
        if re.search(r"(?m)^\s*(?:export\s+)?%s=" % name, view.source):
            return KEPT, "the script sets it itself"
        if not KNOWN.fullmatch(name):
            return KEPT, "not a variable of Slurm; as in your environment"
        also = RENAMED.get(name, "")
        beside = f" ({also} has the same meaning in SkyPilot)" if view.sky and also and also != "TASK_ID" else ""
        if name in ("SLURM_TMPDIR", "SLURM_LOGS"):
            return CHANGED, "set by some sites only; [environment] of the site file can set it"
        return KEPT, f"set as Slurm sets it{beside}"

    # --- variables that nothing sets

    def _unset(self) -> Iterator[Finding]:
        self.unset = unset_variables(self.view.script, self.view.scope)
        for name, line in self.unset.items():
            yield self._missing(line, name)

    def _setter(self, name: str) -> str:
        """Loaded module that sets a variable, or "".

        The module's folder is known, and `module` sets variables in bash only.
        """
        site = self.view.site
        if interpreter_of(self.view.source) not in ("bash", ""):
            return ""
        loaded = self.view.wants.modules if site.shipped_modules or not self.view.sky else ()
        found = ((one, find(site, one)) for one in loaded)
        return next((one for one, module in found if module is not None and name in dict(module.sets)), "")

    def _is_input(self, name: str) -> bool:
        """Return whether a caller exports the variable.

        The script has ``${NAME:?}``, shows how to submit it with a value, lacks many variables, reads a value alone,
        or names it in lower case, as no cluster does.
        """
        source = self.view.source
        declared = re.findall(r"\$\{(\w+):?\?", source)
        shown = re.search(rf"(?m)^.*\bsbatch\b.*\b{name}=|^.*\b{name}=.*\bsbatch\b", source)
        if name in declared or shown or name == name.lower():
            return True
        if name in dict(self.view.wants.stores):
            return False
        first = name.partition("_")[0].lower()
        # ALPHAFOLD_SING belongs to module alphafold
        of_module = any(first in one.lower() for one in self.view.wants.modules)
        written_for_a_caller = (
            len(declared) > 1
            or len(self.unset) >= INPUTS
            or (name in values_read(self.view.script, self.view.scope, self.unset) and not of_module)
        )
        return written_for_a_caller and bool(INPUT.fullmatch(name))

    def _missing(self, line: int, name: str) -> Finding:
        view = self.view
        shown = one_line(name, 60)

        def finding(effect: str, reason: str, suggestion: str = "") -> Finding:
            return Finding(line, "variable", shown, effect, reason, suggestion)

        if name in dict(view.site.environment) or name in _exported_by_option(view.spec.export):
            return finding(KEPT, "the site file or --export sets it")
        setter = self._setter(name)
        if setter:
            return finding(CHANGED if view.sky else KEPT, f"module {one_line(setter, 40)} sets it")
        if name in ENTERED and view.wants.environments:
            return finding(KEPT, "set by the environment that the script enters")
        if view.lookup is not None and view.lookup.variable(name) is not None:
            return finding(KEPT, "as in your environment")
        if self._is_input(name):
            return finding(KEPT, "an input of the script: export it before sbatch, as on Slurm")
        others = rf"activate|conda|/etc/|modules|bashrc|\${name}\b"
        files = [file for _, file in view.scope.sourced if not re.search(others, file)]
        if files and name not in dict(view.wants.stores):
            return finding(KEPT, f"set by {one_line(files[0], 40)}, which the script reads, or by your environment")
        if not view.sky:
            return finding(MISSING if view.lookup else KEPT, "neither the script nor your environment sets it")
        store = dict(view.wants.stores).get(name)
        if store is not None:
            suggestion = f'[environment]\n{name} = "{store}"'
            if view.site.cluster.open:
                return finding(
                    CHANGED, f"a file system of the old cluster: {store}, created on each node, removed with it"
                )
            return finding(DECISION, "a file system of the old cluster: set its present place", suggestion)
        suggestion = f'[environment]\n{toml(name)} = "VALUE"'
        why = "nothing in the script sets it: export it before sbatch, or set a value for all jobs"
        return finding(DECISION, why, suggestion)


def _exported_by_option(export: str | None) -> set[str]:
    return set(re.findall(r"(?:^|,)(\w+)=", export or ""))
