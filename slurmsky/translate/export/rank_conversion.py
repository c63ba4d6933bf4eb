"""Converts the start of a program's ranks. Ranks are started by mpirun and similar, or by srun for MPI and PyTorch."""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import pairwise
from pathlib import Path

from ..script.conversion_tables import COMPILERS, EACH_NODE, NETWORK
from ..script.programs import find
from ..script.python_packages import own_files
from ..script.small_files import read_small
from ..script.toolchains import runs_own_program
from ..shell.launched_program import own_words
from ..shell.shell_elements import Command, Statement, Word
from . import variable_conversion
from .command_conversion import Lines
from .conversion_base import HEAD_ADDRESS, TORCHRUN

_OWN_LAUNCHERS = frozenset(("torchrun", "accelerate", "deepspeed", "ray"))
_RANKS = frozenset(("-n", "-np", "-c", "--np", "--n"))
_RANKS_PER_NODE = frozenset(("-ppn", "-perhost", "-npernode", "--npernode", "-N"))
#: makes Open MPI count hardware threads instead of cores, because clouds sell CPUs as threads
_THREADS = "--use-hwthread-cpus"
_BUILDERS = COMPILERS | {"make", "cmake", "cargo"}
_MPI = re.compile(r"(?i)mpi|mvapich|hpcx|foss|gompi|prgenv")
#: signs of a training with PyTorch on several GPUs, and of a Python program with MPI
_TRAINS = re.compile(r"(?i)MASTER_(ADDR|PORT)|\bNCCL_|torch|lightning|deepspeed|\bWORLD_SIZE|fsdp|\bddp\b")
#: signs of such a training in its Python files, and of one that starts its own processes or reads Slurm's ranks
_DISTRIBUTED = re.compile(r"init_process_group|lightning|deepspeed|DistributedDataParallel|accelerate")
_OWN_RANKS = re.compile(r"""\b(?:mp|multiprocessing)\.spawn\(|environ(?:\.get)?[\[(]["']SLURM_(?:PROC|LOCAL)ID""")
#: signs of a program that connects to the other nodes
_MEETS = re.compile(r"(?i)\bddp\b|lightning|num_nodes|init_process_group")
_MPI_PYTHON = re.compile(r"(?m)^[^#\n]*(mpi4py|horovod|\bhvd\b)")
_HYDRA = re.compile(r"-(ppn|perhost|genv|genvall|genvlist|bootstrap|rr)$")
#: options that name a network card, and the cards of clusters
_CARD_OPTION = re.compile(r"-{1,2}[\w-]*(?:interface|ifname|iface|nic)")
_CARD = re.compile(r"(?:ib|hsn|opa|ipogif|bond|roce|mlx5?_)[\w.:]*")


class Ranks(Lines):
    """Rules for commands that start several processes of one program."""

    def _known(self, word: Word) -> str:
        """Word with its known variables replaced. The directives and the script give the values."""
        found = variable_conversion.value(word, self.directives, self.values)
        expanded = self.scope.expand(word) if found is None else found
        return word.text_or_source if "$" in expanded.replace("$PWD", "") else expanded

    def _place_of(self, program: Word) -> str:
        """``./`` for a program of the working directory, which srun finds there without it."""
        name, folder = self._known(program), self.directives.folder
        if not re.fullmatch(r"[\w.+-]+", name) or find(name) or name in self.scope.functions:
            return ""
        return "./" if name.endswith((".exe", ".x", ".out")) or (folder and (Path(folder) / name).is_file()) else ""

    def _container_program(self, command: Command) -> None:
        """Start setup's apptainer instead of one at a path of the old cluster."""
        for word in command.words:
            if re.fullmatch(r"/\S*/(singularity|apptainer)", text := self.scope.expand(word)):
                self.found.edit(word.start, word.end, text.rpartition("/")[2])
                self.removed.append((word.start, word.end))

    def _inner(self, command: Command, program: Word) -> str:
        """Name of the program, also in its container; "" if unknown."""
        words = command.words[command.words.index(program) :]
        texts = " ".join(self._known(word) for word in words).split()
        if texts[0].rpartition("/")[2] in ("singularity", "apptainer"):
            image = next((at for at, text in enumerate(texts) if re.search(r"\.(sif|simg|img)$|^docker:", text)), 0)
            texts = texts[image + 1 :] if image else []
        name = texts[0].rpartition("/")[2] if texts else ""
        return "" if "$" in name else name

    def _torchrun(self, statement: Statement, command: Command, program: Word, tasks: int, nodes: int) -> bool:
        """Replace ``srun python TRAIN.py`` by torchrun for PyTorch. The step has one task for each GPU."""
        words = list(command.words[command.words.index(program) :])
        source, each = self.script.source, -(-tasks // nodes)
        while len(words) > 2 and re.fullmatch(r"-[uBOEsS]+", words[1].raw):
            del words[1]
        if len(words) < 2 or not re.fullmatch(r"python[\d.]*", (words[0].text or "").rpartition("/")[2]):
            return False
        if not (words[1].raw.endswith(".py") or words[1].raw == "-m") or tasks != each * self.directives.nodes:
            return False
        files = self._own_texts()
        if not (_TRAINS.search(source) or _DISTRIBUTED.search(files)) or "PROCID" in self.script.text(command):
            return False
        if _MPI_PYTHON.search(source) or (_OWN_RANKS.search(files) and not TORCHRUN.search(files)):
            return False
        port = "$MASTER_PORT" if re.search(r"\bMASTER_PORT=", source) else "29500"
        size = "--nnodes=$SKYPILOT_NUM_NODES --node_rank=$SKYPILOT_NODE_RANK "
        size += f'--master_addr="$({HEAD_ADDRESS})" --master_port={port}'
        start = f"torchrun {size if nodes > 1 else '--standalone'} --nproc_per_node={each} "
        self.found.edit(command.words[0].start, words[1].start, start)
        self.removed.append((command.words[0].start, words[1].start))
        self.everywhere.add(statement)
        self.found.notes.append(
            f"torchrun starts {each} processes a node as srun did; the program reads RANK, LOCAL_RANK and WORLD_SIZE, "
            "not SLURM_PROCID"
        )
        return True

    def _meet(self, name: str) -> None:
        """Set the variables by which PyTorch finds the other nodes."""
        texts = f"{self.script.source}\n{self._own_texts()}"
        if not name.startswith("python") or not _MEETS.search(texts) or "MASTER_ADDR" in self.script.source:
            return
        line = f'export MASTER_ADDR="$({HEAD_ADDRESS})" MASTER_PORT=29500 NODE_RANK=$SKYPILOT_NODE_RANK'
        self.found.activate += [] if line in self.found.activate else [line]

    def _starts_workers(self, command: Command, tasks: int) -> bool:
        """Return whether torchrun starts several workers. With one per torchrun, srun starts all workers itself."""
        text = " ".join(self._known(word) for word in command.words)
        workers = re.search(r"--nproc[_-]per[_-]node[= ](\S+)", text)
        nodes = re.search(r"--nnodes[= ](\S+)", text)
        return bool(workers and workers[1] != "1" and not (nodes and nodes[1] == str(tasks)))

    def _is_mpi(self, name: str) -> bool:
        """Return whether a program on each node is probably one MPI program."""
        if name and not EACH_NODE.match(name):
            return not name.endswith((".sh", ".bash"))
        return name.startswith("python") and self._mpi_python()

    def _mpi_python(self) -> bool:
        """Return whether the script or its Python files use MPI."""
        return any(_MPI_PYTHON.search(text) for text in (self.script.source, self._own_texts()))

    def _own_texts(self) -> str:
        """Texts of the Python files that the script starts."""
        folder = self.directives.folder
        files = own_files(self.script.source, Path(folder)) if folder else []
        return "\n".join(read_small(one) or "" for one in files)

    def _loop(self, statement: Statement, command: Command, program: Word, tasks: int, per_task: bool) -> bool:
        """Start the tasks of a node by a shell loop.

        The tasks have Slurm's numbers in their environment. The step has all nodes. ``per_task``: each task has a GPU.
        """
        nodes, name = self.directives.nodes, self._inner(command, program)
        each = tasks // nodes
        joined = {command.before, command.after} & {"|", "|&", "&"} or any("<" in sign for sign, _ in command.redirects)
        if command.depth or joined or tasks != each * nodes:
            return False
        if not (EACH_NODE.match(name) or name.endswith((".sh", ".bash"))) or name in _OWN_LAUNCHERS:
            return False  # a program with MPI perhaps, or one that counts nodes
        rank = f"$(({each} * SKYPILOT_NODE_RANK + SLURM_LOCALID))" if nodes > 1 else "$SLURM_LOCALID"
        devices = " CUDA_VISIBLE_DEVICES=$SLURM_LOCALID" if per_task else ""
        start = f"pids= failed=0\nfor SLURM_LOCALID in $(seq 0 {each - 1}); do\n"
        start += f"    export SLURM_LOCALID SLURM_PROCID={rank} SLURM_NTASKS={tasks}{devices}\n    "
        end = ' & pids="$pids $!"\ndone\nfor pid in $pids; do wait "$pid" || failed=$?; done; (exit $failed)'
        self.found.edit(command.words[0].start, program.start, start + self._place_of(program))
        self.found.edit(command.end, command.end, end)
        self.removed.append((command.words[0].start, program.start))
        self.removed += [(word.start, word.end) for word in command.words if word.raw[0] == "'"]  # a task expands them
        self.everywhere.add(statement)
        self.found.looped = True
        self.found.notes.append(f"a loop starts {each} tasks on a node as srun did, without its CPU binding")
        self._meet(name)
        return True

    def _has_ranks(self, command: Command, name: str, nodes: int) -> bool:
        """Return whether mpirun can start a step. Its MPI program is on all nodes and reads nothing of Slurm."""
        if re.search(r"SLURM_(PROCID|LOCALID|NODEID)", self.script.text(command)):
            return False
        if nodes > 1 and any(other.name in _BUILDERS for other in self.script.commands):
            return False  # the program is built on the node where run begins
        mpi = any(_MPI.search(module.name) for module in self.found.modules)
        if mpi and name.startswith("python") and "conda env create" not in "".join(self.found.setup):
            self.found.setup.append("pip install mpi4py")
        openfoam = "-parallel" in command.word_texts  # as each of its solvers spells it
        return openfoam or self._is_mpi(name) or (mpi and name.startswith("python"))

    def _step_size(self, options: dict[str, str | None]) -> tuple[int | None, int | None]:
        """Tasks and nodes of a step; None for a variable."""

        def number(option: str) -> int | None:
            text = (options.get(option) or "").split("-")[0]
            return int(text) if text.isdecimal() and len(text) < 8 else None

        for option in ("ntasks", "nodes", "ntasks-per-node"):
            if option in options and number(option) is None:
                return None, None
        nodes, each, tasks = number("nodes"), number("ntasks-per-node"), number("ntasks")
        if tasks is None:
            tasks = (nodes or self.directives.nodes) * each if each else nodes or self.directives.ntasks
        if nodes is None:
            nodes = -(-tasks // each) if each else min(tasks, self.directives.nodes)
        return tasks, nodes

    def _start_ranks(self, command: Command, program: Word, tasks: int, nodes: int) -> None:
        """Replace ``srun PROGRAM`` by ``mpirun PROGRAM``."""
        each = -(-tasks // nodes)
        options = f" -np {tasks}"
        listed = '"$SKYPILOT_NODE_IPS"' + (f" | head -n {nodes}" if nodes < self.directives.nodes else "")
        if self._is_hydra(["mpirun"]):
            options += f" -ppn {each} -hosts $(echo {listed} | paste -sd, -)" if nodes > 1 else ""
        else:
            hosts = f"-H $(echo {listed} | sed 's/$/:{each}/' | paste -sd, -)"
            options += f" {hosts}" if nodes > 1 else f" {_THREADS}"
            options += " --bind-to none" if (self.directives.spec.cpus_per_task or 1) > 1 else ""
            options += self._passed() if nodes > 1 else ""
        self.found.edit(command.words[0].start, program.start, f"mpirun{options} {self._place_of(program)}")
        self.removed.append((command.words[0].start, program.start))
        self.found.ranks = True
        if nodes > 1:
            self.found.notes.append("mpirun starts the ranks from the first node over ssh")

    def _passed(self, given: Container[str] = ()) -> str:
        """Open MPI's options that pass variables to ranks over ssh."""
        exported = re.findall(r"(?m)^\s*export\s+(\w+)=", self.script.source)
        names = [name for name in dict.fromkeys((*self.found.envs, *exported)) if not name.startswith("OMPI_ALLOW")]
        known = [name for name in names if name not in ("PATH", *self.found.secrets) and not NETWORK.fullmatch(name)]
        entered = self.found.activate or any("conda activate" in line for line in self.found.setup)
        known += ["PATH"] if entered else []  # a login over ssh does not activate the conda environment
        return "".join(f" -x {name}" for name in known if name not in given)

    def _without_network(self, command: Command) -> None:
        """Remove mpirun's options for the old cluster's hosts and network."""
        words = command.words
        for at, word in enumerate(words[:-1]):
            name = (words[at + 1].raw).partition("=")[0]
            hosts = word.text in ("-hostfile", "--hostfile", "-machinefile", "--machinefile")
            if hosts or (word.text == "-x" and NETWORK.fullmatch(name)):
                self.found.edit(words[at - 1].end, words[at + 1].end, "")
                why = "hosts, interfaces or transports of the old cluster"
                self.found.drop(command.line, f"{word.text} {words[at + 1].raw}", why)

    def _without_cards(self, command: Command) -> None:
        """Omit options that name a network card of the old cluster: ``dask-mpi --interface ib0``."""
        for at, word in enumerate(command.words[1:], 1):
            option, sign, value = word.text_or_source.partition("=")
            following = command.words[at + 1] if not sign and at + 1 < len(command.words) else word
            if _CARD_OPTION.fullmatch(option) and _CARD.fullmatch(
                value.strip("'\"") or following.text_or_source.strip("'\"")
            ):
                self.found.edit(command.words[at - 1].end, following.end, "")
                why = "a network card of the old cluster; the nodes have others"
                self.found.drop(command.line, f"{option} {value or following.text_or_source}", why)

    def _mpirun(self, statement: Statement, command: Command) -> None:
        nodes, texts = self.directives.nodes, [self._known(word) for word in own_words(command)]
        if nodes == 1:
            placed = any(
                re.search(r"hwthread|subscribe|map-?by|-H$|host|machinefile|^--version", text) for text in texts
            )
            ranks, each = (self._count(texts, names) for names in (_RANKS, _RANKS_PER_NODE))
            for word, following in pairwise(command.words) if 0 < each < ranks else ():
                if word.text in _RANKS_PER_NODE:
                    self.found.edit(word.start, following.end + 1, "")
            if not placed and not command.depth:
                # Without a count, mpirun starts a rank on each CPU, of which a cloud's node may have more.
                count = "" if _RANKS & set(texts) or self.directives.whole_node else f" -np {self.directives.ntasks}"
                threads = "" if self.directives.ntasks == 1 or self._is_hydra(texts) else f" {_THREADS}"
                self.found.edit(command.words[0].end, command.words[0].end, f"{threads}{count}")
            return
        ranks, each = (self._count(texts, names) for names in (_RANKS, _RANKS_PER_NODE))
        total = each * nodes or self.directives.ntasks
        each = each or -(-(ranks or self.directives.ntasks) // nodes)
        if self._is_hydra(texts):
            more, spelling = '-hosts $(echo "$SKYPILOT_NODE_IPS" | paste -sd, -)', "Intel MPI's and MPICH's"
            more += "" if _RANKS_PER_NODE & set(texts) else f" -ppn {each}"
        else:
            more = f"-H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:{each}/' | paste -sd, -)"
            more += self._passed({text.partition("=")[0] for text in texts})
            spelling = "Open MPI's"
            self._without_network(command)
        if not _RANKS & set(texts):
            more += f" -np {total}"
        self.found.edit(command.words[0].end, command.words[0].end, " " + more)
        cpus = self.directives.tasks_per_node * (self.directives.spec.cpus_per_task or 1)
        if each > cpus:
            self.found.notes.append(
                f"mpirun starts {each} ranks a node, the script requests {cpus} CPUs there: raise cpus"
            )
        self.found.notes.append(f"mpirun starts the ranks from the first node over ssh, in {spelling} spelling")

    def _ibrun(self, statement: Statement, command: Command) -> None:
        """Replace ``ibrun PROGRAM``, TACC's launcher, by ``mpirun PROGRAM``.

        ibrun's own options select parts of the tasks.
        """
        if command.depth or (command.word_texts[1:2] or ["-"])[0].startswith("-"):
            self.found.need(command.line, self.script.text(command), "options of ibrun select parts of the tasks")
            return
        word = command.words[0]
        self.found.edit(word.start, word.end, "mpirun")
        self.found.ranks = True
        self._mpirun(statement, command)

    def _aprun(self, statement: Statement, command: Command) -> None:
        """Replace ``aprun -n 32 PROGRAM``, Cray's launcher, by mpirun."""
        given: dict[str, str] = {}
        words = list(command.arguments)
        while words and words[0].raw.startswith("-"):
            found = re.fullmatch(r"(-[nNdjSmbecL]|-cc|-pc)(.*)", words.pop(0).raw)
            if found and found[1] in ("-n", "-N"):
                given[found[1]] = found[2] or (words.pop(0).raw if words else "")
            elif found and not found[2] and words and not words[0].raw.startswith("-"):
                words.pop(0)
        if not words or ":" in [word.raw for word in words]:
            self.found.need(command.line, self.script.text(command), "aprun of several programs")
            return
        ranks = variable_conversion.rename_text(given.get("-n", ""), self.directives, self.found) or str(
            self.directives.ntasks
        )
        each = given.get("-N", str(self.directives.tasks_per_node))
        hosts = f" -H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:{each}/' | paste -sd, -)"
        start = f"mpirun -np {ranks}{hosts if self.directives.nodes > 1 else f' {_THREADS}'} "
        self.found.edit(command.words[0].start, words[0].start, start)
        self.removed.append((command.words[0].start, words[0].start))
        self.found.ranks = True
        self.found.drop(command.line, "aprun", "Cray's launcher: mpirun starts the same ranks")

    def _count(self, texts: list[str], names: frozenset[str]) -> int:
        """Number after one of mpirun's options, or 0."""
        given = next((texts[at + 1] for at, text in enumerate(texts[:-1]) if text in names), "")
        return int(given) if given.isdecimal() and len(given) < 7 else 0

    def _is_hydra(self, texts: list[str]) -> bool:
        """Return whether mpirun is Intel MPI's or MPICH's. Their options differ from Open MPI's."""
        modules = self.found.modules
        named = any(re.search(r" mpich |impi-rt", module.setup) for module in modules)
        image = any("hpckit" in one.image for one in modules) and not any("openmpi" in one.setup for one in modules)
        image = image and runs_own_program(self.script)
        return named or image or texts[0].endswith("hydra") or any(_HYDRA.match(text) for text in texts[1:])
