"""strigger: runs programs on events of jobs and nodes.

Source: src/strigger/strigger.c, opts.c.
"""

from __future__ import annotations

import os
import stat

from ..controller.command_context import CommandContext
from ..controller.services.triggers import Trigger, TriggerRefused
from ..options.family import FamilyRequest, parse
from ..options.usage_errors import failure
from ..options.values import leading_int
from .common.caller_settings import find_user, read_context, user_name
from .common.command_errors import command
from .common.report_settings import known_cluster

_HEADER = "TRIG_ID RES_TYPE   RES_ID TYPE                                OFFSET USER     FLAGS PROGRAM\n"
_JOB = ("fini", "time")
_NODE = ("down", "drained", "draining", "fail", "idle", "up", "resume", "reconfig")
_SLURMCTLD = ("primary_slurmctld_failure", "primary_slurmctld_resumed_operation", "primary_slurmctld_resumed_control",
              "primary_slurmctld_acct_buffer_full", "backup_slurmctld_failure", "backup_slurmctld_resumed_operation",
              "backup_slurmctld_assumed_control")  # fmt: skip
_SLURMDBD = ("primary_slurmdbd_failure", "primary_slurmdbd_resumed_operation")
_DATABASE = ("primary_database_failure", "primary_database_resumed_operation")
_TYPES = (*_JOB, *_NODE, "burst_buffer", *_SLURMCTLD, *_SLURMDBD, *_DATABASE)
_LIMIT_S = 32000


@command
def main(ctx: CommandContext) -> int:
    """Set, list or clear triggers."""
    request = parse("strigger", ctx.args, read_context(ctx))
    types = tuple(name for name in _TYPES if request.get(name))
    job = leading_int(request.get("jobid", "0"))
    if request.get("jobid") is not None and job <= 0:
        raise failure("strigger", f"Invalid jobid {request.get('jobid')}")
    number = leading_int(request.get("id", "0"))
    flags = request.get("flags")
    if flags is not None and not flags.lower().startswith("perm"):
        raise failure("strigger", f"Invalid flags {flags}")
    uid = None
    if request.get("user") is not None:
        uid = find_user(request.get("user"))
        if uid is None:
            raise failure("strigger", f"Invalid user {request.get('user')}")
    offset = leading_int(str(request.get("offset", "0")))
    _check(ctx, request, types, job, number, uid, offset)
    if not known_cluster(ctx, request.get("clusters")):
        return 1
    try:
        if request.get("set"):
            _set(ctx, request, types, job, offset)
            done = "trigger set"
        elif request.get("get"):
            done = f"Read {len(ctx.controller.triggers.triggers)} trigger records"
            _get(ctx, request, types, job, number, uid)
        else:
            ctx.controller.triggers.clear(
                lambda one: (not number or one.number == number) and (uid is None or one.uid == uid)
                and (not job or (one.resource == "job" and one.name == str(job))))  # fmt: skip
            of_user = f"triggers for user {uid}" if uid is not None else f"trigger {number}"
            done = f"{f'triggers for job {job}' if job else of_user} cleared"
    except TriggerRefused as error:
        if request.get("quiet") and request.get("clear"):
            return 0
        ctx.err(f"slurm_{'set' if request.get('set') else 'clear'}_trigger: {error}")
        return 1
    if request.get("verbose"):
        ctx.info(done)
    return 0


def _check(ctx: CommandContext, request: FamilyRequest, types: tuple[str, ...], job: int, number: int, uid: int | None,
           offset: int) -> None:  # fmt: skip
    """Raise the errors that strigger itself detects, in its order."""
    if sum(bool(request.get(mode)) for mode in ("set", "get", "clear")) != 1:
        raise failure("strigger", "You must use exactly one of the following options: --set, --get or --clear")
    if request.get("clear") and uid is None and not number and not job:
        raise failure("strigger", "You must specify a --id, --jobid, or --user to clear")
    if request.get("set") and not types:
        raise failure("strigger", "You must specify a trigger")
    program = request.get("program")
    if request.get("set") and program is None:
        raise failure("strigger", "You must specify a --program value")
    if any(name in types for name in _JOB) and not job:
        raise failure("strigger", "You must specify a --jobid value")
    if program is not None:
        if not program.startswith("/"):
            raise failure("strigger", 'The --program value must start with "/"')
        try:
            mode = os.stat(program.split()[0]).st_mode
        except OSError:
            raise failure("strigger", "Invalid --program value, file not found") from None
        if not stat.S_ISREG(mode):
            raise failure("strigger", "Invalid --program value, not regular file")
    if abs(offset) > _LIMIT_S:
        raise failure("strigger", "The --offset parameter must be between +/-32000")


def _set(ctx: CommandContext, request: FamilyRequest, types: tuple[str, ...], job: int, offset: int) -> None:
    if job:
        resource, name = "job", str(job)
    elif any(one in types for one in (*_SLURMCTLD, *_SLURMDBD, *_DATABASE, "burst_buffer")):
        resource = ("database" if any(one in _DATABASE for one in types) else
                    "slurmdbd" if any(one in _SLURMDBD for one in types) else
                    "slurmctld" if any(one in _SLURMCTLD for one in types) else "other")  # fmt: skip
        name = "(null)" if resource == "other" else "*"
    else:
        resource, name = "node", request.get("node") or "*"
    uid = os.geteuid()
    permanent = request.get("flags") is not None
    ctx.controller.triggers.add(resource, name, types, offset, request.get("program"), permanent, uid, user_name(uid))


def _get(
    ctx: CommandContext, request: FamilyRequest, types: tuple[str, ...], job: int, number: int, uid: int | None
) -> None:
    def shown(one: Trigger) -> bool:
        return ((not types or one.type in types) and (not number or one.number == number)
                and (uid is None or one.uid == uid)
                and (not job or (one.resource == "job" and one.name == str(job)))
                and ("node" not in request.values or one.resource == "node"))  # fmt: skip

    found = [one for one in ctx.controller.triggers.triggers if shown(one)]
    if found and not request.get("noheader"):
        ctx.out(_HEADER)
    for one in found:
        ctx.out("%7u %-9s %7s %-35s %6d %-8s %-5s %s\n" % (
            one.number, one.resource, one.name, one.type if len(one.events) == 1 else "unknown", one.offset_s, one.user,
            "PERM" if one.permanent else "", one.program))  # fmt: skip
