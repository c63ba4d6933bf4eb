"""Languages are loaded at first use, from a clone or zip.

Every docstring's example is correct.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import lark
import pytest

import slurmsky.language
from slurmsky.language import _grammar

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(module.name for module in pkgutil.iter_modules(slurmsky.language.__path__))
GRAMMARS = sorted(path.stem for path in (ROOT / "grammar").glob("*.lark"))


@pytest.mark.parametrize("name", MODULES)
def test_the_docstring_examples_of_each_language(name: str) -> None:
    module = importlib.import_module(f"slurmsky.language.{name}")
    result = doctest.testmod(module)
    assert result.failed == 0


def test_every_grammar_has_its_line_on_the_map() -> None:
    text = (ROOT / "grammar" / "README.md").read_text(encoding="utf-8")
    assert [name for name in GRAMMARS if f"`{name}.lark`" not in text] == []


def test_every_grammar_is_used() -> None:
    package = Path(slurmsky.language.__path__[0]).parent
    source = "".join(path.read_text(encoding="utf-8") for room in ("language", "translate")
                     for path in (package / room).rglob("*.py"))  # fmt: skip
    assert [name for name in GRAMMARS if f'"{name}"' not in source] == []


def test_a_parsed_text_is_cached() -> None:
    builder = object()
    assert _grammar.load("names", builder) is _grammar.load("names", builder)


IMPORT_ALL = "import sys; " + "; ".join(f"import slurmsky.language.{name}" for name in MODULES)


def test_importing_the_languages_does_not_import_lark() -> None:
    code = IMPORT_ALL + "; assert 'lark' not in sys.modules, 'lark came along'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_fast_paths_do_not_import_lark() -> None:
    code = (
        "import sys\n"
        "from slurmsky.language import directives, hostlist, jobids, memory, timelimit\n"
        "from slurmsky.translate.shell import module_lines\n"
        "hostlist.expand('n1,n2'); timelimit.parse('10'); memory.parse_mib('10'); jobids.parse('7')\n"
        "directives.parse(b'#!/bin/sh\\n#SBATCH -n1 --mem=4G\\n'); module_lines.parse('echo')\n"
        "assert 'lark' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_languages_work_from_inside_a_zip(tmp_path: Path) -> None:
    """The shipped archive: package, grammars and lark in one file."""
    archive = tmp_path / "agent.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("slurmsky/__init__.py", "")
        for path in Path(slurmsky.language.__path__[0]).glob("*.py"):
            bundle.write(path, f"slurmsky/language/{path.name}")
        for path in (ROOT / "grammar").glob("*.lark"):
            bundle.write(path, f"slurmsky/grammar/{path.name}")
        lark_folder = Path(lark.__file__).parent
        for path in [*lark_folder.rglob("*.py"), *lark_folder.rglob("*.lark")]:
            bundle.write(path, f"lark/{path.relative_to(lark_folder)}")
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from slurmsky.language import hostlist; assert 'agent.zip' in hostlist.__file__\n"
        "assert hostlist.expand('n[1-2]') == ['n1', 'n2']\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, check=True)
