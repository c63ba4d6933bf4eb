"""Generates manual pages in man(7) format from the option table."""

from __future__ import annotations

from typing import Iterable

from .completion import ALL
from .family import FAMILY
from .help import USAGE_OPERANDS, VERSION, placeholder
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
    "sbatch": ("submit a batch script", "Reads a script from a file or from standard input, takes its #SBATCH lines "
               "as options, and queues it as a job. The script is run as it is, on the first node of its allocation."),
    "srun": ("run tasks in parallel", "Inside an allocation: starts a step of it. Outside: makes an allocation for "
             "the one step. Output, signals and exit code of the tasks are those of srun."),
    "salloc": ("get an allocation", "Waits for nodes and runs a command, or a shell, while it holds them."),
    "squeue": ("show the queue", "Lists jobs, or steps, of the queue."),
    "scancel": ("cancel or signal jobs", "Ends jobs, array elements and steps, or sends them a signal."),
    "sinfo": ("show partitions and nodes", "Lists partitions with their nodes and what state these are in."),
    "sacct": ("show past and present jobs and steps", "Lists jobs and steps of the past and present, from the store."),
    "scontrol": ("look at and change jobs, nodes and the configuration", "Carries out the request that the words "
                 "make up; without words, those on standard input."),
    "sattach": ("join a running step", "Connects the terminal to the tasks of a step."),
    "sbcast": ("copy a file to all nodes of a job", "Copies a file from the first node of a job to the others."),
    "sstat": ("show what running steps use", "Lists CPU time, memory and disk use of steps that run."),
    "sprio": ("show the factors of a job's priority", "Jobs are started in the order of their submission here, as "
              "under PriorityType=priority/basic. There are no factors, and sprio says so."),
    "sshare": ("show the shares of associations", "Lists accounts and users with their shares and usage."),
    "sreport": ("sum up what was used", "Reports on the cluster, accounts, users and job sizes of a period. Without "
                "words the requests are read from standard input."),
    "sacctmgr": ("show accounts, users, associations and QOS", "Shows the accounting records. They are what the site "
                 "file says: requests to change them are refused."),
    "sdiag": ("show what the controller has done", "Prints the counters of the controller since its start."),
    "strigger": ("run programs when something happens", "Sets, lists and deletes triggers: programs that are run when "
                 "a job ends or a node changes its state."),
    "scrontab": ("submit jobs again and again", "Installs, shows, edits or removes the table of jobs that come back "
                 "at their times. Lines are as those of crontab(5); #SCRON lines hold options of sbatch for the entry "
                 "below them."),
    "seff": ("show how well a job used what it had", "Sums up CPU and memory use of a job against what it held."),
    "swait": ("wait for jobs", "Returns when the jobs are over; the exit code is the highest of theirs. This is no "
              "command of Slurm."),
}  # fmt: skip


def page(command: str) -> str:
    """The manual page of one command, section 1."""
    title, about = _ABOUT[command]
    operands = USAGE_OPERANDS.get(command, "")
    options = [option for option in load(command).options if not option.hidden and not option.same_as]
    lines = [f'.TH {command.upper()} 1 "" "slurmsky (Slurm {VERSION})" "User Commands"', ".SH NAME",
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
    """All manual pages: file name -> text."""
    return {f"{command}.1": page(command) for command in commands}


def _option(option: Option) -> list[str]:
    value = f"\\fI{_text(placeholder(option))}\\fR"
    long = f"\\fB\\-\\-{_text(option.long)}\\fR"
    long += {"none": "", "required": f"={value}", "optional": f"[={value}]"}[option.argument]
    short = f"\\fB\\-{option.short}\\fR, " if option.short else ""
    meaning = option.help or option.meaning
    said = meaning[:1].upper() + meaning[1:] + "."
    if option.why:
        said += f" Here: {option.why}."
    return [".TP", short + long, _text(said)]


def _text(text: str) -> str:
    """Escape plain text for man(7): no request at a line's start, hyphens that can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\\&" + escaped if escaped[:1] in (".", "'") else escaped
