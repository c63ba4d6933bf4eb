"""Converts workflow managers that submit jobs. Their rules and processes run on the node."""

from __future__ import annotations

import re

from ..script.conversion_tables import SECRET
from ..shell.shell_elements import Command, Statement
from .rank_conversion import Ranks

#: a command line with which snakemake submits its rules
_SUBMITTING = re.compile(r"\s--(cluster\b|slurm\b|executor[= ]slurm|(workflow-)?profile[= ]\S*(?i:slurm))")
#: snakemake's options for the submission of its rules
_SUBMITS = re.compile(
    r"--(cluster(-config|-status|-sync|-cancel|-cancel-nargs|-generic-[\w-]+)?|slurm|executor|default-resources|jobscript"
    r"|jobname|profile|workflow-profile|latency-wait|max-jobs-per-second|max-status-checks-per-second|local-cores|immediate-submit|drmaa)"
)


class Workflows(Ranks):
    """Reads snakemake and nextflow."""

    def _snakemake(self, statement: Statement, command: Command) -> None:
        """Run snakemake's rules on the node instead of submitting them."""
        texts = command.word_texts
        if not _SUBMITTING.search(" ".join(texts)):
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
        self.found.edit(command.words[0].end, command.words[0].end, more)
        self.found.drop(command.line, "snakemake's submission to Slurm", "its rules run on this node")
        self.found.notes.append("snakemake runs all rules on this node: raise cpus and memory for the whole workflow")

    def _nextflow(self, statement: Statement, command: Command) -> None:
        """Run nextflow's processes on the node instead of submitting them."""
        for at, word in enumerate(command.words[1:-1], 1):
            value = command.words[at + 1]
            names = (value.text or "").split(",")
            if word.text not in ("-profile", "-process.executor") or "slurm" not in names:
                continue
            others = ",".join(name for name in names if name != "slurm")
            text = f" {word.text} {others}" if others else ""
            self.found.edit(command.words[at - 1].end, value.end, text)
            self.found.drop(command.line, f"{word.text} slurm", "its processes run on this node")
            self.found.notes.append("nextflow runs all processes on this node: raise cpus and memory for the pipeline")

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
