"""Converts commands that start programs or query Slurm's queue. They are srun, mpirun, squeue and similar."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from ...options.getopt import split
from ...options.table import load
from ..script.conversion_tables import CLIENTS, FILTERS, LAUNCHERS, WRAPPERS, one_line, quoted
from ..script.programs import find
from ..shell.launched_program import bind_targets, launched
from ..shell.script_commands import script_in
from ..shell.shell_elements import FILLER, Command, Statement, Word
from .container_conversion import Containers
from .conversion_base import HEAD_ADDRESS

#: how scripts name the submit folder as a mount's source
_SUBMIT_FOLDER = re.compile(r"(\.|\$PWD|\$\{PWD\}|\$\(pwd\)|`pwd`|\$\{?SLURM_SUBMIT_DIR\}?)(?=/|$)")


#: programs that print a node's state
_INFORMS = re.compile("hostname|nvidia-smi|rocm-smi|date|pwd|whoami|uname|lscpu|free|df|uptime|nproc|lspci")
_CONTAINER = frozenset(("container-image", "container-name"))


#: settings of scontrol update that only people read
_LABEL = re.compile(r"(?i)(job|job_?id|name|job_?name|comment|admin_?comment)=|\$\{?SLURM_JOB_?ID\}?$|job$")


class Steps(Containers):
    """Rules for commands anywhere in a script."""

    def _command(self, statement: Statement, command: Command) -> None:
        name = command.name
        if any(start < command.start < end for start, end in self.contained):
            return  # in a container, as on the old cluster
        self._foreign_python(command)
        self._without_cards(command)
        self._container_program(command)
        self._leave_container(command)
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
            self.found.notes.append("to open the server: sky launch -c NAME, then ssh -L PORT:localhost:PORT NAME")
        elif name == "java":
            self._jar(command)
        inside = launched(command).inside or "container-mounts" in dict(self.directives.spec.site_options)
        targets = tuple(bind_targets(self.script.source)) if inside else ()
        if (
            name in FILTERS
            or any(text.endswith("activate") for text in command.word_texts[1:2])
            or (inside in ("singularity", "apptainer") and not launched(command).mounts)
        ):
            return  # patterns, and files of the image; ``places`` finds the others
        self._paths(command.words[self._program(command) :], targets)

    def _jar(self, command: Command) -> None:
        """Replace ``java -jar $TRIMMOMATIC_HOME/trimmomatic.jar`` by conda's program."""
        at = next((index for index, word in enumerate(command.words[:-1]) if word.text == "-jar"), 0)
        if not at or not re.search(r"^[\"']?(\$|/|~)", command.words[at + 1].raw):
            return
        file = command.words[at + 1].raw.strip("\"'").rpartition("/")[2]
        name = re.sub(r"[-_.]?v?\d[\w.]*(-\w+)?$", "", file.removesuffix(".jar")).lower().removesuffix("-package")
        source = find(name)
        if source is None or source.kind != "conda":
            return
        options = "".join(f" {word.raw}" for word in command.words[1:at] if word.raw.startswith(("-X", "-D")))
        self.found.edit(command.words[0].start, command.words[at + 1].end, name + options)
        self.removed.append((command.words[0].start, command.words[at + 1].end))
        self.found.setup.append(source.install)

    def _hostname(self, statement: Statement, command: Command) -> None:
        """Replace MASTER_ADDR=$(hostname), which differs on SkyPilot's nodes."""
        if self.directives.nodes > 1 and command.depth and statement.commands[0].name in ("", "export"):
            end = self._piped(statement, command)[-1].words[-1].end  # an address needs no filter
            self.found.edit(command.start, end, HEAD_ADDRESS)
            self.removed.append((command.start, end))

    def _getent(self, statement: Statement, command: Command) -> None:
        """Replace ``getent hosts $head`` by echo of SkyPilot's addresses."""
        if (
            self.directives.nodes > 1
            and command.word_texts[1:2] in (["hosts"], ["ahosts"], ["ahostsv4"])
            and command.depth
        ):
            self.found.edit(command.words[0].start, command.words[1].end, "echo")

    def _piped(self, statement: Statement, command: Command) -> list[Command]:
        """A command, with the filters that read its output."""
        pipe = [command]
        for other in self._commands(statement):
            if other.start > command.start and other.depth <= command.depth:
                if other.before not in ("|", "|&") or other.name not in FILTERS or other.depth < command.depth:
                    break
                pipe.append(other)
        self.processed.update(one.start for one in pipe[1:])
        return pipe

    def _check_for_srun(self, statement: Statement, command: Command) -> None:
        """Replace ``which srun`` by true. The script also runs without Slurm; its branch with Slurm is converted."""
        if {*CLIENTS, "srun", "scontrol"} & set(command.word_texts[1:]):
            self.found.edit(command.words[0].start, command.words[-1].end, "true")
            self.removed.append((command.words[0].start, command.words[-1].end))

    def _scontrol(self, statement: Statement, command: Command) -> None:
        words = [word.lower() for word in command.word_texts[1:3]]
        if words[:1] == ["show"] and words[1:2] and words[1].startswith("hostname"):
            self.found.edit(command.start, command.words[-1].end, 'echo "$SKYPILOT_NODE_IPS"')
            self.removed.append((command.start, command.words[-1].end))
            return
        if words == ["show", "job"] and self._own_path(statement, command):
            return
        if words[:1] == ["requeue"] and "SLURM_" in self.script.text(command):
            self.found.edit(command.start, command.words[-1].end, "exit 1")
            self.removed.append((command.start, command.words[-1].end))
            self.found.restarts = True
            return
        text = self.script.source[command.start : command.end]
        if words[:1] == ["update"] and all(_LABEL.match(word.raw) for word in command.words[2:]):
            alone = len(statement.commands) == 1 and not statement.blocks
            self._remove(statement) if alone else self._clear(command)
            self.found.drop(command.line, text, "a label in Slurm's queue; `sky jobs launch -n NAME` names a job")
            return
        self.found.need(command.line, text, "scontrol needs slurmsky's queue")

    def _own_path(self, statement: Statement, command: Command) -> bool:
        """Replace ``scontrol show job $SLURM_JOB_ID | grep Command=`` by the workdir."""
        pipe = self._piped(statement, command)
        field = re.search(r"\b(Command|WorkDir)\b", " ".join(word.raw for one in pipe[1:] for word in one.words))
        if not field:
            return False
        source, start, end = self.script.source, command.start, pipe[-1].words[-1].end
        path = "$HOME/sky_workdir" + (f"/{quoted(self.directives.file)}" if field[1] == "Command" else "")
        if (source[start - 2 : start], source[end : end + 1]) == ("$(", ")"):
            start, end = start - 2, end + 1
        else:
            path = f"echo {path}"
        self.found.edit(start, end, path)
        self.removed.append((start, end))
        self.processed.add(command.start)
        self.found.workdir = True
        return True

    def _module_command(self, statement: Statement, command: Command) -> None:
        self._modules(command)
        self._clear(command)

    def _conda_run(self, statement: Statement, command: Command) -> None:
        """Make the environment of ``conda run -n NAME`` in setup."""
        name = next((following for text, following in pairwise(command.word_texts) if text in ("-n", "--name")), "")
        if command.word_texts[1:2] == ["run"] and name not in ("", "base") and not self._creates(command, name):
            made = f"conda env list | grep -q {quoted(f'^{name} ')} || conda env create -n {name} -f environment.yml"
            self.found.setup += [] if made in self.found.setup else [made]

    def _sbcast(self, statement: Statement, command: Command) -> None:
        files = split(load("sbcast"), [word.text_or_source for word in command.words[1:]]).rest
        first = command.words[len(command.words) - len(files)] if files else command.words[0]
        self.found.edit(command.words[0].start, first.start if files else command.words[0].end, "cp ")
        self.everywhere.add(statement)

    def _srun(self, statement: Statement, command: Command) -> None:
        source = self.script.source
        held = [(text, at) for at, word in enumerate(command.words) if at for text in self._options_in(word)]
        found = split(self.table, [text for text, _ in held])
        if not found.rest:
            self.found.need(command.line, source[command.start : command.end], "options of srun come from a variable")
            return
        options = {entry.option.name: entry.text for entry in found.found}
        program = command.words[held[len(held) - len(found.rest)][1]]
        held_options = program.text is None and self.scope.expand(program).startswith("-")
        name = re.match(r'"?\$\{(\w+)\[[@*]\]', program.raw)
        held_options = held_options or bool(name and re.search(rf"\b{name[1]}=\(\s*-", source))
        if held_options or (program.raw.startswith("$") and "ARGS" in (program.variable() or "")):
            self.found.need(command.line, source[command.start : command.end], "options of srun come from a variable")
            return
        text = source[command.start : program.start]
        if self._head_address(command, options, [word.text or "" for word in command.words[-len(found.rest) :]]):
            return
        for option in ("multi-prog", "het-group", "pty", "nodelist", "relative", "input"):
            if option in options:
                self.found.need(command.line, text, f"srun --{option} has no counterpart in SkyPilot")
                return
        tasks, nodes = self._step_size(options)
        if tasks is None or nodes is None:
            self.found.need(command.line, text, "its number of tasks is known only when it runs")
            return
        inner = self._inner(command, program)
        if tasks > nodes and inner == "torchrun" and self._starts_workers(command, tasks):
            why = f"{tasks // nodes} torchruns on a node would each start all of its workers: one is started"
            self.found.drop(command.line, f"{one_line(text)} of {tasks} tasks", why)
        elif tasks > nodes and _INFORMS.fullmatch(inner) and not command.depth:
            why = f"prints the same {tasks // nodes} times on a node: it is started once"
            self.found.drop(command.line, f"{one_line(text)} of {tasks} tasks", why)
        elif tasks > nodes or (tasks > 1 and self._is_mpi(inner)):
            self._several(statement, command, program, tasks, nodes, options)
            return
        ends = (source[block.end :].lstrip() for block in command.blocks if block.kind != "function")
        background = command.after == "&" or any(re.match("&(?!&)", rest) for rest in ends)
        beside = background and (nodes < self.directives.nodes or self._has_own_gpus(options))
        if beside:
            self.found.need(command.line, text, "steps side by side on parts of the nodes")
            return
        self.found.edit(command.words[0].start, program.start, self._place_of(program))
        self.removed.append((command.words[0].start, program.start))
        self._unwrap(statement, command, program)
        if nodes == self.directives.nodes:
            self.everywhere.add(statement)
            self._meet(inner) if nodes > 1 else None
        self._logs(command, options)
        self._pyxis(command, options)

    def _logs(self, command: Command, options: dict[str, str | None]) -> None:
        """Record srun's output options; SkyPilot's log has all output."""
        if "label" in options:
            self.found.drop(command.line, "srun --label", "SkyPilot's log labels each node's lines")
        for option in ("output", "error"):
            if option in options:
                self.found.drop(command.line, f"srun --{option}={options[option]}", "all output is in sky jobs logs")

    def _has_own_gpus(self, options: dict[str, str | None]) -> bool:
        """Return whether a step has GPUs of the node that simultaneous steps lack."""
        asked = [
            text or ""
            for option, text in options.items()
            if option.startswith(("gpu", "gres")) and "gpu" in option + (text or "")
        ]
        counts = [re.search(r"(?:^|:)(\d+)$", text) for text in asked]
        return any(0 < int(count[1] if count else 1) < self.directives.gpus for count in counts)

    def _options_in(self, word: Word) -> list[str]:
        """Word of srun, or the options in a variable (SRUN_ARGS="--wait=60 --kill-on-bad-exit=1")."""
        text = self.scope.expand(word).replace("\\\n", " ") if word.variable() else ""
        options = text.split()
        several = len(options) > 1 and options[0].startswith("-") and "$" not in text
        return options if several else [self._known(word)]

    def _several(
        self,
        statement: Statement,
        command: Command,
        program: Word,
        tasks: int,
        nodes: int,
        options: dict[str, str | None],
    ) -> None:
        """Start several tasks on a node by torchrun or mpirun. For other steps the agent runs the script."""
        waits = command.after != "&"
        if waits and tasks > nodes and self._torchrun(statement, command, program, tasks, nodes):
            self._logs(command, options)
            self._pyxis(command, options)
            return
        if waits and not options.keys() & _CONTAINER and self._has_ranks(command, self._inner(command, program), nodes):
            self._logs(command, options)
            self._start_ranks(command, program, tasks, nodes)
            return
        gpus = options.get("gpus-per-task") or self.directives.spec.gpus_per_task or ""
        plain = not options.keys() & _CONTAINER and options.get("mpi", "none") == "none"
        plain = plain and nodes == self.directives.nodes and gpus.rpartition(":")[2] in ("", "1")
        if plain and self._loop(statement, command, program, tasks, bool(gpus)):
            self._logs(command, options)
            return
        several = f"{tasks} tasks on {nodes} node{'s' if nodes > 1 else ''}"
        self.found.need(
            command.line,
            self.script.source[command.start : program.start],
            f"{several}: SkyPilot starts one program on each node",
        )

    def _head_address(self, command: Command, options: dict[str, str | None], rest: list[str]) -> bool:
        """Replace ``$(srun -w $head hostname --ip-address)`` by the address."""
        if rest[:1] != ["hostname"] or not command.depth or "nodelist" not in options:
            return False
        if not re.search(r"head|master|first|main|\[0\]|rank_?0|leader", options["nodelist"] or "", re.IGNORECASE):
            return False
        self.found.edit(command.start, command.words[-1].end, HEAD_ADDRESS)
        self.removed.append((command.start, command.words[-1].end))
        return True

    def _unwrap(self, statement: Statement, command: Command, program: Word) -> None:
        """Replace ``bash -c 'COMMAND'`` by COMMAND after srun; read nextflow."""
        if program.text == "nextflow":
            self._nextflow(statement, command)
        words = [word for word in command.words if word.start >= program.start]
        if len(words) != 3 or words[1].text != "-c" or (words[0].text or "").rpartition("/")[2] not in ("bash", "sh"):
            return
        if words[2].raw.startswith('"') and "'" in words[2].raw and words[2].variables:
            return  # outside of the double quotes, the single quotes would keep variables from being expanded
        if words[2].variable() or any(self._expands_later(part.name) for part in words[2].variables):
            return  # the inner shell expands the variables in its text
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

    def _expands_later(self, name: str) -> bool:
        r"""Return whether only another shell expands variables in a variable's text (CMD="a.py --rank \$RANK")."""
        given = [one.value.raw for command in self.script.commands for one in command.assignments if one.name == name]
        given += [
            word.raw for command in self.script.commands for word in command.words if word.raw.startswith(f"{name}=")
        ]
        return any("\\$" in raw or ("'" in raw and "$" in raw) for raw in given)

    def _pyxis(self, command: Command, options: dict[str, str | None]) -> None:
        image = options.get("container-image")
        if image and "$" in image:
            shown = f"--container-image={one_line(image)}"
            self.found.need(command.line, shown, "its image is known only when it runs")
            image = None
        if image and (image.endswith((".sqsh", ".squashfs")) or image.startswith(("/", "./", "~"))):
            shown = f"--container-image={one_line(image)}"
            self.found.need(command.line, shown, "an image file, which the agent unpacks")
            image = None
        if image and image not in self.found.images:
            self.found.images.append(image)
            if len(self.found.images) > 1:
                self.found.need(command.line, f"--container-image={one_line(image)}", "a task has one image")
        for mount in filter(None, (options.get("container-mounts") or "").split(",")):
            self._mount(command, mount)
        folder = options.get("container-workdir")
        if folder:
            self.found.notes.append(f"the container started in {one_line(folder)}; SkyPilot starts in ~/sky_workdir")

    def _mount(self, command: Command, mount: str) -> None:
        """Convert an entry of --container-mounts.

        The submit folder becomes a link, other folders a bucket or volume.
        """
        source, _, rest = mount.partition(":")
        target = rest.partition(":")[0] or source
        beside = _SUBMIT_FOLDER.match(source)
        if beside:
            self.found.workdir = True
            place = "~/sky_workdir" + source[beside.end() :].rstrip("/")
            link = f"mkdir -p {quoted(target.rpartition('/')[0] or '/')} {place} && ln -sfn {place} {quoted(target)}"
            if target.startswith("/") and link not in self.found.activate:
                self.found.activate.append(f"{link}  # --container-mounts")
        elif "$" in mount:
            shown = f"--container-mounts={one_line(mount)}"
            self.found.need(command.line, shown, "the mounted path is known only when it runs")
        else:
            if source.startswith("/"):
                self.found.paths.append((command.line, source))
            if target != source:
                why = f"mount the bucket or volume at {target}, the path in the container"
                self.found.drop(command.line, f"--container-mounts={mount}", why, to_do=True)


_IDIOMS: dict[str, Callable[[Steps, Statement, Command], None]] = {
    "scontrol": Steps._scontrol,
    "hostname": Steps._hostname,
    "ip": Steps._hostname,
    "ifconfig": Steps._hostname,
    "getent": Steps._getent,
    "which": Steps._check_for_srun,
    "type": Steps._check_for_srun,
    "hash": Steps._check_for_srun,
    "command": Steps._check_for_srun,
    "snakemake": Steps._snakemake,
    "conda": Steps._conda_run,
    "aprun": Steps._aprun,
    "ssh": Steps._ssh,
    "nextflow": Steps._nextflow,
    "source": Steps._inner_source,
    ".": Steps._inner_source,
    "srun": Steps._srun,
    "ibrun": Steps._ibrun,
    "module": Steps._module_command,
    "poetry": Steps._poetry,
    "ml": Steps._module_command,
    "sbcast": Steps._sbcast,
}
