"""What a script's commands are for, and what a SkyPilot user would write instead: one row per idiom.

``read`` goes over the commands of a script once and gathers edits of its text, setup commands, variables, and
what cannot be said without slurmsky on the nodes. SkyPilot runs ``run`` on every node, Slurm a batch script on
the first one: that is what most of the edits are about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..language import modulelines
from ..options.getopt import split
from ..options.table import SiteOption, Table, load
from ..site.modules import Module, find
from ..site.record import Site
from . import idiomvars
from .idiomvars import Facts
from .shell import FILLER, Block, Command, Script, Statement, Word, parse, script_in


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: pyxis' options of srun and sbatch. Source: NVIDIA/pyxis args.c.
PYXIS = tuple(
    SiteOption(name, argument)
    for name, argument in (
        ("container-image", "required"),
        ("container-mounts", "required"),
        ("container-workdir", "required"),
        ("container-name", "required"),
        ("container-save", "required"),
        ("container-env", "required"),
        ("container-mount-home", "none"),
        ("no-container-mount-home", "none"),
        ("container-remap-root", "none"),
        ("no-container-remap-root", "none"),
        ("container-entrypoint", "none"),
        ("no-container-entrypoint", "none"),
        ("container-entrypoint-log", "none"),
        ("container-writable", "none"),
        ("container-readonly", "none"),
    )
)
#: commands of Slurm that need slurmsky to answer them
CLIENTS = _words(
    """
    sbatch squeue sacct scancel sinfo salloc sattach sstat sprio sacctmgr sreport
    """
)
#: what may run on every node as well as on one
_ANYWHERE = _words(
    """
    : [ [[ test true false export set unset shopt ulimit umask cd pushd popd pwd echo printf source
    . eval trap hostname date uname whoami id nvidia-smi rocm-smi lscpu free df nproc which type
    command env printenv sleep wait local declare typeset readonly read mapfile readarray return
    break continue shift exit let mkdir ls module ml conda alias head tail cut tr sed awk grep sort
    uniq wc seq basename dirname realpath readlink cat rm touch
    """
)
_WRAPPERS = _words(
    """
    xargs parallel timeout time env nice nohup numactl exec command stdbuf taskset sudo
    """
)
_LAUNCHERS = frozenset(("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun"))
_SECRET = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD|ACCESS_KEY)", re.IGNORECASE)
_INSTALLERS: dict[str, tuple[str, ...] | None] = {
    "pip": ("install",),
    "pip3": ("install",),
    "conda": ("create", "install", "env"),
    "mamba": ("create", "install", "env"),
    "uv": ("pip", "sync", "venv"),
    "apt-get": ("install", "update"),
    "apt": ("install", "update"),
    "git": ("clone",),
    "huggingface-cli": ("download", "login"),
    "hf": ("download",),
    "wget": None,
    "curl": None,
    "poetry": ("install",),
}
_MODULE_INIT = re.compile(r"(modules\.sh|/lmod/|/modules/init/|lmod\.sh|modules/[\d.]+/init)")
_CHECKPOINT = re.compile(
    r"^--?(save|load|ckpt|checkpoint|output|out|resume|log)[-_]?(dir|path|folder)?s?$|ckpt|checkpoint"
)


_INPUT = re.compile(r"hf|init|pretrain|from|model|data|ref")


@dataclass(frozen=True)
class Dropped:
    """Something of the script that the YAML does not hold, and why."""

    line: int
    text: str
    why: str


@dataclass
class Reading:
    """What came of a script. ``edits`` are (start, end, new text); ``needs`` is why slurmsky must be there."""

    edits: list[tuple[int, int, str]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    needs: list[Dropped] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    activate: list[str] = field(default_factory=list)
    envs: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    unknown_modules: list[tuple[int, str]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    paths: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # comments at the head of run

    def drop(self, line: int, text: str, why: str) -> None:
        entry = Dropped(line, one_line(text), why)
        if entry not in self.dropped:
            self.dropped.append(entry)

    def need(self, line: int, text: str, why: str) -> None:
        self.needs.append(Dropped(line, one_line(text), why))

    def edit(self, start: int, end: int, text: str) -> None:
        self.edits.append((start, end, text))


def one_line(text: str, limit: int = 100) -> str:
    """A text as it may stand in a comment: one line, nothing that a terminal or YAML would act on."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def read(script: Script, facts: Facts, site: Site) -> Reading:
    """All that the idioms make of a script."""
    return _Reader(script, facts, site).read()


class _Reader:
    def __init__(self, script: Script, facts: Facts, site: Site) -> None:
        self.script = script
        self.facts = facts
        self.site = site
        self.found = Reading()
        self.everywhere: set[Statement] = set()  # run on all nodes under Slurm, too
        self.taken: set[int] = set()  # starts of commands that an idiom has dealt with
        self.removed: list[tuple[int, int]] = []
        self.values: dict[str, str] = {}  # variables of the script that can be known
        self.folders: list[str] = []  # of cd, so far
        self.table = _with_pyxis(load("srun"))

    def read(self) -> Reading:
        script = self.script
        self._ray()
        for statement in script.statements:
            if not self._is_gone(statement):
                self._statement(statement)
        self._leftovers()
        idiomvars.rename(script, self.facts, self.found, self.removed)
        if self.facts.nodes > 1 and not self.found.needs:
            self._head_only()
        return self.found

    # --- statements

    def _statement(self, statement: Statement) -> None:
        if self._node_loop(statement):
            return
        first = statement.commands[0] if statement.commands else None
        alone = len(statement.commands) == 1 and not statement.blocks
        if first is not None and alone and self._line(statement, first):
            return
        if (
            not statement.blocks
            and statement.commands
            and all(command.name in ("module", "ml") for command in statement.commands)
        ):
            for command in statement.commands:
                self._modules(command)
            self._remove(statement)
            return
        for command in self._commands(statement):
            if command.start not in self.taken:
                self._command(statement, command)

    def _commands(self, statement: Statement) -> list[Command]:
        return [command for command in self.script.commands if statement.start <= command.start < statement.end]

    def _line(self, statement: Statement, command: Command) -> bool:
        """A statement that is one simple command; True when nothing of it stays in run as it is."""
        name, words = command.name, command.texts
        if not command.words:
            self._arrays(command)
            for given in command.assignments:
                known = idiomvars.value(given.value, self.facts, self.values)
                if known is not None and not given.array and not given.append:
                    self.values[given.name] = known
                else:
                    self.values.pop(given.name, None)
            return self._port(statement, command)
        if name == "export":
            return self._export(statement, command)
        if name in ("module", "ml"):
            self._modules(command)
            self._remove(statement)
            return True
        if name in ("source", ".") and len(words) > 1:
            return self._source(statement, command, words[1])
        if name == "eval" and len(words) > 1 and "conda" in words[1] and "hook" in words[1]:
            self._remove(statement)
            self.found.drop(command.line, self.script.text(statement), "SkyPilot's shell knows conda already")
            return True
        if name == "conda" and words[1:2] == ["activate"]:
            self._conda(command, words[2:3])
            return False
        if name == "cd":
            if command.words[1:] and command.words[1].variable() in ("SLURM_SUBMIT_DIR", "PBS_O_WORKDIR"):
                self._remove(statement)
                return True
            if command.words[1:]:
                self.folders.append(self.script.text(command))
            return False
        if self._installs(command):
            return self._to_setup(statement, command)
        return False

    def _remove(self, statement: Statement) -> None:
        self.removed.append((statement.start, statement.end))
        self.found.edit(statement.start, statement.end, "")

    def _is_removed(self, at: int) -> bool:
        return any(start <= at < end for start, end in self.removed)

    def _arrays(self, command: Command) -> None:
        """ARGS=(--save DIR ...): read as the command line that they become."""
        for given in command.assignments:
            if given.array:
                inner = parse(given.value.raw[1:-1].replace("\n", " "), given.value.start + 1, given.value.line)
                for statement in inner.statements:
                    for part in statement.commands:
                        self._paths(part.words)

    def _is_gone(self, statement: Statement) -> bool:
        return any(start <= statement.start and statement.end <= end for start, end in self.removed)

    def _port(self, statement: Statement, command: Command) -> bool:
        """MASTER_PORT made from the job's id: a SkyPilot node is the job's own, any port is free."""
        given = command.assignments[0] if command.assignments else None
        if given is None or len(command.assignments) > 1 or not re.search("PORT", given.name, re.IGNORECASE):
            return False
        if not re.search(r"SLURM_JOB_?ID", given.value.raw) and "comm" not in given.value.raw:
            return False
        self.removed.append((given.value.start, given.value.end))
        self.found.edit(given.value.start, given.value.end, "29500")
        self.values[given.name] = "29500"
        self.found.drop(command.line, self.script.text(command), "the nodes are the job's own, so a fixed port is free")
        return False

    def _export(self, statement: Statement, command: Command) -> bool:
        """``export NAME=value``: what can be known goes to envs, secrets to secrets."""
        pairs: list[tuple[str, Word]] = []
        for word in command.arguments:
            name, equals, _ = word.raw.partition("=")
            if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                return False
            pairs.append((name, Word(word.raw[len(name) + 1 :], word.start + len(name) + 1, word.line)))
        moved = 0
        for name, value in pairs:
            if len(pairs) == 1 and re.search("PORT", name) and re.search(r"SLURM_JOB_?ID", value.raw):
                known: str | None = "29500"
                self.found.drop(
                    command.line, self.script.text(command), "the nodes are the job's own, so a fixed port is free"
                )
            else:
                known = idiomvars.value(value, self.facts, self.values)
            self.values.pop(name, None)
            if _SECRET.search(name) and known is not None:
                if name not in self.found.secrets:
                    self.found.secrets.append(name)
                self.found.drop(
                    command.line, f"export {name}=...", f"pass it with --secret {name}; it does not belong in a file"
                )
                moved += 1
            elif known is not None and not known.startswith("~") and name not in self.found.envs:
                self.values[name] = known
                moved += 1
        if moved < len(pairs):
            return False
        for name, _ in pairs:
            if name not in self.found.secrets:
                self.found.envs[name] = self.values[name]
        self._remove(statement)
        return True

    def _source(self, statement: Statement, command: Command, target: str) -> bool:
        if _MODULE_INIT.search(target):
            self._remove(statement)
            self.found.drop(command.line, self.script.text(statement), "there is no module system to set up")
            return True
        if target.endswith("conda.sh"):
            self._remove(statement)
            self.found.drop(command.line, self.script.text(statement), "SkyPilot's shell knows conda already")
            return True
        if target == "activate":
            self._conda(command, command.texts[2:3])
            self.found.edit(command.words[0].start, command.words[1].end, "conda activate")
            return False
        if target.endswith("/bin/activate"):
            self._remove(statement)
            self.found.setup.append("pip install -r requirements.txt")
            self.found.drop(
                command.line,
                self.script.text(statement),
                "that virtual environment is on the old cluster; requirements.txt (pip freeze) makes it anew",
            )
            return True
        return False

    def _conda(self, command: Command, names: list[str]) -> None:
        name = names[0] if names else "base"
        if name == "base" or self.script.source.find(f"conda create -n {name}") >= 0:
            return
        if re.fullmatch(r"[\w.-]+", name, re.ASCII):
            self.found.setup.append(
                f"conda env list | grep -q '^{name} ' || conda env create -n {name} -f environment.yml"
            )
            self.found.setup.append(f"conda activate {name}")
            self.found.notes.append(f"environment.yml: conda env export -n {name}, on the old cluster")
        else:
            self.found.drop(
                command.line, f"conda activate {name}", "that environment lies on the old cluster; make it in setup"
            )

    def _modules(self, command: Command) -> None:
        for asked in modulelines.parse(self.script.text(command)):
            if asked.action in ("load", "try-load", "load-any", "swap"):
                for name in asked.names[-1:] if asked.action == "swap" else asked.names:
                    self._module(command.line, name)

    def _module(self, line: int, name: str) -> None:
        module = find(self.site, name)
        if module is None:
            self.found.unknown_modules.append((line, name))
            return
        self.found.modules.append(module)
        self.found.envs.update(module.environment)
        if module.setup and module.setup not in self.found.setup:
            self.found.setup.append(module.setup)
        if module.activate and module.activate not in self.found.activate:
            self.found.activate.append(module.activate)

    def _installs(self, command: Command) -> bool:
        texts = command.texts
        if texts[:1] == ["sudo"]:
            texts = texts[1:]
        if len(texts) > 2 and texts[0].startswith("python") and texts[1:3] == ["-m", "pip"]:
            texts = ["pip", *texts[3:]]
        if not texts or texts[0] not in _INSTALLERS:
            return False
        verbs = _INSTALLERS[texts[0]]
        return verbs is None or any(word in verbs for word in texts[1:3])

    def _to_setup(self, statement: Statement, command: Command) -> bool:
        """Downloads and installations belong in setup, unless they use what only run knows."""
        text = self.script.text(statement).strip().rstrip(";&").strip()
        for word in command.words:
            for part in word.variables:
                if part.name not in self.values and part.name not in ("HOME", "USER", "PWD"):
                    return False
            if "$(" in word.raw or "`" in word.raw:
                return False
        for name, known in self.values.items():
            if name not in self.found.envs and re.search(r"\$\{?%s\b" % re.escape(name), text):
                text = f"{name}={quoted(known)}; {text}"
        if self.folders:
            text = f"({' && '.join([*self.folders, text])})"
        self.found.setup.append(text)
        self._remove(statement)
        return True

    # --- commands

    def _command(self, statement: Statement, command: Command) -> None:
        name = command.name
        row = _IDIOMS.get(name)
        if row is not None:
            row(self, statement, command)
        elif name in CLIENTS:
            self.found.need(
                command.line, self.script.source[command.start : command.end], f"{name} needs slurmsky's queue"
            )
        elif name in _LAUNCHERS:
            self._mpirun(statement, command)
        elif name in _WRAPPERS:
            for word in command.arguments:
                if word.text in CLIENTS or word.text in ("srun", "scontrol"):
                    text = self.script.source[command.start : command.end]
                    self.found.need(word.line, text, f"{name} starts {word.text}")
                    break
        elif name in ("jupyter", "jupyter-lab", "jupyter-notebook"):
            self.found.notes.append("a server to look at: sky launch -c NAME, then ssh -L PORT:localhost:PORT NAME")
        self._paths(command.words[self._program(command) :])

    def _program(self, command: Command) -> int:
        """Index of the program's word: behind srun's options."""
        if command.name != "srun":
            return 0
        rest = split(self.table, [word.shown for word in command.words[1:]]).rest
        return len(command.words) - len(rest)

    def _paths(self, words: Sequence[Word]) -> None:
        """Absolute paths of the old cluster; where results are written, a bucket must be."""
        texts = [idiomvars.value(word, self.facts, self.values) or "" for word in words]
        for index, text in enumerate(texts):
            option, equals, given = text.partition("=")
            path, named = (
                (given, option) if equals and option.startswith("-") else (text, texts[index - 1] if index else "")
            )
            if not re.match(r"/[\w.-]+/?[^\s:]*$", path) or path.startswith(
                ("/bin/", "/usr/", "/etc/", "/dev/", "/tmp", "/proc/", "/opt/", "/sys/")
            ):
                continue
            if named.startswith("-") and _CHECKPOINT.search(named.lower()) and not _INPUT.search(named.lower()):
                if path not in self.found.checkpoints:
                    self.found.checkpoints.append(path)
            elif index:
                self.found.paths.append((words[index].line, path))

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

    # --- idioms of several commands

    def _leftovers(self) -> None:
        """Counters, and waits for what is no longer in the background."""
        if not self.removed or self.found.needs:
            return
        kept = [command for command in self.script.commands if not self._is_removed(command.start)]
        if not any(command.after == "&" for command in kept):
            for statement in self.script.statements:
                if [command.texts for command in statement.commands] == [["wait"]] and not statement.blocks:
                    self._remove(statement)
        for statement in self.script.statements:
            command = statement.commands[0] if len(statement.commands) == 1 and not statement.blocks else None
            if command is None or command.words or len(command.assignments) != 1:
                continue
            given = command.assignments[0]
            if not self._is_gone(statement) and (given.value.text or "").isdigit() and not self._is_read(given.name):
                self._remove(statement)

    def _is_read(self, name: str) -> bool:
        """Whether what stays, or what was put in its place, speaks of a variable."""
        rest, at = "", 0
        for start, end in sorted(self.removed):
            rest += self.script.source[at:start]
            at = max(at, end)
        rest += self.script.source[at:] + "".join(text for _, _, text in self.found.edits)
        return len(re.findall(r"\b%s\b" % re.escape(name), rest)) > 1

    def _ray(self) -> None:
        """A Ray cluster started by hand: SkyPilot's own template starts it, and the program runs on the head."""
        commands = self.script.commands
        starts = [command for command in commands if _called(command, "ray", "start")]
        submits = [command for command in commands if _called(command, "ray", "job") and "submit" in _texts(command)]
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
                self.taken.update([command.start] if command.start in drivers else [])
            if any(command.start in drivers for command in mine):
                continue
            if any(_called(command, "ray", "start") or _called(command, "ray", "stop") for command in mine) or (
                mine and all(_ray_chore(command, mine) for command in mine)
            ):
                self._remove(statement)
        before = -1
        while before != len(self.removed):  # what only served to start it: addresses, ports, counts of workers
            before = len(self.removed)
            for statement in reversed(self.script.statements):
                if not self._is_removed(statement.start) and self._only_for_ray(statement):
                    self._remove(statement)
        if not self.found.setup:
            self.found.setup.append('pip install "ray[default]"')
        if self.facts.nodes > 1:
            self.found.activate.append(
                "~/sky_templates/ray/start_cluster  # on every node: a Ray cluster of the job's own"
            )
        self.found.drop(
            starts[0].line if starts else submits[0].line,
            "ray start ...",
            "SkyPilot's template starts the cluster on all nodes (head on the first)"
            if self.facts.nodes > 1
            else "ray.init() starts what one node needs",
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
        """Those of ``names`` that nothing which stays reads."""
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

    def _runtime_env(self, command: Command) -> None:
        """``--runtime-env-json='{"env_vars": {...}}'`` -> envs."""
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
                self.found.drop(command.line, word.shown, "its env_vars belong in envs")
                continue
            for name, value in given.items() if isinstance(given, dict) else ():
                if not re.fullmatch(r"[A-Za-z_]\w*", str(name), re.ASCII):
                    continue
                if _SECRET.search(str(name)):
                    self.found.secrets.append(str(name))
                else:
                    self.found.envs[str(name)] = str(value)

    def _node_loop(self, statement: Statement) -> bool:
        """``for host in $(scontrol show hostnames ...); do ssh $host COMMAND; done``: run is that loop."""
        loops = [block for block in statement.blocks if block.kind == "for"]
        if len(loops) != 1 or len(statement.blocks) != 1:
            return False
        loop = loops[0]
        body = [command for command in statement.commands if loop in command.blocks]
        remote = [command for command in body if command.name in ("ssh", "pdsh", "srun") and command.words]
        if not remote or not self._over_nodes(loop):
            return False
        texts: list[str] = []
        for command in body:
            if command in remote:
                text = self._remote(command, loop.name)
                if text is None:
                    return False
                texts.append(text)
            elif command.name not in ("echo", "sleep", "wait", "") or any(
                not idiomvars.harmless(given.value) for given in command.assignments
            ):
                return False
        self.found.edit(statement.start, statement.end, "\n".join(texts))
        self.removed.append((statement.start, statement.end))
        self.found.drop(
            statement.line, self.script.source[statement.start : statement.end], "run is already on every node"
        )
        self.everywhere.add(statement)
        return True

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
        """What ``ssh [options] $host COMMAND`` or ``srun -w $host COMMAND`` runs on its node."""
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
        return idiomvars.rename_text(text, self.facts, self.found)

    # --- several nodes

    def _head_only(self) -> None:
        """On Slurm the batch script runs on the first node; what is not harmless stays there."""
        run: list[Statement] = []
        for statement in self.script.statements:
            if self._is_gone(statement) and statement not in self.everywhere:
                continue
            if statement not in self.everywhere and self._for_the_head(statement):
                run.append(statement)
            else:
                self._guard(run)
                run = []
        self._guard(run)

    def _for_the_head(self, statement: Statement) -> bool:
        return any(
            command.depth == 0 and command.name not in _ANYWHERE and command.words and not _on_all_nodes(command)
            for command in statement.commands
        )

    def _guard(self, statements: list[Statement]) -> None:
        if not statements:
            return
        first, last = statements[0], statements[-1]
        text = self.script.source[first.start : last.end]
        plain = "<<" not in text and "'" not in text and '"\n' not in text
        self.found.edit(
            first.start, first.start, 'if [ "$SKYPILOT_NODE_RANK" = 0 ]; then\n' + ("    " if plain else "")
        )
        if plain:
            for newline in re.finditer(r"\n(?=[^\n])", text):
                at = first.start + newline.end()
                self.found.edit(at, at, "    ")
        self.found.edit(last.end, last.end, "\nfi")


def _with_pyxis(table: Table) -> Table:
    return table.with_site_options(PYXIS)


def _texts(command: Command) -> list[str]:
    return command.texts


def _called(command: Command, program: str, verb: str) -> bool:
    """Whether the command calls ``program verb``, itself or behind srun, ssh or env."""
    texts = command.texts
    for index, text in enumerate(texts[:-1]):
        if text.rpartition("/")[2] == program and texts[index + 1] == verb:
            return True
    if command.name == "ssh":
        return any(re.search(r"\b%s\s+%s\b" % (program, verb), text) for text in texts[1:])
    return False


def _ray_chore(command: Command, mine: list[Command]) -> bool:
    """sleep, wait, pkill ray and echoes about it, which only served the cluster's start."""
    texts = command.texts
    if command.name in ("sleep", "wait"):
        return True
    if command.name in ("pkill", "killall"):
        return any(re.search("ray|python|redis|sglang", text) for text in texts[1:])
    return command.name == "echo" and bool(re.search(r"head|worker|\bray\b|ip", " ".join(texts).lower()))


def _on_all_nodes(command: Command) -> bool:
    """Launchers that are started once on every node."""
    texts = command.texts
    joined = " ".join(texts)
    return (
        command.name in ("torchrun", "accelerate") and bool(re.search(r"node[_-]rank|machine[_-]rank|rdzv", joined))
    ) or ("torch.distributed" in joined and "rank" in joined)


def quoted(text: str) -> str:
    """A text as one shell word."""
    return text if re.fullmatch(r"[\w./:@%+=,-]+", text, re.ASCII) else "'" + text.replace("'", "'\\''") + "'"


_IDIOMS: dict[str, Callable[[_Reader, Statement, Command], None]] = {
    "scontrol": _Reader._scontrol,
    "srun": _Reader._srun,
    "module": _Reader._module_command,
    "ml": _Reader._module_command,
    "sbcast": _Reader._sbcast,
}
