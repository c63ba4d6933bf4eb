"""Converts single commands to setup, envs, secrets or an image."""

from __future__ import annotations

import re

from ..script.conversion_tables import FOREIGN, INSTALLERS, LOGINS, MODULE_INIT, SECRET, quoted
from ..script.mount_points import is_mounted, on_every_node
from ..script.needs import spack_loads
from ..script.program_paths import CONDA_BASE, CONDA_PROGRAMS, environment_of
from ..script.start_files import start_role
from ..script.work_folder import plain
from ..shell import module_lines
from ..shell.launched_program import launched
from ..shell.shell_elements import Command, Statement, Word
from . import variable_conversion
from .conversion_base import Base, add_module, expands

#: variables that hold lists of folders with programs and libraries
_LISTS = frozenset(("PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "MANPATH", "PKG_CONFIG_PATH", "INCLUDE"))
#: commands whose folders a search path need not keep
_NO_USE = frozenset(("", "export", "conda", "mamba", "source", "."))
#: folders of environments whose names identify no environment
_UNNAMED = re.compile(r"\.?(v?env|conda|envs?|[\d.]+)")
#: variables that torchrun sets
_RANKS = frozenset(("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK"))
#: variables that bash does not take from its environment
_OF_SHELL = frozenset(("IFS", "PS4", "OPTIND", "OPTERR", "RANDOM", "SECONDS"))


class Lines(Base):
    """Rules for variables, modules, environments and installations."""

    def _line(self, statement: Statement, command: Command) -> bool:
        """Process a simple command; True if run keeps no part."""
        name, words = command.name, command.word_texts
        if not command.words:
            self._arrays(command)
            for given in command.assignments:
                known = variable_conversion.value(given.value, self.directives, self.values)
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
            return self._source(statement, command, words[1].strip("\"'"))
        if (name == "conda" and words[1:2] == ["init"]) or (
            name == "eval" and len(words) > 1 and "conda" in words[1] and "hook" in words[1]
        ):
            self._remove(statement)
            self.found.drop(command.line, self.script.text(statement), "SkyPilot's shell knows conda already")
            return True
        if name in CONDA_PROGRAMS and words[1:2] == ["activate"]:
            return self._activate(statement, command)
        if name in LOGINS:
            return self._login(statement, command)
        if name == "cd":
            if command.words[1:] and command.words[1].variable() in ("SLURM_SUBMIT_DIR", "PBS_O_WORKDIR"):
                self.found.workdir = True
                self._remove(statement)
                return True
            entered = plain(self.scope.expand(command.words[1])) if command.words[1:] else ""
            if entered and entered == self.code and not self.folders:
                self._remove(statement)
                return True
            if entered:
                self.folders.append(self.script.text(command))
            return False
        if self._installs(command):
            self._online(command)
            return self._to_setup(statement, command)
        return False

    def _activate(self, statement: Statement, command: Command) -> bool:
        if command.word_texts[2:3] == ["base"] and "deactivate" not in self.script.source:
            self._remove(statement)  # SkyPilot's shell begins in it, and setup may make another one
            return True
        self._conda(command, [self.scope.expand(word) for word in command.words[2:3]])
        self.found.edit(command.words[0].start, command.words[0].end, "conda")
        return False

    def _chooses_devices(self, statement: Statement, command: Command) -> bool:
        """Remove ``export CUDA_VISIBLE_DEVICES=2``: the job has all GPUs."""
        text = self.script.text(command).strip()
        found = re.fullmatch(r"(?:export\s+)?(?:CUDA|ROCR|HIP)_VISIBLE_DEVICES=[\"']?(\d[\d,]*)[\"']?", text)
        numbers = [int(number) for number in found[1].split(",") if number] if found else []
        self.found.devices = max(self.found.devices, len(numbers))
        if not numbers or numbers == list(range(len(numbers))):
            return False
        self._remove(statement)
        why = "chooses GPUs of a shared node; a SkyPilot node's GPUs are all the job's"
        self.found.drop(command.line, self.script.text(command), why)
        return True

    def _login(self, statement: Statement, command: Command) -> bool:
        """Replace a login by a secret, which the libraries read."""
        verbs, secret = LOGINS[command.name]
        verb = (command.word_texts[1:2] or [""])[0]
        if verb in verbs:
            self._remove(statement)
            self.found.secrets.append(secret)
            self.found.drop(command.line, f"{command.name} {verb}", f"the secret {secret} is the login")
        return verb in verbs or (self._installs(command) and self._to_setup(statement, command))

    def _poetry(self, statement: Statement, command: Command) -> None:
        """Enter the environment that setup makes, instead of ``poetry shell``."""
        if command.word_texts[1:2] == ["shell"]:
            self.found.workdir = True
            self.found.setup.append("poetry install")
            self.found.edit(command.start, command.words[-1].end, 'eval "$(poetry env activate)"')

    def _port(self, statement: Statement, command: Command) -> bool:
        """Replace a port computed from the job's id by 29500."""
        given = command.assignments[0] if command.assignments else None
        if given is None or len(command.assignments) > 1 or not re.search("PORT", given.name, re.IGNORECASE):
            return False
        if not self._own_port(given.value.raw):
            return False
        self.removed.append((given.value.start, given.value.end))
        self.found.edit(given.value.start, given.value.end, "29500")
        self.values[given.name] = "29500"
        self.found.drop(command.line, self.script.text(command), "no other job uses the nodes, so a fixed port is free")
        return False

    def _own_port(self, text: str) -> bool:
        """Return whether a port is computed from the job's id, or random."""
        random = self.directives.nodes > 1 and re.search(r"RANDOM|\bshuf\b", text)
        return bool(random or re.search(r"SLURM_JOB_?ID|\bcomm\b", text))

    def _export(self, statement: Statement, command: Command) -> bool:
        """Convert ``export NAME=value`` to envs or secrets."""
        pairs: list[tuple[str, Word]] = []
        for word in command.arguments:
            name, equals, given = word.raw.partition("=")
            new = variable_conversion.replacement(name, self.directives) if name.startswith("SLURM_") else None
            if not equals and new is not None:
                self.found.edit(word.start, word.end, f"{name}={new}")
            plain_name = re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name not in _OF_SHELL
            if not equals or given.startswith("(") or not plain_name:
                return False
            pairs.append((name, Word(word.raw[len(name) + 1 :], word.start + len(name) + 1, word.line)))
        moved = 0
        why = next((why for names, why in FOREIGN if all(names.fullmatch(name) for name, _ in pairs)), "")
        if why:
            self._remove(statement)
            self.found.drop(command.line, self.script.text(command), why)
            return True
        if len(pairs) == 1 and pairs[0][0] in _LISTS and self._is_foreign(*pairs[0]):
            self._remove(statement)
            self.lists += self.script.text(command)
            why = "programs and libraries of the old cluster: setup installs those that are needed"
            self.found.drop(command.line, self.script.text(command), why)
            return True
        ranks = all(name in _RANKS and re.search("SLURM_(PROC|LOCAL|NODE)ID", value.raw) for name, value in pairs)
        if ranks and re.search(r"\btorchrun\b|torch\.distributed\.(run|launch)", self.script.source):
            self._remove(statement)
            self.found.drop(command.line, self.script.text(command), "torchrun sets it in each of its workers")
            return True
        for name, value in pairs:
            if len(pairs) == 1 and re.search("PORT", name) and self._own_port(value.raw):
                known: str | None = "29500"
                self.found.drop(
                    command.line, self.script.text(command), "no other job uses the nodes, so a fixed port is free"
                )
            else:
                known = variable_conversion.value(value, self.directives, self.values)
            self.values.pop(name, None)
            if SECRET.search(name) and known is not None:
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

    def _is_foreign(self, name: str, value: Word) -> bool:
        """Return whether a search path has only folders of the old cluster."""
        entries = [plain(text) for text in self.scope.expand(value).split(":")]
        named = [text for text in entries if text and text not in (f"${name}", f"${{{name}}}")]
        mounted = [path.path for path in self.site.paths]
        others = [self.script.text(one) for one in self.script.commands if one.name not in _NO_USE]
        return bool(named) and all(
            re.match(r"~?/[\w.-]+/[^$]*$", text)
            and not on_every_node(text)
            and not is_mounted(text, [*mounted, self.code or "-"])
            and not any(re.sub("/(bin|lib|lib64)$", "", text).replace("~", "") in other for other in others)
            for text in named
        )

    def _unlisted(self) -> None:
        """Remove variables used only by the old cluster's search paths."""
        for name in [name for name in self.found.envs if self.lists and expands(name, self.lists)]:
            if not expands(name, self._rest()):
                del self.found.envs[name]
                edits = self.found.edits
                edits[:] = [(start, end, text.replace(f" -x {name}", "")) for start, end, text in edits]

    def _source(self, statement: Statement, command: Command, target: str) -> bool:
        if MODULE_INIT.search(target):
            self._remove(statement)
            self.found.drop(command.line, self.script.text(statement), "there is no module system to set up")
            return True
        if start_role(target, len(command.words) > 2) == "shell":
            self._remove(statement)
            self.found.drop(command.line, self.script.text(statement), "SkyPilot's shell has read the node's ~/.bashrc")
            return True
        if target.strip("\"'").lower().endswith(("conda.sh", "mamba.sh")):
            self._remove(statement)
            self.found.drop(command.line, self.script.text(statement), "SkyPilot's shell knows conda already")
            return True
        starts_base = len(command.words) == 2 and start_role(target, False) == "conda"
        if target == "activate" or starts_base:
            if starts_base or len(command.words) == 2 or command.words[2].text == "base":
                self._remove(statement)  # base, in which SkyPilot's shell begins
                return True
            self._conda(command, [self.scope.expand(word) for word in command.words[2:3]])
            self.found.edit(command.words[0].start, command.words[1].end, "conda activate")
            return False
        if target.endswith("/bin/activate") and len(command.words) == 3:
            self._conda(command, [self.scope.expand(command.words[2])])
            self.found.edit(command.words[0].start, command.words[1].end, "conda activate")
            return False
        if target.endswith("/bin/activate") and not self._makes(command):
            self._remove(statement)
            for other in self.script.statements:
                if [one.word_texts for one in other.commands] == [["deactivate"]] and not other.blocks:
                    self._remove(other)
            self._leave_environment(command, self.script.text(statement))
            return True
        return False

    def _foreign_python(self, command: Command) -> None:
        """Replace ``/old/env/bin/python a.py`` by ``python a.py``."""
        found = launched(command, self.scope.containers)
        program = self.scope.expand(found.words[0]) if found.words and not found.inside else ""
        folder = environment_of(program)
        made = {self.scope.expand(word).rstrip("/") for other in self.script.commands for word in other.arguments}
        if folder and folder not in made:
            word = found.words[0]
            self.found.edit(word.start, word.end, program.rpartition("/")[2])
            self.removed.append((word.start, word.end))
            self.lists += word.raw
            if CONDA_BASE.search(folder):
                self.found.drop(
                    command.line, program, "SkyPilot's nodes have conda; setup installs what the files import"
                )
            else:
                self._leave_environment(command, program)

    def _leave_environment(self, command: Command, text: str) -> None:
        self.found.setup.append("pip install -r requirements.txt")
        why = "that virtual environment is on the old cluster; requirements.txt (pip freeze) recreates it"
        self.found.drop(command.line, text, why)

    def _inner_source(self, statement: Statement, command: Command) -> None:
        """Convert ``source ENV/bin/activate`` in a function or a branch."""
        target = self.scope.expand(command.words[1]) if len(command.words) == 2 else ""
        if target.endswith("/bin/activate") and not self._makes(command):
            self._clear(command)
            self._leave_environment(command, self.script.text(command))

    def _makes(self, command: Command) -> bool:
        """Return whether the script makes the virtual environment of a command."""
        folder = self.scope.expand(command.words[1]).removesuffix("/bin/activate")
        return any(
            folder in (self.scope.expand(word).rstrip("/") for word in other.words)
            for other in self.script.commands
            if other.name == "virtualenv" or "venv" in other.word_texts[:4]
        )

    def _creates(self, command: Command, name: str) -> bool:
        """Return whether the script creates a conda environment before its use."""
        return any(
            other.name in CONDA_PROGRAMS
            and other.words[0].start < command.words[0].start
            and "create" in other.word_texts[1:3]
            and name in (self.scope.expand(word) for word in other.arguments)
            for other in self.script.commands
            if other.words
        )

    def _conda(self, command: Command, names: list[str]) -> None:
        name = names[0] if names else "base"
        if name == "base":
            return
        if self._creates(command, name):
            if any(
                re.match(r"(?:conda|mamba)\b.* create\b", line) and name in line.split() for line in self.found.setup
            ):
                self.found.setup.append(f"conda activate {name}")  # setup installs later packages into it
            else:
                self.worked = True  # run creates it, and must install later packages, too
            return
        folder, _, last = name.rstrip("/").rpartition("/")
        if folder and re.fullmatch(r"[\w.-]+", last, re.ASCII) and len(command.words) == 3:
            last = next((part for part in name.split("/")[:0:-1] if not _UNNAMED.fullmatch(part) and part), last)
            # an environment of the old cluster, which gets its last component as name
            word, name = command.words[2], last
            self.found.edit(word.start, word.end, name)
            self.removed.append((word.start, word.end))
            self.lists += word.raw
        if re.fullmatch(r"[\w.-]+", name, re.ASCII):
            made = f"create -y -n {name} python" if self._fills(name) else f"env create -n {name} -f environment.yml"
            self.found.setup += [f"conda env list | grep -q '^{name} ' || conda {made}", f"conda activate {name}"]
        else:
            self.found.drop(
                command.line, f"conda activate {name}", "that environment is on the old cluster; make it in setup"
            )

    def _fills(self, name: str) -> bool:
        """Return whether the script installs a conda environment's packages."""
        installs = [
            other for other in self.script.commands if self._installs(other) and "install" in other.word_texts[1:4]
        ]
        return sum(name in other.word_texts for other in installs) > 0 or len(installs) > 2

    def _modules(self, command: Command) -> None:
        for line in module_lines.parse(self.script.text(command)):
            if line.action in ("load", "try-load", "load-any", "swap"):
                for name in line.names[-1:] if line.action == "swap" else line.names:
                    add_module(self.found, self.site, command.line, self._of_variables(name))

    def _of_variables(self, name: str) -> str:
        """A module's name with the values of the script's variables."""
        return re.sub(r"\$\{?(\w+)\}?", lambda found: self.scope.values.get(found[1], found[0]), name)

    def _spack(self, statement: Statement, command: Command) -> bool:
        """Replace ``spack load PACKAGE`` by a module of that name."""
        named = spack_loads(self.script, self.scope) if command.name == "spack" else ()
        names = [name for line, name in named if line == command.line]
        for name in names:
            add_module(self.found, self.site, command.line, name)
        if names:
            self._remove(statement)
        return bool(names)

    def _installs(self, command: Command) -> bool:
        texts = command.word_texts
        if texts[:1] == ["sudo"]:
            texts = texts[1:]
        if len(texts) > 2 and texts[0].startswith("python") and texts[1:3] == ["-m", "pip"]:
            texts = ["pip", *texts[3:]]
        if not texts or texts[0] not in INSTALLERS:
            return False
        verbs = INSTALLERS[texts[0]]
        return verbs is None or any(word in verbs for word in texts[1:3])

    def _online(self, command: Command) -> None:
        """Remove pip's ``--no-index``, which needs the old cluster's wheels."""
        for word in command.words:
            if word.text == "--no-index":
                self.found.edit(word.start, word.end + 1, "")
                self.found.drop(command.line, "pip install --no-index", "the wheels of the old cluster are not there")

    def _to_setup(self, statement: Statement, command: Command) -> bool:
        """Move downloads and installations to setup. They stay if they use files that exist only in run."""
        if self.folders and command.name not in ("pip", "pip3", "conda", "mamba", "apt-get", "apt", "sudo"):
            return False  # target folder that run creates
        if self.worked or command.before in ("&&", "||") or command.after in ("&&", "||"):
            return False  # the order may matter: a later program may need another version
        text = self.script.text(statement).strip().rstrip(";&").strip().replace("--no-index ", "")
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
        if not re.search(r"\s(-y|--yes|-qq?y|-f|--file)\b", text):  # setup cannot answer a prompt
            text = re.sub(r"\b((?:conda|mamba) (?:install|create)|apt(?:-get)? install)\b", r"\1 -y", text)
        self.found.setup.append(text)
        self._remove(statement)
        return True
