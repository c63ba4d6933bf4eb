"""The caller's identity and environment."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from ...controller.command_context import CommandContext
from ...controller.jobs.submitter import Submitter
from ...options.values import ReadContext
from .._files import opener, read

Parsed = TypeVar("Parsed")
_FILE_SIZE = 16 << 20  # largest file that an option may name


def find_user(name: str) -> int | None:
    """The uid of a user name or number, or None. Slurm reserves "nobody". Source: uid.c uid_from_string."""
    if name == "nobody":
        return None
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


def read_context(ctx: CommandContext) -> ReadContext:
    """The caller's settings that the option parser needs."""

    def read_file(name: str) -> bytes:
        with open(os.path.join(ctx.cwd, name), "rb", opener=opener) as file:
            return file.read(_FILE_SIZE)

    return ReadContext(
        now=ctx.controller.clock(),
        cwd=ctx.cwd,
        env=ctx.env,
        read_file=read_file,
        is_root=os.geteuid() == 0,
        find_user=find_user,
        find_group=find_group,
        max_array_size=ctx.controller.site.cluster.max_array_size,
    )


class _Unread(Exception):
    """The parser needs a file (its path) that the client has not read yet."""


Files = dict[str, bytes | OSError]  # content, or the error of reading it, by name


async def parse_with_files(
    ctx: CommandContext, parse: Callable[[ReadContext], Parsed], known: Files | None = None
) -> Parsed:
    """Parse options that may name files, such as --nodefile. The caller's own process reads these files.

    The parser is synchronous. It stops at a file that has not been read, and starts again with its content. ``known``
    keeps the files for a second parse, because a pipe can be read once.
    """
    files = {} if known is None else known

    def read_file(name: str) -> bytes:
        if name not in files:
            raise _Unread(name)
        found = files[name]
        if isinstance(found, OSError):
            raise found
        return found

    around = replace(read_context(ctx), read_file=read_file)
    while True:
        try:
            return parse(around)
        except _Unread as unread:
            (name,) = unread.args
        try:
            files[name] = (await read(ctx, [name], _FILE_SIZE)).data
        except OSError as error:
            files[name] = error


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
