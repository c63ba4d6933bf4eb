"""Determines a script's files in its working directory, and arguments."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..shell.launched_program import launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.shell_elements import Command
from ..shell.word_sets import words
from .conversion_tables import ANYWHERE, INSTALLERS
from .programs import find

_BESIDE = re.compile(
    r"(?:\./|\.\./)?(?!https?:)[A-Za-z_][\w.-]*/[\w./-]+$"
    r"|[A-Za-z_][\w.-]*\.(?:py|sh|bash|R|r|jl|pl|m|ipynb|yaml|yml|json|jsonl|txt|cfg|toml|ini|sif|nml|conf|csh|exe|in|inp|dat"
    r"|csv|tsv|c|cc|cpp|cu|cuf|f|f90|f95|F90|hip|for|gjf|com|pdb|tpr|mdp|gro|top|fa|fasta|fastq|fq|gz|zip|tar|tgz|bam|vcf|bed|h5"
    r"|hdf5|nc|npz|npy|pt|pth|mat|xml|do|sas|gms|mw|wls|jar|lua|tcl|lmp|data|smk|nf|mod|lp|out|x|i|k|md|rs|go|java|par|prm)$"
)
#: programs that read their working directory
_IN_FOLDER = words("make cmake snakemake nextflow cargo ninja blockMesh simpleFoam docker-compose matlab octave")
#: a variable's value that is probably a data file; programs and settings files are often generated
_INPUT_FILE = re.compile(
    r"(?:\./)?[A-Za-z_][\w./-]*\.(?:csv|tsv|txt|fa|fasta|fastq|gz|bam|vcf|bed|h5|hdf5|nc|npz|npy|sif|pdb)"
)
_RESULT = re.compile(r"^--?(out|output|save|results?|log)([-_]?(dir|path|file|folder))?$")
_WRITTEN = re.compile(r"(?!\d+$)(?:\./)?\w[\w./+-]*")
_ARGUMENTS = re.compile(r"[1-9]\d*|[@*#]")
_NO_FILES = frozenset(("module", "ml", "spack"))  # arguments of these are names with versions
_SPEAKERS = frozenset(("echo", "printf", "export", "set"))  # arguments of these are text, not files


def names_files_beside(script: Script) -> bool:
    """Return whether the script names files in its folder. Tools that read the folder count, too."""
    loops = {block for command in script.commands for block in command.blocks if block.kind == "for"}
    listed = [word for loop in loops for word in loop.words]
    listed += [word for command in script.commands if command.name in _READERS for word in command.arguments]
    patterns = (re.match(r"[\w./-]*\*", word.raw) and not word.raw.startswith("/") for word in listed)
    below = _WORKING_FOLDER.search(re.sub(r"(?m)^\s*#.*$", "", script.source))
    return any(patterns) or bool(below) or _reads_pattern(script) or reads_files_beside(script.commands)


def _reads_pattern(script: Script) -> bool:
    """Return whether a command reads ``results/*.csv``."""
    reading = ((one, made) for one, made in outside_made(script.commands) if one.name not in _SPEAKERS | _REMOVERS)
    return any(
        _PATTERN.match(word.raw) and word.raw.removeprefix("./").partition("/")[0] not in made
        for command, made in reading
        for word in command.arguments
    )


#: a file or folder of the working directory by its whole path
_WORKING_FOLDER = re.compile(r"(?:\$PWD|\$\{PWD\}|\$\(pwd\)|`pwd`)/\w")
_REMOVERS = frozenset(("rm", "rmdir", "find", "pip", "pip3", "conda"))
_PATTERN = re.compile(r"(?:\./)?[A-Za-z_][\w.-]*/[\w./-]*\*|(?:\./)?\*\.[A-Za-z]\w*$")
#: programs that use only what their command line names
_PLAIN = frozenset(("base", "node", "slurm", "machine", "old", "reports"))
_INFORMS = re.compile(r"-{0,2}[vV](ersion)?|-{1,2}h(elp)?")
_LOOKERS = words("bc jq numactl numastat lspci ifconfig netstat ibstat ibstatus lstopo tmux screen parallel htop java")
#: python -m MODULE of packages; other modules are files of the script's user
PACKAGED = words("pip virtualenv torch accelerate deepspeed vllm sglang mpi4py ipykernel jupyter notebook")
_OPENS = re.compile(r"\bchdir\(|\bopen\(|\bread_\w+\(|\blistdir\(|\bglob\(")


def made_by(name: str, texts: list[str]) -> list[str]:
    """Folders and files that a command makes in its working directory."""
    named = [text.removeprefix("./").rstrip("/") for text in texts if not text.startswith("-")]
    if name == "git" and named[:1] == ["clone"]:
        return named[-1:] if len(named) > 2 else [text.rpartition("/")[2].removesuffix(".git") for text in named[1:]]
    if name in ("wget", "curl"):
        return [text.rpartition("/")[2] for text in named]
    return named if name in ("mkdir", "touch") else []


def outside_made(commands: Iterable[Command]) -> Iterator[tuple[Command, set[str]]]:
    """Commands outside the folders that the script makes, with those made so far."""
    made: set[str] = set()
    inside = False
    for command in commands:
        texts = [word.text or "" for word in command.arguments]
        if command.name in ("cd", "pushd"):
            target = texts[0].removeprefix("./") if texts else "~"
            leaves = target.startswith(("..", "/", "~"))
            inside = (inside and not leaves) or target.partition("/")[0] in made
        if not inside:
            yield command, made
            made.update(made_by(command.name, texts))


def runs_own_programs(script: Script) -> bool:
    """Return whether the script's commands use files of its folder."""
    scope = Scope.of(script)
    for command, _ in outside_made(script.commands):
        found = launched(command, scope.containers)
        if not found.words or found.inside not in ("", "singularity", "apptainer"):
            continue
        program = scope.expand(found.words[0])
        name = program.rpartition("/")[2]
        if name in scope.functions or name in INSTALLERS or name in _LOOKERS or program in ("", "$()"):
            continue
        arguments = [word.text or word.raw for word in found.arguments]
        if all(_INFORMS.fullmatch(text) for text in arguments) and arguments:
            continue
        if re.fullmatch(r"python[\d.]*", name):
            if _is_own(arguments):
                return True
        elif (source := find(name)) is None or source.kind not in _PLAIN:
            return True
    return False


def _is_own(arguments: list[str]) -> bool:
    """Return whether Python's arguments are the user's files or module."""
    while arguments and re.fullmatch(r"-[uBOEsSIqbx]+|-[WX]\S+", arguments[0]):
        del arguments[0]
    if arguments[:1] and arguments[0] in ("-W", "-X"):
        return _is_own(arguments[2:])
    if arguments[:1] == ["-m"]:
        top = "".join(arguments[1:2]).partition(".")[0]
        return top not in PACKAGED and top not in getattr(sys, "stdlib_module_names", ())
    if arguments[:1] == ["-c"]:
        return bool(_OPENS.search("".join(arguments[1:2])))
    return arguments not in ([], ["-"])


def reads_files_beside(commands: Iterable[Command]) -> bool:
    """Return whether these commands name or read files of their folder."""
    return any(True for _ in files_beside(commands))


def files_beside(commands: Iterable[Command]) -> Iterator[str]:
    """Files of the working directory that these commands name; "" if a program reads any file of the folder."""
    for command, made in outside_made(commands):
        found = launched(command)
        if found.name in _SPEAKERS and not command.redirects:
            continue
        if found.name in _NO_FILES:
            continue
        if found.name in _IN_FOLDER and not found.inside:
            yield ""
        if found.name in ("mkdir", "touch", "git", "wget", "curl"):
            continue
        named = [*command.words, *found.words, *(word for operator, word in command.redirects if "<" in operator)]
        listed = found.arguments if found.name in _READERS and not found.inside else ()
        for word in listed:
            if re.match(r"[A-Za-z][\w./-]*$", text := word.text or "") and text not in made:
                yield text
        named += [given.value for given in command.assignments if _INPUT_FILE.fullmatch(given.value.text or "")]
        for word in named:
            text = word.text or ""
            if text.partition("/")[0] in made or text in made:
                continue
            if word in found.words[:1] and "/" not in text and command.name != "srun":
                continue  # a program of PATH
            if text in ("--project=.", "--project"):
                yield ""
            elif _BESIDE.match(text) or (word.raw.startswith("./") and len(word.raw) > 2):
                yield text


#: options whose value is a file that a program reads
_READ_OPTION = re.compile(
    r"--?(i|in|input([-_]?(file|path|csv|data))?|config([-_]?file)?|cfg|data([-_]?(file|path|csv))?|train[-_]?file|fasta|params?)"
)
_FOLDER = re.compile(r"[A-Za-z_][\w.-]*(?:/[\w.-]+)*/?")
_UNPACKERS = frozenset(
    ("gunzip", "unzip", "gzip", "zcat", "bunzip2", "unxz", "cat", "head", "tail", "wc", "cut", "sort")
)


def inputs(script: Script) -> Iterator[str]:
    """Files beside the script that its first programs read.

    Commands after the first program may read files that it made.
    """
    made: set[str] = set()
    scope = Scope.of(script)
    for command in script.commands:
        found = launched(command, scope.containers)
        texts = [scope.expand(word) for word in found.arguments]
        if any(block.kind in ("if", "function") for block in command.blocks):
            return
        if found.name in ("cd", "pushd") and "SUBMIT_DIR" not in script.text(command):
            if texts and _FOLDER.fullmatch(texts[0]) and texts[0].partition("/")[0] not in made:
                yield f"{texts[0].rstrip('/')}/"
            return
        read = [scope.expand(word) for operator, word in command.redirects if operator == "<"]
        read += texts if found.name in _UNPACKERS and "-c" not in texts else []
        pairs = [text.partition("=")[::2] for text in texts] + list(pairwise(texts))
        read += [text for option, text in pairs if _READ_OPTION.fullmatch(option)] if not found.inside else []
        for text in read:
            if _INPUT_FILE.fullmatch(text) and text.removeprefix("./") not in made:
                yield text.removeprefix("./")
        made.update(scope.expand(word) for operator, word in command.redirects if ">" in operator)
        made.update(made_by(command.name, texts))
        made.update(text[:-3] for text in texts if found.name == "gunzip")
        if found.name and found.name not in ANYWHERE | _UNPACKERS:
            return


#: programs whose plain arguments are files
_READERS = frozenset(("ls", "cd", "pushd", "source", ".", "wc", "du", "cat", "cp", "rsync", "tar", "unzip", "gunzip"))


@dataclass(frozen=True)
class Server:
    """Server that a script starts: port and path of its health check."""

    port: int
    probe: str


#: words of a command line -> (usual port, path of its health check). Source: the servers' documentation.
_SERVERS = {
    r"vllm serve|vllm\.entrypoints": (8000, "/health"),
    r"sglang\.launch_server": (30000, "/health"),
    r"text-generation-launcher": (80, "/health"),
    r"ollama serve": (11434, "/"),
    r"tritonserver": (8000, "/v2/health/ready"),
    r"trtllm-serve": (8000, "/health"),
    r"lmdeploy serve": (23333, "/health"),
    r"llama-server": (8080, "/health"),
    r"uvicorn|gunicorn": (8000, "/"),
    r"-m http\.server": (8000, "/"),
    r"\bflask .*\brun\b": (5000, "/"),
    r"streamlit run": (8501, "/_stcore/health"),
    r"jupyter[- ](lab|notebook|server)": (8888, "/api"),
    r"(?<![\w-])tensorboard ": (6006, "/"),
    r"mlflow server": (5000, "/health"),
}


def server_of(script: Script) -> Server | None:
    """Last server that the script starts, or None."""
    scope = Scope.of(script)
    for command in reversed(script.commands):
        line = " ".join(map(scope.expand, command.words))
        if command.name in _SPEAKERS:
            continue
        for pattern, (usual, probe) in _SERVERS.items():
            if re.search(pattern, line):
                given = re.search(r"(?:--port[= ]|http\.server )(\d{2,5}|\$)", line)
                port = given[1] if given else str(usual)
                return Server(int(port), probe) if port.isdecimal() else None  # a port of the script's choice
    return None


def arguments_read(script: Script) -> set[str]:
    """Positional parameters ($1, $@, ...) that the script reads. Those in its functions do not count."""
    own = [command for command in script.commands if not any(block.kind == "function" for block in command.blocks)]
    read = {"@"} if any(command.name == "getopts" and len(command.words) == 3 for command in own) else set()
    return read | {
        part.name
        for command in own
        for word in (
            *command.words,
            *(given.value for given in command.assignments),
            *(word for block in command.blocks for word in block.words),
            *(word for _, word in command.redirects),
        )
        for part in word.variables
        if _ARGUMENTS.fullmatch(part.name)
    }


def results(script: Script) -> list[str]:
    """Outputs in the working directory, at most four."""
    found: dict[str, None] = {}
    for command in script.commands:
        if command.blocks and any(block.kind == "function" for block in command.blocks):
            continue
        named = [word.text or "" for operator, word in command.redirects if operator in (">", ">>", "&>", "1>")]
        texts = [word.text or "" for word in command.words]
        for text, following in zip(texts, [*texts[1:], ""], strict=False):
            option, _, value = text.partition("=")
            if _RESULT.match(option):
                named.append(value or following)
        found.update((name, None) for name in named if _WRITTEN.fullmatch(name))
    return list(found)[:4]


def argument_variables(script: Script) -> list[str]:
    """Variables for a script's arguments. They are $ARG1, $ARG2, or $ARGS for all."""
    read = arguments_read(script)
    given = [command for command in script.commands if command.name == "set" and "--" in command.word_texts[1:-1]]
    if given and not any(word.raw.strip('"') in ("$@", "$*") for command in given for word in command.words):
        return []  # the script sets its arguments itself
    if read & {"@", "*"} or (read and any(command.name == "shift" for command in script.commands)):
        return ["$ARGS"]
    count = max((int(name) for name in read if name.isdecimal()), default=0)
    return [f"$ARG{number}" for number in range(1, count + 1)] or (["$ARGS"] if read else [])
