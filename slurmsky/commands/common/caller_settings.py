"""The caller's identity and environment."""

from __future__ import annotations

import grp
import os
import pwd
from functools import lru_cache

from ...controller.command_context import CommandContext
from ...controller.jobs.submitter import Submitter
from ...options.values import ReadContext as Surroundings
from .._files import opener


def find_user(name: str) -> int | None:
    """The uid of a user name or number, or None."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdecimal() else None


def find_group(name: str) -> int | None:
    """The gid of a group name or number, or None."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdecimal() else None


@lru_cache(maxsize=64)
def user_name(uid: int) -> str:
    """Name of a uid, or its number as text."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@lru_cache(maxsize=64)
def group_name(gid: int) -> str:
    """Name of a gid, or its number as text."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def surroundings(ctx: CommandContext) -> Surroundings:
    """The caller's settings that the option parser needs."""

    def read_file(name: str) -> bytes:
        with open(os.path.join(ctx.cwd, name), "rb", opener=opener) as file:
            return file.read(16 << 20)

    return Surroundings(
        now=ctx.controller.clock(),
        cwd=ctx.cwd,
        env=ctx.env,
        read_file=read_file,
        is_root=os.geteuid() == 0,
        find_user=find_user,
        find_group=find_group,
        max_array_size=ctx.controller.site.cluster.max_array_size,
    )


def submitter(ctx: CommandContext) -> Submitter:
    """User, group, host and folder of the caller, for a submission."""
    uid, gid = os.geteuid(), os.getegid()
    user = user_name(uid)
    return Submitter(
        user=user,
        uid=uid,
        group=group_name(gid),
        gid=gid,
        account=user,
        cwd=ctx.cwd,
        host=ctx.controller.host,
        sid=_session(ctx.request.pid),
        submit_line=" ".join([ctx.command, *ctx.args]),
        groups=frozenset(group_name(number) for number in {gid, *os.getgroups()}),
    )


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0
