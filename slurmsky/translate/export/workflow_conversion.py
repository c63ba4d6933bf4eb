"""Converts workflow managers that submit jobs. Their rules and processes run on the node."""

from __future__ import annotations

import re

from ..script.conversion_tables import SECRET
from ..script.workflow_submission import profile_of, submits
from ..shell.shell_elements import Command, Statement
from .rank_conversion import Ranks

#: snakemake's options for the submission of its rules
_SUBMITS = re.compile(
    r"--(cluster(-config|-status|-sync|-cancel|-cancel-nargs|-generic-[\w-]+)?|slurm|executor|default-resources|jobscript"
    r"|jobname|profile|workflow-profile|latency-wait|max-jobs-per-second|max-status-checks-per-second|local-cores|immediate-submit|drmaa)"
)


#: settings of a profile that its rules need anywhere
_KEPT = re.compile(r"(?m)^(use-(?:conda|singularity|apptainer)|keep-going)\s*:\s*[Tt]rue")
_ON_ONE_NODE = "nextflow runs all processes on this node: raise cpus and memory for the pipeline"


class Workflows(Ranks):
    """Reads snakemake and nextflow."""

    def _snakemake(self, statement: Statement, command: Command) -> None:
        """Run snakemake's rules on the node instead of submitting them."""
        texts = command.word_texts
        file, config = profile_of(texts, self.directives.folder)
        if not submits(texts, self.directives.folder):
            return
        at = 1
        while at < len(texts):
            option, sign, _ = texts[at].partition("=")
            last = at
            if _SUBMITS.fullmatch(option) and not sign and option != "--slurm" and at + 1 < len(texts):
                last += 1
            jobs = re.fullmatch(r"-j|--jobs|-j\d+|--cores", option)
            if jobs and at + 1 < len(texts) and texts[at + 1].isdecimal():
                last += 1
            if _SUBMITS.fullmatch(option) or jobs:
                cores = " --cores all" if (jobs and "--cores" not in texts) or option == "--cores" else ""
                self.found.edit(command.words[at - 1].end, command.words[last].end, cores)
            at = last + 1
        more = "" if any(re.match(r"-j|--(jobs|cores)|-c", text) for text in texts) else " --cores all"
        more += "".join(f" --{name}" for name in _KEPT.findall(config) if f"--{name}" not in texts)
        self.found.edit(command.words[0].end, command.words[0].end, more)
        why = "its rules run on this node" + (f"; settings of {file} are left out" if config else "")
        self.found.drop(command.line, "snakemake's submission to Slurm", why)
        self.found.notes.append("snakemake runs all rules on this node: raise cpus and memory for the whole workflow")

    def _ssh(self, statement: Statement, command: Command) -> None:
        """Omit a tunnel through a host of the old cluster."""
        options = "".join(word.raw for word in command.arguments if re.fullmatch(r"-[A-Za-z]+\d*", word.raw))
        if "N" in options and re.search("[DLR]", options) and len(statement.commands) == 1 and not statement.blocks:
            self._remove(statement)
            why = "a tunnel through a host of the old cluster; the nodes reach the internet without it"
            self.found.drop(command.line, self.script.text(command), why)

    def _nextflow(self, statement: Statement, command: Command) -> None:
        """Run nextflow's processes on the node instead of submitting them."""
        folder = self.directives.folder
        if submits(["nextflow"], folder):
            self.found.edit(command.words[-1].end, command.words[-1].end, " -process.executor local")
            self.found.drop(command.line, "nextflow.config's executor slurm", "its processes run on this node")
            self.found.notes.append(_ON_ONE_NODE)
        for at, word in enumerate(command.words[1:-1], 1):
            value = command.words[at + 1]
            names = (value.text or "").split(",")
            if word.text not in ("-profile", "-process.executor") or "slurm" not in names:
                continue
            others = ",".join(name for name in names if name != "slurm")
            text = f" {word.text} {others}" if others else ""
            self.found.edit(command.words[at - 1].end, value.end, text)
            self.found.drop(command.line, f"{word.text} slurm", "its processes run on this node")
            self.found.notes.append(_ON_ONE_NODE)

    def _runtime_env(self, command: Command) -> None:
        """Convert ``--runtime-env-json='{"env_vars": {...}}'`` to envs."""
        import json

        for index, word in enumerate(command.words):
            text = word.text or ""
            if not text.startswith("--runtime-env-json"):
                continue
            body = text.partition("=")[2] or (
                command.words[index + 1].text or "" if index + 1 < len(command.words) else ""
            )
            try:
                given = json.loads(body).get("env_vars", {})
            except (ValueError, AttributeError):
                self.found.drop(command.line, word.text_or_source, "its env_vars are moved to envs")
                continue
            for name, value in given.items() if isinstance(given, dict) else ():
                if not re.fullmatch(r"[A-Za-z_]\w*", str(name), re.ASCII):
                    continue
                if SECRET.search(str(name)):
                    self.found.secrets.append(str(name))
                else:
                    self.found.envs[str(name)] = str(value)
