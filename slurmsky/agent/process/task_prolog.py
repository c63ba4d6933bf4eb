"""Task prolog and epilog, and the prolog's stdout.

The prolog's stdout has lines ``export NAME=VALUE``, ``unset NAME`` and ``print TEXT``.
"""

from __future__ import annotations

import functools
import os
from typing import Callable, Sequence

from ...protocol.step_plan import StepPlan
from ..net.event_loop import Loop
from . import processes


def apply_prolog_line(line: str, env: dict[str, str]) -> str:
    """Apply a line of a prolog's output to ``env``.

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


#: (SITE or USER, path of the program): the site's TaskProlog, or the user's --task-prolog
Script = Sequence[str]
SITE, USER = "site", "user"


def run_task_prolog(scripts: Sequence[Script], env: dict[str, str], node: str) -> None:
    """Run the prologs in the task's process before exec. A failed prolog ends the task with its exit code."""

    complain = functools.partial(processes.complain, node)
    if scripts:
        env["SLURM_SCRIPT_CONTEXT"] = "prolog_task"  # the task inherits it (task.c _run_script_and_set_env)
    for whose, program in scripts:
        option = "--task-prolog" if whose == USER else "TaskProlog"
        if not os.access(program, os.R_OK | os.X_OK):
            reason = "Permission denied" if os.path.exists(program) else "No such file or directory"
            name = "%s task_prolog" % ("user" if whose == USER else "slurm")
            complain("run_command: %s can not be executed (%s) %s" % (name, program, reason))
            complain("%s did not exit normally. reason: Run command failed - configuration error" % name)
            complain("%s failed status=1" % option)
            os._exit(1)
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(theirs, 1)
            os.close(ours)
            try:
                os.execve(program, [program], env)
            except OSError as error:
                complain("execve(): %s: %s" % (program, error.strerror))
            os._exit(127)
        os.close(theirs)
        with os.fdopen(ours, "rb") as file:
            for line in file:
                text = apply_prolog_line(line.decode(errors="surrogateescape"), env)
                if text:
                    os.write(1, text.encode(errors="surrogateescape"))
        _, status = os.waitpid(pid, 0)
        if status:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            complain("%s failed status=%d" % (option, code))
            os._exit(code)


def start_task_epilog(
    loop: Loop, plan: StepPlan, env: dict[str, str], complain: Callable[[str], None], done: Callable[[], None]
) -> None:
    """Run the plan's epilogs after a task, then call ``done``.

    ``complain`` is called with errors. ``env`` is the task's environment. The epilogs' output is discarded.
    """
    task_pid = env["SLURM_TASK_PID"]
    left = list(plan.task_epilogs)

    def ended(status: int, usage: object) -> None:
        if status:
            complain("TaskEpilog failed status=%d" % (os.WEXITSTATUS(status) or os.WTERMSIG(status)))
        next_one()

    def next_one() -> None:
        if not left:
            done()
            return
        whose, program = left.pop(0)
        if not os.access(program, os.R_OK | os.X_OK):
            name = "user" if whose == USER else "slurm"
            complain("Could not run %s task_epilog [%s]: access denied" % (name, program))
            complain("TaskEpilog failed status=-1")
            next_one()
            return
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        epilog = processes.Process(
            node=plan.node,
            argv=[program],
            environment={**env, "SLURM_SCRIPT_CONTEXT": "epilog_task"},
            directory=plan.directory,
            umask=plan.umask,
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            before_exec=lambda given: given.update(SLURM_TASK_PID=task_pid),
        )
        try:
            loop.child(processes.spawn(epilog), ended)
        finally:
            os.close(nowhere)

    next_one()
