"""Commands that start programs: srun with its options, mpirun, and what asks Slurm's queue."""

from __future__ import annotations

from collections.abc import Callable

from ..options.getopt import split
from . import idiomvars
from .idiomlines import Lines
from .idiomtables import CLIENTS, LAUNCHERS, WRAPPERS, one_line
from .shell import script_in
from .shellcommands import FILLER, Command, Statement, Word


class Steps(Lines):
    """Commands anywhere in a script."""

    def _command(self, statement: Statement, command: Command) -> None:
        name = command.name
        row = _IDIOMS.get(name)
        if row is not None:
            row(self, statement, command)
        elif name in CLIENTS:
            self.found.need(
                command.line, self.script.source[command.start : command.end], f"{name} needs slurmsky's queue"
            )
        elif name in LAUNCHERS:
            self._mpirun(statement, command)
        elif name in WRAPPERS:
            for word in command.arguments:
                if word.text in CLIENTS or word.text in ("srun", "scontrol"):
                    text = self.script.source[command.start : command.end]
                    self.found.need(word.line, text, f"{name} starts {word.text}")
                    break
        elif name in ("jupyter", "jupyter-lab", "jupyter-notebook"):
            self.found.notes.append("a server to look at: sky launch -c NAME, then ssh -L PORT:localhost:PORT NAME")
        self._paths(command.words[self._program(command) :])

    def _scontrol(self, statement: Statement, command: Command) -> None:
        words = [word.lower() for word in command.texts[1:3]]
        if words[:1] == ["show"] and words[1:2] and words[1].startswith("hostname"):
            self.found.edit(command.start, command.words[-1].end, 'echo "$SKYPILOT_NODE_IPS"')
            self.removed.append((command.start, command.words[-1].end))
            return
        self.found.need(
            command.line, self.script.source[command.start : command.end], "scontrol needs slurmsky's queue"
        )

    def _module_command(self, statement: Statement, command: Command) -> None:
        self._modules(command)
        self.found.edit(command.start, command.end, ":")
        self.removed.append((command.start, command.end))

    def _sbcast(self, statement: Statement, command: Command) -> None:
        self.found.edit(command.words[0].start, command.words[0].end, "cp")
        self.everywhere.add(statement)

    def _srun(self, statement: Statement, command: Command) -> None:
        source = self.script.source
        texts = [idiomvars.value(word, self.facts, self.values) or word.shown for word in command.words]
        found = split(self.table, texts[1:])
        if not found.rest:
            self.found.need(command.line, source[command.start : command.end], "options of srun come from a variable")
            return
        said = {entry.option.name: entry.text for entry in found.found}
        program = command.words[len(command.words) - len(found.rest)]
        if program.text is None and program.raw.startswith("$") and program.variable() and "ARGS" in program.variable():
            self.found.need(command.line, source[command.start : command.end], "options of srun come from a variable")
            return
        text = source[command.start : program.start]
        for option in ("multi-prog", "het-group", "pty", "nodelist", "relative", "input"):
            if option in said:
                self.found.need(command.line, text, f"srun --{option} has no counterpart in SkyPilot")
                return
        tasks, nodes = self._step_size(said)
        if tasks is None or nodes is None:
            self.found.need(command.line, text, "how many tasks it starts is known only when it runs")
            return
        if tasks > nodes or ("mpi" in said and said["mpi"] not in ("none", None) and tasks > 1):
            self.found.need(
                command.line,
                text,
                f"{tasks} tasks on {nodes} node{'s' if nodes > 1 else ''}: SkyPilot starts one program a node",
            )
            return
        if nodes < self.facts.nodes and command.after == "&":
            self.found.need(command.line, text, "steps side by side on parts of the nodes")
            return
        self.found.edit(command.words[0].start, program.start, "")
        self.removed.append((command.words[0].start, program.start))
        self._unwrap(command, program)
        if nodes == self.facts.nodes:
            self.everywhere.add(statement)
        if "label" in said:
            self.found.drop(command.line, "srun --label", "SkyPilot's log tells the nodes apart by itself")
        for option in ("output", "error"):
            if option in said:
                self.found.drop(command.line, f"srun --{option}={said[option]}", "all output is in sky jobs logs")
        self._pyxis(command, said)

    def _unwrap(self, command: Command, program: Word) -> None:
        """``bash -c 'COMMAND'`` that is left of an srun is COMMAND."""
        words = [word for word in command.words if word.start >= program.start]
        if len(words) != 3 or words[1].text != "-c" or (words[0].text or "").rpartition("/")[2] not in ("bash", "sh"):
            return
        inner = script_in(words[2], command.depth + 1)
        if inner is None or len(inner.statements) != 1 or len(inner.statements[0].commands) != 1:
            return
        first = inner.statements[0].commands[0]
        if first.name in ("exit", "exec", "cd") or not first.words or inner.comments:
            return
        word = words[2]
        for at, char in enumerate(inner.source):
            if char == FILLER:
                self.found.edit(word.start + 1 + at, word.start + 2 + at, "")
        self.found.edit(words[0].start, inner.statements[0].start, "")
        self.found.edit(inner.statements[0].end, word.end, "")

    def _step_size(self, said: dict[str, str | None]) -> tuple[int | None, int | None]:
        """Tasks and nodes of a step; None where a variable decides."""

        def number(option: str) -> int | None:
            text = (said.get(option) or "").split("-")[0]
            return int(text) if text.isdigit() and len(text) < 8 else None

        for option in ("ntasks", "nodes", "ntasks-per-node"):
            if option in said and number(option) is None:
                return None, None
        nodes, each, tasks = number("nodes"), number("ntasks-per-node"), number("ntasks")
        if tasks is None:
            tasks = (nodes or self.facts.nodes) * each if each else nodes or self.facts.ntasks
        if nodes is None:
            nodes = -(-tasks // each) if each else min(tasks, self.facts.nodes)
        return tasks, nodes

    def _pyxis(self, command: Command, said: dict[str, str | None]) -> None:
        image = said.get("container-image")
        if image and image not in self.found.images:
            self.found.images.append(image)
            if len(self.found.images) > 1:
                self.found.need(command.line, f"--container-image={one_line(image)}", "a task has one image")
        for mount in (said.get("container-mounts") or "").split(","):
            source, _, rest = mount.partition(":")
            if source.startswith("/"):
                self.found.paths.append((command.line, source))
            if source.startswith(("$PWD", "$(pwd)", "$SLURM_SUBMIT_DIR", "${PWD}", "./")):
                self.found.drop(command.line, f"--container-mounts={mount}", "the folder is in ~/sky_workdir")
            elif rest and rest.split(":")[0] != source:
                self.found.drop(
                    command.line,
                    f"--container-mounts={mount}",
                    "mount the bucket or volume at the path in the container",
                )
        folder = said.get("container-workdir")
        if folder:
            self.found.notes.append(f"the container began in {one_line(folder)}; SkyPilot begins in ~/sky_workdir")

    def _mpirun(self, statement: Statement, command: Command) -> None:
        if self.facts.nodes == 1:
            return
        texts = command.texts
        places = f"$(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:{self.facts.tasks_per_node}/' | paste -sd, -)"
        more = f"-H {places}"
        if not any(word in ("-n", "-np", "-c", "--np", "--n") for word in texts):
            more += f" -np {self.facts.ntasks}"
        self.found.edit(command.words[0].end, command.words[0].end, " " + more)
        self.found.notes.append("mpirun starts the ranks from the first node over ssh, in Open MPI's spelling")


_IDIOMS: dict[str, Callable[[Steps, Statement, Command], None]] = {
    "scontrol": Steps._scontrol,
    "srun": Steps._srun,
    "module": Steps._module_command,
    "ml": Steps._module_command,
    "sbcast": Steps._sbcast,
}
