"""Generates manual pages in man(7) format from the option table."""

from __future__ import annotations

from typing import Iterable

from ..model.release import RELEASE
from .completion import ALL
from .family import FAMILY
from .help import USAGE_OPERANDS, placeholder
from .table import COMMANDS, Option, load

#: sections of a page: options by their policy
HEADINGS = (
    ("mapped", "Options:"),
    ("agent", "Options that act inside the job:"),
    ("recorded", "Kept and shown, without effect on the job:"),
    ("none", "Accepted, without effect here:"),
    ("refused", "Not available here:"),
)
#: One line and one paragraph per command.
_ABOUT = {
    "sbatch": ("submit a batch script", "Reads a script from a file or from standard input, reads options from its "
               "#SBATCH lines, and queues it as a job. The unchanged script runs on the first node of its allocation."),
    "srun": ("run tasks in parallel", "Inside an allocation, starts a step. Outside, creates an allocation for one "
             "step. Output, signals and exit code of the tasks are srun's."),
    "salloc": ("get an allocation", "Waits for nodes, and holds them while a command, or a shell, runs."),
    "squeue": ("show the queue", "Lists the jobs, or the steps, of the queue."),
    "scancel": ("cancel or signal jobs", "Cancels jobs, array elements and steps, or sends them a signal."),
    "sinfo": ("show partitions and nodes", "Lists partitions with their nodes and the states of the nodes."),
    "sacct": ("show accounting of jobs and steps", "Lists active and ended jobs and steps from the accounting."),
    "scontrol": ("show and change jobs, nodes and the configuration", "Runs the request in the operands; without "
                 "operands, runs the requests on standard input."),
    "sattach": ("attach to a running step", "Connects the terminal to the tasks of a step."),
    "sbcast": ("copy a file to all nodes of a job", "Copies a file from the first node of a job to the other nodes."),
    "sstat": ("show resource usage of running steps", "Lists CPU time, memory and disk use of running steps."),
    "sprio": ("show the factors of a job's priority", "Jobs start in the order of their submission, as under "
              "PriorityType=priority/basic. Their priority has no factors, and sprio prints a message."),
    "sshare": ("show the shares of associations", "Lists accounts and users with their shares and usage."),
    "sreport": ("report usage", "Reports on the cluster, accounts, users and job sizes of a period. Without operands "
                "reads the requests from standard input."),
    "sacctmgr": ("show and change accounts, users, associations and QOS", "Shows the accounting records. Changes are "
                 "stored and override the site file."),
    "sdiag": ("show statistics of the controller", "Prints the counters of the controller since its start."),
    "strigger": ("run programs on events", "Sets, lists and deletes triggers: programs that run when a job ends or a "
                 "node changes its state."),
    "scrontab": ("submit recurring jobs", "Installs, shows, edits or removes the table of recurring jobs. Lines have "
                 "the format of crontab(5); #SCRON lines contain sbatch options for the following entry."),
    "seff": ("show the efficiency of a job", "Compares the CPU time and memory that a job used with its allocation."),
    "swait": ("wait for jobs", "Returns when the jobs have ended; the exit code is the highest exit code of the jobs. "
              "Slurm does not have this command."),
}  # fmt: skip


def page(command: str) -> str:
    """The manual page of one command, section 1."""
    title, about = _ABOUT[command]
    operands = USAGE_OPERANDS.get(command, "")
    options = [option for option in load(command).options if not option.hidden and not option.same_as]
    lines = [f'.TH {command.upper()} 1 "" "slurmsky (Slurm {RELEASE})" "User Commands"', ".SH NAME",
             f"{command} \\- {_text(title)}", ".SH SYNOPSIS", f".B {command}",
             _text(f"[OPTIONS...] {operands}".rstrip()), ".SH DESCRIPTION", _text(about)]  # fmt: skip
    lines += [".SH OPTIONS"]
    for policy, heading in HEADINGS:
        chosen = [option for option in options if option.policy == policy]
        if chosen and heading != "Options:":
            lines.append(f".SS {_text(heading.rstrip(':'))}")
        for option in chosen:
            lines += _option(option)
    variables = [(name, option) for option in load(command).options for name in option.env]
    if variables:
        lines += [".SH ENVIRONMENT", "Options may be set by variables, too; the command line wins."]
        for name, option in variables:
            lines += [".TP", f".B {_text(name)}",
                      _text(f"as --{option.name}" if option.name else option.meaning) + "."]  # fmt: skip
    others = ", ".join(f"\\fB{_text(other)}\\fR(1)" for other in ALL if other != command)
    return "\n".join([*lines, ".SH SEE ALSO", others, ""])


def pages(commands: Iterable[str] = (*COMMANDS, *FAMILY)) -> dict[str, str]:
    """Manual pages by file name."""
    return {f"{command}.1": page(command) for command in commands}


def _option(option: Option) -> list[str]:
    value = f"\\fI{_text(placeholder(option))}\\fR"
    long = f"\\fB\\-\\-{_text(option.long)}\\fR"
    long += {"none": "", "required": f"={value}", "optional": f"[={value}]"}[option.argument]
    short = f"\\fB\\-{option.short}\\fR, " if option.short else ""
    meaning = option.help or option.meaning
    description = meaning[:1].upper() + meaning[1:] + "."
    if option.why:
        description += f" Here: {option.why}."
    return [".TP", short + long, _text(description)]


def _text(text: str) -> str:
    """Escape plain text for man(7). A line must not begin with a request, and hyphens can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\\&" + escaped if escaped[:1] in (".", "'") else escaped
