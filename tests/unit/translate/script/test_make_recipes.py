"""Commands that make runs, as a shell script."""

from __future__ import annotations

import pytest

from slurmsky.translate.script.make_recipes import recipe

MAKEFILE = """\
DATA ?= data
PY := python3
FILES = $(DATA)/a $(DATA)/b

.PHONY: all
all: build fit  # both
build: $(FILES)
\tcc -o x x.c
fit plot:
\t@$(PY) $@.py --in ${DATA}  # not the shell's
\t-rm -f $$HOME/tmp
who:
\techo $(shell whoami) $(wildcard *.c)
%.o: %.c
\tcc -c $<
clean::
\trm x
"""


@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        ([], ["cc -o x x.c", "python3 $@.py --in data  # not the shell's", "rm -f $HOME/tmp"]),
        (["plot", "DATA=/d"], ["python3 $@.py --in /d  # not the shell's", "rm -f $HOME/tmp"]),
        (["clean"], ["rm x"]),
        (["who"], ["echo `whoami` "]),
        (["-j", "4", "build"], ["cc -o x x.c"]),
    ],
)
def test_recipes_of_targets(arguments: list[str], commands: list[str]) -> None:
    text = recipe(MAKEFILE, arguments)
    assert [line for line in text.split("\n") if line] == commands
    assert text.count("\n") == MAKEFILE.count("\n"), "each command is in its own line"


@pytest.mark.parametrize("makefile", ["", "X = 1\n", "A = $(B)\nB = $(A)\nx:\n\techo $(A)\n", "x: y\ny: x\n\tz\n"])
def test_odd_makefiles(makefile: str) -> None:
    assert isinstance(recipe(makefile), str)
