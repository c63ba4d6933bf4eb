"""Determines setup lines for the Python packages of a project.

The sources are its package files, or what its Python files import.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..shell.launched_program import launched
from ..shell.script_commands import parse
from ..shell.script_variables import Scope
from .conversion_tables import one_line, quoted
from .declared_packages import USUAL, declared, environment_file, version_of
from .project_root import candidates
from .python_packages import UNPACKAGED, imported, started_python_files
from .small_files import read_small

#: texts of scripts and setups that make a Python environment
_ENVIRONMENT = re.compile(
    r"\b(pip3? install|(uv|poetry|pixi|pipenv) (run|sync|install|pip)|conda (env )?create|-m +venv|virtualenv|numpy)\b"
)
#: packages of images with a framework
_OF_IMAGES = re.compile(r"(torch(vision|audio)?|tensorflow|jax|keras|numpy)\b")
#: packages that requirements.txt often omits, because their build depends on the machine
_FRAMEWORKS = ("torch", "torchvision", "torchaudio", "tensorflow[and-cuda]", "jax[cuda12]")
#: requirements that install such a package, or name one
_BRINGS = re.compile(
    r"(?im)^\s*(?:torch(?:vision|audio)?|pytorch|(?:pytorch[_-])?lightning|fairseq|accelerate|vllm|sglang|deepspeed|timm|peft|trl"
    r"|ultralytics|fastai|sentence[_-]transformers|stable[_-]baselines3|botorch|monai|open[_-]clip[_-]torch|flax|optax|dm-haiku"
    r"|tensorflow(?:[_-]\w+)?|tf[_-]nightly|jax|jaxlib|keras|xformers|bitsandbytes|torchmetrics|cleanrl|kornia|pyro-ppl|gpytorch"
    r"|e3nn|speechbrain|detectron2|bertopic|flair|allennlp|spacy-transformers|simpletransformers|fairscale|cpu|-r)\b"
)


class ProjectPackages(NamedTuple):
    """Setup lines for a project's packages, and their Python version."""

    lines: list[str]
    python: str


def project_packages(folder: str, source: str = "", conda: bool = False) -> ProjectPackages | None:
    """Packages that a folder or its repository declares, or None.

    ``conda``: an environment file counts, too. A file above that names none of the packages that the script's files
    import belongs to another part of the repository.
    """
    used = packages_used(source, folder) if source else None
    for place, base in _places(folder):
        lines, text = _declared(place, base, conda)
        foreign = bool(used) and not any(re.search(rf"(?i)\b{re.escape(name)}\b", text) for name in used or ())
        if lines and not (place and foreign):
            project = read_small(base / "pyproject.toml") or ""
            python = version_of(project) if "python" in project else declared(base, "").python or USUAL
            return ProjectPackages([*_omitted(text, lines, used or ()), *lines], python)
    return None


def _declared(place: str, base: Path, conda: bool) -> tuple[list[str], str]:
    """Setup lines for a folder's package files, and their text."""
    above, project = place.rstrip("/"), read_small(base / "pyproject.toml") or ""
    if (base / "requirements.txt").is_file():
        return [f"pip install -r {place}requirements.txt"], read_small(base / "requirements.txt") or ""
    if conda and (listed := environment_file(str(base), "")):
        return [f"conda env create -n job -f {place}{listed}"], read_small(base / listed) or ""
    if "[tool.poetry.dependencies]" in project:
        return ["pip install poetry", f"poetry{f' -C {above}' if above else ''} install --no-root"], project
    if re.search(r"(?m)^\[project\]", project) and re.search(r"(?m)^dependencies\s*=", project):
        # Without build-system the file only lists packages: pip would search the folder for modules to install.
        built = "[build-system]" in project
        line = f"pip install -e {above or '.'}" if built else f"uv pip install --system -r {place}pyproject.toml"
        return [line], project
    text = read_small(base / "setup.py") or ""
    return ([f"pip install -e {above or '.'}"] if "install_requires" in text else []), text


def _omitted(text: str, lines: list[str], used: Iterable[str]) -> list[str]:
    """Line for an imported framework that requirements.txt omits.

    ``text``: the content of requirements.txt.
    """
    if not lines[0].startswith("pip install -r") or _BRINGS.search(text):
        return []
    listed = " ".join(f"'{name}'" if "[" in name else name for name in _FRAMEWORKS if name in used)
    return [f"pip install {listed}"] if listed else []


def _places(folder: str) -> Iterator[tuple[str, Path]]:
    """A folder and those above, with relative paths.

    The repository's folder is the last.
    """
    bases = [Path(base) for base in candidates(folder)] if folder else []
    whole = any((base / ".git").exists() for base in bases)
    for level, base in enumerate(bases if whole else bases[:1]):
        yield "../" * level, base


def setup_of_files(source: str, setup: Iterable[str], folder: str, framework: bool = False) -> list[str]:
    """Setup lines for a script's Python files without an environment.

    ``framework``: the task's image has one.
    """
    source = re.sub(r"(?m)^\s*#(?!!).*$", "", source)
    files = started_python_files(source, folder) or list(_own_modules(source))
    # a bare Python does not count
    made = [line for line in setup if "numpy" in line or not line.startswith("conda create")]
    if not files or _ENVIRONMENT.search("\n".join((source, *made))):
        return []
    near = posixpath.join(posixpath.dirname(files[0]) if files[0].endswith(".py") else "", "requirements.txt")
    if folder and not (Path(folder) / "requirements.txt").is_file() and (Path(folder) / near).is_file():
        return [f"pip install -r {quoted(near)}"]
    if named := project_packages(folder, source, conda=not framework):
        return [line for line in named.lines if not (framework and _OF_IMAGES.match(line.removeprefix("pip install ")))]
    used = packages_used(source, folder)
    if used is not None:
        packages = [name for name in used if not (framework and _OF_IMAGES.match(name))]
        return [" ".join(["pip install", *packages])] if packages else []
    name = one_line(files[0].rpartition("/")[2])
    more = "other " if framework else ""
    return [f"# TODO: pip install the {more}packages that {name} imports (pip freeze on the old cluster lists them)"]


def packages_used(source: str, folder: str) -> list[str] | None:
    """Packages that the script's Python files import; None if a file is not there."""
    files = started_python_files(source, folder)
    there = bool(folder) and all(name.endswith(".py") and (Path(folder) / name).is_file() for name in files)
    return [*dict.fromkeys(imported(files, Path(folder)))] if files and there else None


def environment_above(folder: str, name: str) -> str:
    """Conda's environment file in a folder or its repository, or ""."""
    found = ((place, environment_file(str(base), name)) for place, base in _places(folder))
    return next((f"{place}{file}" for place, file in found if file), "")


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
        if named - standard - UNPACKAGED:
            yield f"{found.name} -m {text}" if option == "-m" else f"{found.name} -c"
