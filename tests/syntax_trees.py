"""Syntax trees of modules for tests; each module is parsed once in a worker."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a Python file, shared by its callers, who must not change it.

    Without garbage collection meanwhile: a finalizer that parses, as printing a traceback does, ends the outer parse
    with "AST constructor recursion depth mismatch" in CPython before 3.11.8.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_bytes())
    finally:
        if enabled:
            gc.enable()
