"""Marks tests that need control groups with the memory controller."""

from __future__ import annotations

import os

import pytest

from slurmsky.agent.process import cgroup_tree


def _refused() -> str:
    """The reason why no group can be limited; "" if a trial succeeds."""
    place = cgroup_tree.memory_place()
    if place is None:
        return "no cgroup with the memory controller in which this user may make groups"
    trial = os.path.join(place.folder, f"{cgroup_tree.PREFIX}trial-{os.getpid()}")
    try:
        place.make(trial)
        cgroup_tree.write_group_file(os.path.join(trial, place.files.limit), b"%d" % (1 << 40))
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    finally:
        cgroup_tree.rmdir(trial)
    return ""


REFUSED = _refused()
needs_memory_groups = pytest.mark.skipif(bool(REFUSED), reason=REFUSED)
