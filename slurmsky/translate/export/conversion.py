"""Rewrites a script's commands for SkyPilot, one rule per idiom.

``read`` processes the commands of a script once. It collects edits of the text, setup commands, variables, and what
requires slurmsky on the nodes. SkyPilot runs ``run`` on every node, Slurm runs a batch script on the first node: most
edits bridge that difference.
"""

from __future__ import annotations

import re

from ...site.record import Site
from ..script.conversion_tables import (
    ANYWHERE,
    FILTERS,
    OMITTED_BLOCKS,
    QUERIES,
    Dropped,
    Reading,
    one_line,
    quoted,
)
from ..shell.script_commands import Script, parse
from ..shell.shell_elements import Block, Command, Statement
from . import variable_conversion
from .conversion_base import HEAD_ADDRESS, expands
from .launcher_commands import called, copies, on_all_nodes, ray_chore
from .step_conversion import Steps
from .variable_conversion import DirectiveValues

__all__ = ["DirectiveValues", "Dropped", "Reading", "one_line", "quoted", "read"]


def read(script: Script, directives: DirectiveValues, site: Site) -> Reading:
    """Apply all idioms to a script."""
    return _ScriptConverter(script, directives, site).read()


_DIRNAME = re.compile(
    r"""\$\(\s*dirname\s+(?:--\s+)?["']?\$\{?(?:0|BASH_SOURCE(?:\[0\])?)\}?["']?\s*\)|`\s*dirname\s+["']?\$\{?0\}?["']?\s*`"""
)


#: values that lead to the address of the first node
_NODES = re.compile(r"scontrol\s+show\s+hostname|^\(?\$\{?(?=\w*(node|host))\w+(\[[0@*]\])?\}?\)?$", re.IGNORECASE)


#: the last digits of the job's id
_CUT_ID = re.compile(r"SLURM_JOB_?ID(\}?[^\n]*\b(tail|cut|head) -c|: ?-)")


#: comments about Slurm's and the modules' commands, most often lines that are switched off
_OF_SLURM = re.compile(
    r"(?i)(?!#+\s?(?:SBATCH|SLURM|PBS|BSUB)\b).*\b(srun|sbatch|scontrol|squeue|scancel|slurm\w*|module (load|purge))\b"
)
#: commands that decide which modules are loaded
_CHECKS = frozenset(("[", "[[", "test", ":", "true", ""))


class _ScriptConverter(Steps):
    """Rules for whole statements, and idioms of several commands."""

    def read(self) -> Reading:
        script = self.script
        self._ray()
        self._queries()
        self._choose_image()
        for statement in script.statements:
            if not self._is_gone(statement):
                self._statement(statement)
                self.worked = self.worked or (not self._is_gone(statement) and self._works(statement))
        self._leftovers()
        self._own_folder()
        for at, text in script.comments:
            if _OF_SLURM.match(text):
                self.found.edit(at, at + len(text), "")
        self.found.former = self.code
        self.found.workdir = self.found.workdir or bool(self.code)
        self._unlisted()
        self.found.paths += [entry for entry in self.found.loaded if entry[1] not in self.found.checkpoints]
        self.found.calculates = bool(_CUT_ID.search(script.source)) or any(
            re.search(rf"(\(\(|\bexpr\b|\blet\b)[^\n]*\b{name}\b", script.source)
            for name in ["SLURM_JOB_?ID", *re.findall(r"\b(\w+)=[\"']?\$\{?SLURM_JOB_?ID\b", script.source)]
        )
        variable_conversion.rename(script, self.directives, self.found, self.removed)
        if self.directives.nodes > 1 and not self.found.needs:
            self._head_only()
        return self.found

    def _queries(self) -> None:
        """Remove queries of the queue that only print."""
        found = [statement for statement in self.script.statements if self._is_query(statement)]
        if not any(self._works(statement) for statement in self.script.statements if statement not in found):
            return
        for statement in found:
            self._remove(statement)
            why = "prints Slurm's queue to the log; see `sky jobs queue`"
            self.found.drop(statement.line, self.script.text(statement), why)

    def _is_query(self, statement: Statement) -> bool:
        """Return whether a statement is one query with unused output."""
        if statement.blocks or not statement.commands:
            return False
        first, *rest = statement.commands
        shows = first.name == "scontrol" and bool(re.match("show (job|node|part)", " ".join(first.word_texts[1:])))
        return (
            (shows or first.name in QUERIES)
            and all(command.name in FILTERS and command.before in ("|", "|&", "||") for command in rest)
            and not any(
                ">" in operator and word.text not in ("/dev/null", "/dev/stdout", "/dev/stderr", "1", "2")
                for command in statement.commands
                for operator, word in command.redirects
            )
        )

    def _own_folder(self) -> None:
        """Replace ``$(dirname "$0")`` by ~/sky_workdir, the submit folder."""
        for match in _DIRNAME.finditer(self.script.source):
            self.found.edit(match.start(), match.end(), "$HOME/sky_workdir")
            self.found.workdir = True
        if self.directives.nodes > 1:
            for match in re.finditer(r"(rdzv[_-]id[= ]\s*)\$\{?RANDOM\}?", self.script.source):
                self.found.edit(match.end(1), match.end(), "101")  # all nodes need equal values
            if not re.search(r"master[_-]addr|rdzv|main_process_ip", self.script.source):
                for match in re.finditer(r"--node[_-]rank\b", self.script.source):
                    self.found.edit(match.start(), match.start(), f'--master_addr "$({HEAD_ADDRESS})" ')

    def _statement(self, statement: Statement) -> None:
        if self._node_loop(statement):
            return
        for shown, why in (row for name, row in OMITTED_BLOCKS.items() if name in self.script.text(statement)):
            self._remove(statement)
            return self.found.drop(0, shown, why)
        first = statement.commands[0] if statement.commands else None
        alone = len(statement.commands) == 1 and not statement.blocks
        ways = (self._chooses_devices, self._spack, self._line)
        if first is not None and alone and any(way(statement, first) for way in ways):
            return
        loads = [command for command in statement.commands if command.name in ("module", "ml")]
        if loads and all(command in loads or command.name in _CHECKS for command in statement.commands):
            for command in loads:
                self._modules(command)
            self._remove(statement)
            return
        for command in self._commands(statement):
            if command.start not in self.processed:
                self._command(statement, command)

    def _works(self, statement: Statement) -> bool:
        """Return whether a statement runs a program other than preparations."""
        inner = [command for command in self._commands(statement) if command.words and not command.depth]
        if any(block.kind == "function" for block in statement.blocks):
            return False
        return any(command.name not in ANYWHERE and not self._installs(command) for command in inner)

    def _leftovers(self) -> None:
        """Remove counters without readers, and waits without background commands."""
        if not self.removed or self.found.needs:
            return
        if not re.search(r"(?<![&<>|])&(?![&>\d])", self._rest()):
            for statement in self.script.statements:
                if [command.word_texts for command in statement.commands] == [["wait"]] and not statement.blocks:
                    self._remove(statement)
        for statement in self.script.statements:
            command = statement.commands[0] if len(statement.commands) == 1 and not statement.blocks else None
            if command is None or command.words or len(command.assignments) != 1:
                continue
            given = command.assignments[0]
            if not self._is_gone(statement) and (given.value.text or "").isdecimal() and not self._is_read(given.name):
                self._remove(statement)
        for statement in reversed(self.script.statements):
            command = statement.commands[0] if statement.commands and not statement.blocks else None
            if command is None or command.words or len(command.assignments) != 1 or self._is_gone(statement):
                continue
            name, leads = command.assignments[0].name, _NODES.search(command.assignments[0].value.raw)
            if leads and expands(name, self.script.source) and not expands(name, self._rest()):
                self._remove(statement)

    def _ray(self) -> None:
        """Replace a manual start of a Ray cluster by SkyPilot's template."""
        commands = self.script.commands
        starts = [command for command in commands if called(command, "ray", "start")]
        submits = [command for command in commands if called(command, "ray", "job") and "submit" in command.word_texts]
        if not starts and not submits:
            return
        drivers = set()
        for command in submits:
            words = command.words
            dashes = [index for index, word in enumerate(words) if word.raw == "--"]
            if not dashes or dashes[0] + 1 >= len(words):
                continue
            self._runtime_env(command)
            self.found.edit(command.start, words[dashes[0] + 1].start, "")
            self.removed.append((command.start, words[dashes[0] + 1].start))
            drivers.add(command.start)
            self._paths(command.words[dashes[0] + 1 :])
        for statement in self.script.statements:
            mine = self._commands(statement)
            for command in mine:
                self.processed.update([command.start] if command.start in drivers else [])
            if any(command.start in drivers for command in mine):
                continue
            if any(called(command, "ray", "start") or called(command, "ray", "stop") for command in mine) or (
                mine and all(ray_chore(command, mine) for command in mine)
            ):
                self._remove(statement)
        before = -1
        while before != len(self.removed):  # lines that served only the start: addresses, ports, counts of workers
            before = len(self.removed)
            for statement in reversed(self.script.statements):
                if not self._is_removed(statement.start) and self._only_for_ray(statement):
                    self._remove(statement)
        if not self.found.setup:
            self.found.setup.append('pip install "ray[default]"')
        if self.directives.nodes > 1:
            self.found.activate.append("~/sky_templates/ray/start_cluster  # on every node: a Ray cluster of this job")
        self.found.drop(
            starts[0].line if starts else submits[0].line,
            "ray start ...",
            "SkyPilot's template starts the cluster on all nodes (head on the first)"
            if self.directives.nodes > 1
            else "ray.init() starts Ray on a single node",
        )

    def _only_for_ray(self, statement: Statement) -> bool:
        if len(statement.commands) != 1 or statement.blocks:
            return False
        command = statement.commands[0]
        if command.words and command.name != "export":
            return False
        names = {given.name for given in command.assignments}
        names |= {word.raw.partition("=")[0] for word in command.arguments}
        return bool(names) and names <= self._ray_only(names)

    def _ray_only(self, names: set[str]) -> set[str]:
        """Variables of ``names`` that no remaining line reads."""
        rest, at = "", 0
        for start, end in sorted(self.removed):
            rest += self.script.source[at:start]
            at = max(at, end)
        rest += self.script.source[at:]
        return {
            name
            for name in names
            if re.search("ip|head|node|port|addr|worker|redis", name, re.IGNORECASE)
            and not re.search(r"\$\{?[#!]?%s\b" % re.escape(name), rest)
        }

    def _node_loop(self, statement: Statement) -> bool:
        """Replace a loop over hosts with ssh; run is that loop.

        ``for host in $(scontrol show hostnames ...); do ssh $host COMMAND; done``.
        """
        loops = [block for block in statement.blocks if block.kind == "for"]
        if len(loops) != 1 or len(statement.blocks) != 1:
            return False
        loop = loops[0]
        body = [command for command in statement.commands if loop in command.blocks]
        remote = [command for command in body if command.name in ("ssh", "pdsh", "srun") and command.words]
        if not remote or not self._over_nodes(loop):
            return False
        if any(command.after == "&" for command in remote) and self._is_followed(statement):
            return False  # such commands are started by the first node over ssh, too
        texts: list[str] = []
        for command in body:
            if command in remote:
                text = self._remote(command, loop.name)
                if text is None:
                    return False
                texts.append(text)
            elif command.name not in ("echo", "sleep", "wait", "") or any(
                not variable_conversion.harmless(given.value) for given in command.assignments
            ):
                return False
        self.found.edit(statement.start, statement.end, "\n".join(texts))
        self.removed.append((statement.start, statement.end))
        self.found.drop(
            statement.line, self.script.source[statement.start : statement.end], "run is already on every node"
        )
        self.everywhere.add(statement)
        return True

    def _is_followed(self, statement: Statement) -> bool:
        """Return whether another program runs before the script's next wait."""
        for later in self.script.statements:
            if later.start > statement.start and any(command.name == "wait" for command in later.commands):
                return False
            if later.start > statement.start and self._works(later):
                return True
        return False

    def _over_nodes(self, loop: Block) -> bool:
        listed = " ".join(word.raw for word in loop.words)
        if "hostname" in listed or "SLURM_JOB_NODELIST" in listed or "SLURM_NODELIST" in listed:
            return True
        for word in loop.words:
            for part in word.variables:
                if re.search(
                    r"\b%s=\(?\s*[\"']?(\$\(|`)\s*\(?\s*scontrol\s+show\s+hostname" % re.escape(part.name),
                    self.script.source,
                ):
                    return True
        return False

    def _remote(self, command: Command, variable: str) -> str | None:
        """Command that ``ssh $host COMMAND`` or ``srun -w $host`` runs."""
        words = command.words
        index = next((at for at, word in enumerate(words) if word.variable() == variable), None)
        if index is None:
            index = next((at for at, word in enumerate(words) if any(p.name == variable for p in word.variables)), None)
        if index is None:
            return None
        rest = words[index + 1 :]
        while command.name == "srun" and rest and rest[0].raw.startswith("-"):
            rest = rest[1:]
        if not rest:
            return None
        source = self.script.source
        if len(rest) == 1 and rest[0].raw[:1] in "'\"":
            inner = rest[0].text
            if inner is None:
                inner = rest[0].raw[1:-1].replace('\\"', '"').replace("\\$", "$")
            text = inner
        else:
            text = source[rest[0].start : rest[-1].end]
        if re.search(r"\bray\s+(start|stop)\b", text):
            return None
        text = re.sub(r"^\s*cd\s+[\"']?\$\{?(PWD|SLURM_SUBMIT_DIR)\}?[\"']?\s*(;|&&)\s*", "", text)
        for statement in parse(text).statements:
            for part in statement.commands:
                self._paths(part.words)
        return variable_conversion.rename_text(text, self.directives, self.found)

    def _head_only(self) -> None:
        """Restrict commands to the first node, as Slurm does.

        Commands that are harmless on every node stay unrestricted.
        """
        run: list[Statement] = []
        working = [one for one in self.script.statements if not self._is_gone(one) and self._works(one)]
        begins = next((one.start for one in working if not copies(one)), 0)
        for statement in self.script.statements:
            if self._is_gone(statement) and statement not in self.everywhere:
                continue
            on_all = statement in self.everywhere or (statement.start < begins and copies(statement))
            if not on_all and self._for_the_head(statement):
                run.append(statement)
            else:
                self._guard(run)
                run = []
        self._guard(run)
        if (
            working
            and all(map(self._for_the_head, working))
            and not (self.everywhere or self.found.activate)
            and "NODE_IPS" not in "".join(text for _, _, text in self.found.edits)
        ):
            self.found.notes.append("no command uses the other nodes: remove num_nodes to run on one node")

    def _for_the_head(self, statement: Statement) -> bool:
        if any(
            command.name in ("cd", "pushd", "export", "source", ".")
            and not command.depth
            and not any(block.kind == "subshell" for block in command.blocks)
            for command in statement.commands
        ):
            return False  # later commands need the result on all nodes
        return any(
            command.depth == 0
            and command.name not in ANYWHERE
            and command.words
            and not on_all_nodes(command)
            and not self._installs(command)  # nodes share no file system, so each installs and downloads
            for command in statement.commands
        )

    def _guard(self, statements: list[Statement]) -> None:
        if not statements:
            return
        first, last = statements[0], statements[-1]
        text = self.script.source[first.start : last.end]
        plain = "\n" not in text or ("<<" not in text and "'" not in text and '"\n' not in text)
        self.found.edit(
            first.start, first.start, 'if [ "$SKYPILOT_NODE_RANK" = 0 ]; then\n' + ("    " if plain else "")
        )
        if plain:
            for newline in re.finditer(r"\n(?=[^\n])", text):
                at = first.start + newline.end()
                self.found.edit(at, at, "    ")
        self.found.edit(last.end, last.end, "\nfi")
