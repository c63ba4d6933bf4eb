"""Determines the packages of a script's Python files.

The sources are the packages that the project declares, or the files' imports. The module reads a bounded number of
files below one folder, and runs none of them.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..shell.launched_program import in_containers, launched
from ..shell.script_commands import Script, parse
from ..shell.script_variables import Scope
from ..shell.word_sets import words
from .conversion_tables import one_line, quoted
from .declared_packages import NO_PACKAGES, PythonPackages, declared
from .entered_environments import environments
from .project_folder import Project
from .project_root import candidates
from .small_files import read_small
from .started_scripts import makefiles_of, started_by

MAX_FILES = 40
MAX_AGENT_FILES = 10
_PYTHON = re.compile(r"^(python[\d.]*|torchrun|accelerate|deepspeed|ipython|pytest|horovodrun|ray|uv)$")
#: import name -> package name, if the names differ
_NAMES = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml",
    "skimage": "scikit-image", "Bio": "biopython", "dotenv": "python-dotenv", "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil", "git": "gitpython", "OpenSSL": "pyopenssl", "Crypto": "pycryptodome",
    "serial": "pyserial", "usb": "pyusb", "zmq": "pyzmq", "attr": "attrs", "google": "protobuf", "jwt": "pyjwt",
    "pl_bolts": "lightning-bolts", "pytorch_lightning": "pytorch-lightning", "tensorflow": "tensorflow[and-cuda]",
    "jax": "jax[cuda12]", "ray": "ray[default]", "hydra": "hydra-core", "omegaconf": "omegaconf",
    "faiss": "faiss-cpu", "ot": "pot", "umap": "umap-learn", "rdkit": "rdkit",
    "igraph": "python-igraph", "MDAnalysis": "MDAnalysis", "sentence_transformers": "sentence-transformers",
    "flash_attn": "flash-attn", "lightning_fabric": "lightning", "torch_geometric": "torch-geometric",
    "backpack": "backpack-for-pytorch", "pybullet_envs": "pybullet", "mpl_toolkits": "matplotlib", "fitz": "pymupdf",
    "docx": "python-docx", "slugify": "python-slugify", "community": "python-louvain", "psycopg2": "psycopg2-binary",
    "pywt": "PyWavelets", "OpenGL": "pyopengl", "magic": "python-magic", "cupy": "cupy-cuda12x",
    "cupyx": "cupy-cuda12x", "pylab": "matplotlib",
}  # fmt: skip
#: standard modules, or modules that a cluster provides
_NONE = words("pkg_resources setuptools pip distutils slurmsky apex __future__ amp_C nvidia")
#: names of a project's own modules; the packages of these names on PyPI are unrelated
LOCAL = words(
    """
    src lib libs util utils utilities helper helpers common core config configs settings constants params parameters
    options args opts data dataset dataloader dataloaders data_loader data_utils model models network networks net nets
    modules layers loss losses metrics train trainer training test tests eval evaluation preprocess preprocessing
    transforms tools scripts main base functions func plot plotting plots visualization visualize solver solvers engine
    optim optimizer logger logging_utils misc agent agents env envs environment environments policy policies baselines
    experiments experiment runner sampler samplers losses_utils vis io_utils tasks task
    """
)


def packages(source: str, folder: Path) -> PythonPackages:
    """Packages of a script's environment or Python files."""
    script = parse(source)
    files = started_python_files(source, str(folder))
    entered = next((name for _, name in environments(script, Scope.of(script))), "")
    if not files and not entered:
        return NO_PACKAGES
    listed = declared(folder, entered.rpartition("/")[2])
    if listed.pip or listed.conda:
        return listed
    near = [name for name in files if not name.startswith(("/", "~", "$"))]
    read = bool(near) and all(_is_python_3(folder / name) for name in near)
    return PythonPackages(tuple(dict.fromkeys(_imported(files, folder))), unknown=not read)


def _is_python_3(path: Path) -> bool:
    """Return whether a file exists and can be parsed; files of Python 2 cannot."""
    try:
        return isinstance(ast.parse(read_small(path) or ":"), ast.Module)
    except (SyntaxError, ValueError, RecursionError):
        return False


def started_python_files(source: str, folder: str = "") -> list[str]:
    """Python files that a script starts outside of containers.

    Shell scripts of ``folder`` that it starts count, too.
    """
    script = parse(source)
    scope = Scope.of(script)
    files = _python_files(script, scope)
    own = Project(folder)
    for one in (*started_by(script, scope, own), *makefiles_of(script, scope, own)) if folder else ():
        files += [posixpath.normpath(posixpath.join(one.folder, name)) for name in _python_files(one.script, one.scope)]
    if folder and re.search(r"(?m)^[^#\n]*\bwandb +agent\b", source):  # it starts a program that its sweep names
        files += sorted(path.name for path in Path(folder).glob("*.py"))[:MAX_AGENT_FILES]
    files = [name[len(former) + 1 :] if folder and (former := own.former(name)) else name for name in files]
    return list(dict.fromkeys(files))


def _python_files(script: Script, scope: Scope) -> list[str]:
    files = []
    contained = in_containers(script.commands, scope.containers)
    where = ""  # the working directory
    for command in script.commands:
        found = launched(command, scope.containers)
        if any(start < command.start < end for start, end in contained):
            continue
        if found.name == "cd" and found.arguments and not command.blocks:
            target = scope.expand(found.arguments[0])
            where = "" if target[:1] in ("/", "~", "$", "-") else posixpath.join(where, target)
        direct = found.name.endswith(".py")  # a file that its first line starts
        if not found.inside and (direct or _PYTHON.match(found.name)):
            words = found.words if direct else found.arguments
            texts = [scope.expand(word).removeprefix("$PWD/") for word in words]
            named = (text for text in texts if text.endswith(".py"))
            files += [posixpath.normpath(posixpath.join(where, text)) for text in named]
    return files


#: texts of scripts and setups that make a Python environment
_ENVIRONMENT = re.compile(
    r"\b(pip3? install|(uv|poetry|pixi|pipenv) (run|sync|install|pip)|conda (env )?create|-m +venv|virtualenv|numpy)\b"
)


#: packages of images with a framework
_OF_IMAGES = re.compile(r"(torch(vision|audio)?|tensorflow|jax|keras|numpy)\b")


def unnamed(source: str, setup: Iterable[str], folder: str, framework: bool = False) -> str:
    """Setup line for a script without a named environment, or "".

    The script starts Python files. ``framework``: the task's image has one.
    """
    source = re.sub(r"(?m)^\s*#(?!!).*$", "", source)
    files = started_python_files(source, folder) or list(_own_modules(source))
    # a bare Python does not count
    made = [line for line in setup if "numpy" in line or not line.startswith("conda create")]
    if not files or _ENVIRONMENT.search("\n".join((source, *made))):
        return ""
    near = posixpath.join(posixpath.dirname(files[0]) if files[0].endswith(".py") else "", "requirements.txt")
    for file in ("requirements.txt", near):
        if folder and (Path(folder) / file).is_file():
            return f"pip install -r {quoted(file)}"
    if folder and not framework and (Path(folder) / "environment.yml").is_file():
        return "conda env create -n job -f environment.yml"
    if folder and all(name.endswith(".py") and (Path(folder) / name).is_file() for name in files):
        names = packages(source, Path(folder)).by_pip
        listed = [name for name in names if not (framework and _OF_IMAGES.match(name))]
        return " ".join(["pip install", *listed]) if listed else ""
    name = one_line(files[0].rpartition("/")[2])
    more = "other " if framework else ""
    return f"# TODO: pip install the {more}packages that {name} imports (pip freeze on the old cluster lists them)"


def _own_modules(source: str) -> Iterator[str]:
    """Inline Python of a script that needs further packages. These are ``python -m MODULE`` and ``python -c``."""
    script = parse(source)
    scope = Scope.of(script)
    standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    for command in script.commands:
        found = launched(command, scope.containers)
        texts = [scope.expand(word) for word in found.arguments]
        option = next((text for text in texts if text in ("-m", "-c")), "")
        if found.inside or not re.match(r"(python[\d.]*|torchrun)$", found.name):
            continue
        if texts and texts[0].startswith("$"):
            yield texts[0]
        if option not in texts[:-1]:
            continue
        text = texts[texts.index(option) + 1]
        named = {text.partition(".")[0]} if option == "-m" else set(re.findall(r"\b(?:import|from)\s+(\w+)", text))
        if named - standard - _NONE:
            yield f"{found.name} -m {text}" if option == "-m" else f"{found.name} -c"


def own_files(source: str, folder: Path) -> list[Path]:
    """Python files that a script starts, with those they import."""
    return [path for path, _ in python_trees(started_python_files(source, str(folder)), folder)]


def python_trees(files: list[str], folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Python files and their syntax trees, followed by imported files."""
    seen: set[Path] = set()
    waiting = [folder / name for name in files if not name.startswith(("/", "~", "$"))]
    while waiting and len(seen) < MAX_FILES:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        try:
            tree = ast.parse(read_small(path) or "")
        except (SyntaxError, ValueError, RecursionError):
            continue
        yield path, tree
        for name in imported_modules(tree):
            inner = name.replace(".", "/")
            for base in places_of_modules(path, folder):
                here = (base / f"{inner}.py", base / inner / "__init__.py")
                waiting += [place for place in here if place.is_file()]


def places_of_modules(path: Path, folder: Path) -> list[Path]:
    """Folders of a Python file's own modules.

    These are its folder and those above, up to ``folder``, and ``src`` there.
    """
    above = [place for place in path.parents if place == folder or folder in place.parents]
    return [*dict.fromkeys((path.parent, *above, folder)), folder / "src"]


def holds_module(place: Path, top: str) -> bool:
    """Return whether a folder has a module of this name."""
    return (place / f"{top}.py").is_file() or (place / top).is_dir()


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports by their whole names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _imported(files: list[str], folder: Path) -> Iterator[str]:
    """Imported modules that are neither standard nor beside the files."""
    standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    above = [place for base in candidates(str(folder)) for place in (Path(base), Path(base) / "src")]
    for path, tree in python_trees(files, folder):
        for name in imported_modules(tree):
            top = name.partition(".")[0]
            if any(holds_module(place, top) for place in (*places_of_modules(path, folder), *above)):
                continue
            if top not in standard and top not in _NONE | LOCAL and top.isidentifier() and not top.startswith("_"):
                yield _NAMES.get(top, top.replace("_", "-"))
