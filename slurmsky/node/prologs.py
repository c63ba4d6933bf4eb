"""Task prolog and epilog. The prolog's stdout is a small language: export NAME=VALUE, unset NAME, print
TEXT."""

from __future__ import annotations

import os
from typing import Callable, Sequence

from .loop import Loop


def apply_prolog_line(line: str, env: dict[str, str]) -> str:
    """Change ``env`` as one line of a prolog's output says; what the task's stdout gets ("" for nothing).

    >>> env = {"A": "1"}
    >>> apply_prolog_line("unset A", env), apply_prolog_line("export B=2 3", env), env
    ('', '', {'B': '2 3'})
    >>> apply_prolog_line("print hello", env)
    'hello\\n'
    """
    word, _, rest = line.strip().partition(" ")
    rest = rest.lstrip()
    if word == "export" and "=" in rest:
        name, _, value = rest.partition("=")
        env[name] = value
    elif word == "unset":
        env.pop(rest, None)
    elif word == "print":
        return rest + "\n"
    return ""


def run_task_prolog(programs: Sequence[str], env: dict[str, str], node: str) -> None:
    """Run each in the task's own process, before it becomes the user's program. A failed one ends the
    task."""
    for program in programs:
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(theirs, 1)
            os.close(ours)
            try:
                os.execve(program, [program], env)
            except OSError as error:
                os.write(
                    2, ("slurmstepd-%s: error: execve(): %s: %s\n" % (node, program, error.strerror)).encode()
                )
            os._exit(127)
        os.close(theirs)
        with os.fdopen(ours, "rb") as file:
            for line in file:
                text = apply_prolog_line(line.decode(errors="surrogateescape"), env)
                if text:
                    os.write(1, text.encode(errors="surrogateescape"))
        _, status = os.waitpid(pid, 0)
        if status:
            os.write(2, ("slurmstepd-%s: error: TaskProlog failed status=%d\n" % (node, status)).encode())
            os._exit(1)


def start_task_epilog(
    loop: Loop, programs: Sequence[str], env: dict[str, str], directory: str, done: Callable[[], None]
) -> None:
    """Run each after the task, one after the other, then call ``done``."""
    if not programs:
        done()
        return
    try:
        pid = os.posix_spawn(programs[0], [programs[0]], env)
    except OSError:
        start_task_epilog(loop, programs[1:], env, directory, done)
        return
    loop.child(pid, lambda status, usage: start_task_epilog(loop, programs[1:], env, directory, done))
