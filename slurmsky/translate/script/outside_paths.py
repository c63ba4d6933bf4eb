"""Finds the outside folders and files that a script uses.

Some texts are not paths: arguments of echo, awk and sed patterns, commands inside a container. A path is evaluated
where it is used, with the script's variables expanded, so that an unused default is not reported.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..shell.launched_program import Launched, bind_targets, launched
from ..shell.path_texts import SHAPE, alternatives, folder_of_pattern, home, is_path
from ..shell.script_commands import Script, parse
from ..shell.script_variables import STORES, Scope
from ..shell.shell_elements import Command, Word
from ..shell.word_sets import words
from .mount_points import mount_of, on_every_node
from .program_paths import CONDA_PROGRAMS, environment_of, known_program
from .start_files import start_role

#: roles of a place: read, written, run (a program), conda (its own start file), modules (module files), venv,
#: image (a container's file), path (an entry of PATH and the like), cache (written by libraries), shell (a shell's
#: own start file), bound (a whole file system that a container gets), cuda (the CUDA toolkit's folder), program (a
#: program that setup can install), software (a start file that a module replaces)
READ, WRITTEN, RUN, CONDA, MODULES, VENV, IMAGE, ENTRY, CACHE, SHELL, BOUND, CUDA, PROGRAM, SOFTWARE = (
    "read", "written", "run", "conda", "modules", "venv", "image", "entry", "cache", "shell", "bound", "cuda",
    "program", "software",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A path, with ``$NAME`` for unknown variables, and its use."""

    line: int
    text: str
    role: str


_SPEAKERS = words(
    """
    echo print printf awk gawk mawk sed grep egrep fgrep perl test [ [[ trap alias expr tr cut jq xmllint wait kill
    pkill unset shopt ulimit hostname logger date sleep true false : read case seq basename dirname getopts exit
    return setfacl unalias type which command hash let declare local readonly typeset getopts ldd file nm
    """
)
_WRITERS = words("mkdir touch tee rm rmdir chmod chown chgrp mktemp truncate install fallocate")
_WITH_HOME = words("singularity apptainer")
_MAKERS = words("mkdir git python python3 virtualenv conda cp rsync wget curl tar")
_READERS = words("cd pushd ls find du df cat head tail wc sort")
_MOVERS = words("cp mv rsync ln scp dcp")
_OUTPUT_OPTION = re.compile(
    r"^--?(o|O|P|p|d|out|output|save|result|log|ckpt|checkpoint|tensorboard|wandb|cache|tmp|temp|scratch|prefix|dest"
    r"|report|export|profile|run|work|exp|experiment)s?([-_]?(dir|path|file|folder|root|base|name|prefix))?s?([-_]dir)?$"
    r"|(output|save|result|log|checkpoint|ckpt|cache|dump)[-_](dir|path|file|folder|root)$"
    r"|(conda|singularity|apptainer|shadow)-prefix$",
    re.IGNORECASE,
)
#: a file with the job's own number in its name, or a path below a name that begins with it
_OF_JOB = re.compile(r"\$(?:SLURM_JOB_?ID|SLURM_ARRAY_JOB_ID)(?![A-Z0-9])(?:[^/]*\.\w+$|[^/]+/)")
_LOAD = re.compile(r"load|resume|pretrain|init|from|restore|input", re.IGNORECASE)
_ENTRIES = re.compile(
    r"^(PYTHONSTARTUP|WORKON_HOME|PATH|LD_LIBRARY_PATH|LIBRARY_PATH|CPATH|C_INCLUDE_PATH|CPLUS_INCLUDE_PATH|MANPATH|PKG_CONFIG_PATH|INCLUDE"
    r"|MODULEPATH|LD_PRELOAD|PERL5LIB|INFOPATH|XDG_DATA_DIRS|CLASSPATH"
    r"|LD_RUN_PATH|NODE_PATH|(\w+_)?(LIB|LIBRARY|INCLUDE|BIN|MODULE|PLUGIN|PREFIX|SEARCH|DEPOT|PYTHON)_?PATH)$"
)
_CACHES = re.compile(
    r"CACHE|^TMP(DIR)?$|^TEMP$|^HF_HOME$|^TORCH_HOME$|^WANDB_DIR$|^TRITON_|TIMELINE|^MPLCONFIGDIR$|^XDG_|_TMP$|_TMPDIR$|LOG|"
    r"OUT|RESULT|SAVE|CHECKPOINT|CKPT|^NUMBA_|^JUPYTER_|^IPYTHON|^PYTHONUSERBASE$|^NXF_(HOME|WORK)$"
)
#: programs with an option for code, which may create the paths in it
_CODE = words("R Rscript julia python python3 perl octave")
#: a text in a line of MATLAB
_LITERAL = re.compile(r"'([^'\n]+)'")
_CUDA = re.compile(r"^(CUDA|CUDNN|CUDATOOLKIT)_?(HOME|PATH|ROOT|DIR|TOOLKIT_ROOT_DIR|INSTALL_PATH|ROOT_DIR)$")
_SITE_PACKAGES = re.compile(r"/lib(?:64)?/python[\d.]+/(?:site|dist)-packages(?:/|$)")
#: programs whose first argument is a pattern; the others are files
_FILTERS = words("sed grep egrep fgrep awk gawk mawk cut jq")
_STARTS_PROGRAM = re.compile(r"[\"'(]\s*(?:python[\d.]*|Rscript|julia|bash|srun|mpirun)\s")
_CONTAINED = re.compile(r"(?:^|[\s/])(?:singularity|apptainer|docker|podman)\s")
_BINDS = ("-B", "--bind", "--volume", "--mount", "--container-mounts")
_FILE_TESTS = ("-f", "-d", "-e", "-r", "-s", "-x", "-L", "-h")


def places(script: Script, scope: Scope) -> Iterator[Place]:
    """All places of a script, in order, with repetitions."""
    made: list[str] = []
    written: set[str] = set()
    seen: set[tuple[int, str, str]] = set()
    inside = [command for command in script.commands if launched(command, scope.containers).inside]
    contained = tuple((command.start, command.end) for command in inside)
    with_home = {command.name for command in inside} <= _WITH_HOME
    guarded = frozenset(_tested(script, scope))
    given = tuple(_made(script, scope))
    targets = tuple(bind_targets(script.source))
    yield from _read_by_sourced_files(script, scope)
    runs = ((command, held) for held in _loops(script, scope) for command in script.commands)
    for command, scope in runs:
        if any(start < command.start < end for start, end in contained):
            yield from _at_home(command.words, scope) if with_home else ()  # a command inside a container (bash -c)
            continue
        for place in _of_command(command, scope, bool(contained)):
            text = place.text.rstrip("/") or "/"
            if (place.line, text, place.role) in seen:
                continue
            seen.add((place.line, text, place.role))
            if _below(text, made) or (place.role == READ and _below(text, targets)):
                continue
            if place.role == READ and text in scope.stores.values():
                place = replace(place, role=CACHE)  # the folder that replaces $SCRATCH
            if place.role == READ and command.name in ("", "export", "setenv") and _below(text, given):
                place = Place(place.line, place.text, WRITTEN)  # a variable for a folder that the script makes later
            if place.role == WRITTEN and command.name in _MAKERS:
                made.append(text)
            elif place.role == WRITTEN:
                written.add(text)
            elif text in written or (place.role == READ and text in guarded):
                continue
            yield Place(place.line, text, place.role)


def _loops(script: Script, scope: Scope) -> Iterator[Scope]:
    """Scopes with a loop's folders as values of its variable."""
    blocks = dict.fromkeys(block for command in script.commands for block in command.blocks if block.kind == "for")
    listed = ((block.name, scope.expand(word), word) for block in blocks for word in block.words)
    tops: dict[str, dict[str, str]] = {}
    for name, text, word in listed:
        if SHAPE.match(text) and not word.raw.startswith("'"):
            tops.setdefault(name, {}).setdefault(mount_of(home(text)), text)
    for index in range(max(map(len, tops.values()), default=1)):
        values = {name: list(found.values())[index] for name, found in tops.items() if index < len(found)}
        yield replace(scope, values=scope.values | values)


def read_unchanged(script: Script, without: Container[int] = ()) -> list[str]:
    """Old cluster's paths that the script reads outside ``without`` lines."""
    found = places(script, Scope.of(script))
    roles = (READ, RUN, IMAGE)
    named = (place for place in found if place.role in roles and place.line not in without)
    return [place.text for place in named if place.text[:1] in "/~" and not on_every_node(place.text)]


def _made(script: Script, scope: Scope) -> Iterator[str]:
    """Folders made with mkdir, and folders with the job's number."""
    for command in script.commands:
        for word in command.arguments if command.name == "mkdir" else ():
            text = home(scope.expand(word)).rstrip("/")
            while len(text) > 1 and not text.startswith("-"):
                yield text
                text = text.rpartition("/")[0] if "$SLURM_JOB" in text.rpartition("/")[0] else ""


def _tested(script: Script, scope: Scope) -> Iterator[str]:
    """Paths that the script tests before use: ``[ -d PATH ] &&``."""
    for command in script.commands:
        if command.name in ("[", "[[", "test") and command.after != "||":
            words = command.arguments
            for option, word in pairwise(words):
                if option.text in _FILE_TESTS and "!" not in [other.text for other in words]:
                    yield home(scope.expand(word)).rstrip("/")


def _read_by_sourced_files(script: Script, scope: Scope) -> Iterator[Place]:
    """Paths in variables that only a sourced file can read."""
    beside = [file for _, file in scope.sourced if not file.startswith(("/", "~", "$")) and "activate" not in file]
    if not beside:
        return
    source = re.sub(r"(?m)^\s*(?:echo|printf)\b.*$", "", script.source)
    for statement in script.statements:
        for command in statement.commands:
            for given in () if command.words else command.assignments:
                read = re.search(r"\$\{?%s\b" % re.escape(given.name), source)
                if not read and not given.array and not _CACHES.search(given.name.upper()):
                    yield from _paths(given.value, scope, READ)


def _below(text: str, made: Sequence[str]) -> bool:
    return any(text == folder or text.startswith(folder + "/") for folder in made)


def _of_command(command: Command, scope: Scope, containers: bool) -> Iterator[Place]:
    """Places in one command; with ``containers`` exports may be inside."""
    for given in command.assignments:
        if given.array and _STARTS_PROGRAM.search(given.value.raw):
            yield from _command_line(given.value, scope)
        if command.words and not given.array and not containers:
            yield from _of_variable(given.name, given.value, scope)
    if command.name in ("export", "setenv"):
        if containers:
            return
        for word in command.arguments:
            name, sign, rest = word.raw.partition("=")
            if sign:
                value = Word(rest, word.start + len(name) + 1, word.line)
                yield from _of_variable(name, value, scope)
        return
    yield from _redirected(command, scope)
    if command.name in _FILTERS:
        named = [word for word in command.arguments if not word.raw.startswith(("-", "'"))]
        for word in named if any(word.raw.startswith("'") for word in command.arguments) else named[1:]:
            yield from _paths(word, scope, READ)
    if command.name in _SPEAKERS or not command.words:
        return
    found = launched(command, scope.containers)
    for word in found.mounts:
        yield from _bound(scope.expand(word), word.line)
    if found.image is not None:
        yield from _paths(found.image, scope, IMAGE)
    if not found.inside:
        yield from _of_program(found, scope)
    elif command.name in _WITH_HOME:
        yield from _at_home(found.words, scope)


def _at_home(words: Sequence[Word], scope: Scope) -> Iterator[Place]:
    """Places in the home directory, which these container programs mount."""
    return (place for word in words for place in _paths(word, scope, READ) if place.text.startswith("~/"))


def _redirected(command: Command, scope: Scope) -> Iterator[Place]:
    """Files of a command's redirections."""
    placeholders = _placeholders(command)
    for operator, word in command.redirects:
        bare = operator.lstrip("0123456789")
        if word.start in placeholders:
            continue
        if bare not in ("<<", "<<-", "<<<", ">&", "<&"):
            yield from _paths(word, scope, READ if bare == "<" else WRITTEN)


def _placeholders(command: Command) -> set[int]:
    """Indices of ``<name>/file`` placeholders, which a shell reads as redirections."""
    found: set[int] = set()
    for (first, word), (second, following) in pairwise(command.redirects):
        if (first, second) == ("<", ">") and following.start == word.end + 1:
            found |= {word.start, following.start}
    return found


def _of_variable(name: str, value: Word, scope: Scope) -> Iterator[Place]:
    if _CUDA.match(name):
        role = CUDA
    elif _ENTRIES.match(name) or (name.endswith("PATH") and (":" in value.raw or f"${name}" in value.raw)):
        role = READ if name == "PYTHONPATH" else ENTRY
    else:
        role = CACHE if _CACHES.search(name.upper()) or STORES.match(name) else READ
    if "(" in value.raw[:1] or name.startswith(("SINGULARITYENV_", "APPTAINERENV_")):
        return
    yield from _paths(value, scope, role, lists=True)


def _of_program(found: Launched, scope: Scope) -> Iterator[Place]:
    """Places in a program's command line."""
    name, words = found.name, found.words
    if not words or name in _SPEAKERS or name in scope.functions:
        return
    if name in ("source", ".") and len(words) > 1:
        yield from _paths(words[1], scope, start_role(scope.expand(words[1]), len(words) > 2))
    elif name in CONDA_PROGRAMS:
        for before, word in pairwise(words) if [word.text for word in words[1:2]] != ["activate"] else ():
            yield from _paths(word, scope, WRITTEN if before.text in ("-p", "--prefix") else READ)
    elif name not in ("module", "ml", "spack"):
        if words[0].variables and " " in scope.expand(words[0]).strip():
            yield from _command_line(words[0], scope)
        own = home(scope.expand(words[0]))
        yield from _paths(words[0], scope, VENV if environment_of(own) else PROGRAM if known_program(own) else RUN)
        yield from _arguments(name, words[1:], scope)


def _arguments(name: str, words: Sequence[Word], scope: Scope) -> Iterator[Place]:
    """Places in a program's arguments. An option decides the role of the argument after it."""
    named = ""
    for word, role in zip(words, _roles(name, words), strict=True):
        raw = word.text_or_source
        held = word.variables and not role and raw == word.raw and not raw.startswith(("'", "-"))
        if held and any(char.isspace() for char in scope.expand(word).strip()):
            yield from _command_line(word, scope)
        elif raw.startswith("-") and "=" not in raw:
            named = raw
            continue
        elif named in _BINDS:  # options of a container program in a variable
            yield from _bound(scope.expand(word), word.line)
        elif name in ("matlab", "octave") and (texts := _LITERAL.findall(scope.expand(word))):
            yield from (Place(word.line, home(text), _role(text, READ)) for text in texts if is_path(text))
        elif not (named in ("-e", "-c", "--eval") and name in _CODE and words[0].raw.startswith("-")):
            yield from _argument(name, word, role, named, scope)
        named = ""


def _argument(name: str, word: Word, role: str, named: str, scope: Scope) -> Iterator[Place]:
    """Places in ``PATH`` or in ``OPTION=PATH,OPTION=PATH``. ``named``: the option before it."""
    option, sign, _ = word.text_or_source.partition("=")
    by_name = re.fullmatch(r"[\w.]+", option) and name not in _MOVERS | _READERS
    if not (sign and (option.startswith("-") or by_name)):
        yield from _paths(word, scope, role or _by_option(named))
        return
    by = option if option.startswith("-") else named if "," in word.raw else f"-{option}"
    first = word.raw.index("=")
    for piece in re.finditer(r"=((?:(?!,\w+=).)*),?", word.raw[first:], re.DOTALL):
        value = Word(piece[1], word.start + first + piece.start(1), word.line)
        yield from _paths(value, scope, role or _by_option(by))


def _command_line(word: Word, scope: Scope) -> Iterator[Place]:
    """Places in a variable's command line: CMD="train.py --data /scratch/x"."""
    line = re.sub(r"\)(?=/)", "x", scope.expand(word))  # a quotient, f(a)/g(b), is no path
    named, line = "", re.sub(r"\\\n|[()\"']", " ", line)
    if _CONTAINED.search(line):
        for command in parse(line).commands:
            found = launched(command)
            for mounts in found.mounts:
                yield from _bound(mounts.text_or_source, word.line)
            for place in _paths(found.image, scope, IMAGE) if found.image else ():
                yield Place(word.line, place.text, IMAGE)
        return
    for text in line.split():
        option, sign, value = text.partition("=")
        if named in _BINDS:
            yield from _bound(text, word.line)
        if named in _BINDS or (text.startswith("-") and not sign):
            named = text if text.startswith("-") else ""
            continue
        path, before = (value, option) if sign and option.startswith("-") else (text, named)
        if path[:1] == "~" and path[1:2] not in ("", "/"):
            continue  # the shell expands no ~ in a variable's value
        if is_path(path):
            yield Place(word.line, home(path), _role(path, _by_option(before)))
        named = ""


def _roles(name: str, arguments: Sequence[Word]) -> list[str]:
    """Role of each argument of a program; "": its option decides."""
    if name in _WRITERS or name == "virtualenv" or [word.text for word in arguments[:2]] == ["-m", "venv"]:
        return [WRITTEN] * len(arguments)
    if name == "git" and arguments and arguments[0].text == "clone":
        return [READ] * (len(arguments) - 1) + [WRITTEN]
    if name in ("singularity", "apptainer"):
        first = [index for index, word in enumerate(arguments) if not word.raw.startswith("-")][1:2]
        return [WRITTEN if [index] == first else READ for index in range(len(arguments))]  # build TARGET SOURCE
    if name in _MOVERS:
        return [READ] * (len(arguments) - 1) + [WRITTEN] if len(arguments) > 1 else [READ] * len(arguments)
    return [READ if name in _READERS else ""] * len(arguments)


def is_output_option(option: str) -> bool:
    """Return whether an option's value is an output of the program."""
    return bool(option and _OUTPUT_OPTION.search(option) and not _LOAD.search(option))


def _by_option(option: str) -> str:
    return WRITTEN if is_output_option(option) else READ


def _bound(text: str, line: int) -> Iterator[Place]:
    """Node's paths in ``SRC:DST[:FLAGS],...`` and ``type=bind,source=SRC``."""
    for entry in text.split(","):
        source = entry.partition(":")[0]
        source = source.partition("=")[2] if source.startswith(("source=", "src=")) else source
        if is_path(source):
            source = home(source)
            yield Place(line, source, BOUND if re.fullmatch(r"/[\w-]+/?", source) else READ)


def _paths(word: Word, scope: Scope, role: str, lists: bool = False) -> Iterator[Place]:
    raw = word.raw
    if not re.search("[/$~]", raw) or raw.startswith(("<(", ">(")):
        return  # no path, or a command, whose words are read separately
    quoted = raw.startswith(("'", '"'))
    text = re.sub(r"(\.(?:h5|hdf5|nc)):/.*", r"\1", scope.expand(word).removeprefix("file://"))  # "data.h5:/group"
    if quoted and "~" in raw[:2]:
        return  # a ~ in quotes is not expanded
    if ":" in text and not lists and not re.search(r":(?=[/~$.])", text):
        return  # "/device:cpu:0"
    for piece in text.split(":") if quoted else alternatives(text):
        piece = folder_of_pattern(piece)
        if is_path(piece):
            yield Place(word.line, home(piece), _role(piece, role))


def _role(path: str, role: str) -> str:
    """Role of a path, if its form is more specific."""
    if role != READ:
        return role
    if path.endswith(".jar") and known_program(path):
        return PROGRAM
    if _OF_JOB.search(path):
        return WRITTEN  # no earlier job can have made such a path
    return VENV if environment_of(path) else ENTRY if _SITE_PACKAGES.search(path) else READ
