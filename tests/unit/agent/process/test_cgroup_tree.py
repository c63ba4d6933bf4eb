"""Places for new control groups: files of several kernels, and a folder in place of v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.agent.process import cgroup_tree

V1 = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V1_JOINT = "35 31 0:32 {root} /sys/fs/cgroup/cpu,memory rw,relatime shared:9 - cgroup cgroup rw,cpu,memory"
V2 = "41 31 0:38 {root} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
OTHER = "31 23 0:28 / /sys rw - sysfs sysfs rw"
MEMORY = "/sys/fs/cgroup/memory"

#: controller, /proc/self/cgroup, mount, root of the mount -> the group's folder
GROUPS = {
    "v1": ("memory", "4:memory:/a/b", V1, "/", MEMORY + "/a/b"),
    "v1, the root group": ("memory", "4:memory:/", V1, "/", MEMORY),
    "v1, several controllers in a tree": ("memory", "4:cpu,memory:/a", V1_JOINT, "/", "/sys/fs/cgroup/cpu,memory/a"),
    "v1, a container that sees its own part": ("memory", "4:memory:/docker/c1/x", V1, "/docker/c1", MEMORY + "/x"),
    "v1, the container's top": ("memory", "4:memory:/docker/c1", V1, "/docker/c1", MEMORY),
    "v1, another controller only": ("memory", "5:devices:/a", V1, "/", None),
    "v2": ("", "0::/user.slice/x.scope", V2, "/", "/sys/fs/cgroup/user.slice/x.scope"),
    "v2, the top of a namespace": ("", "0::/", V2, "/", "/sys/fs/cgroup"),
    "v2, outside of the namespace": ("", "0::/../other", V2, "/", None),
    "v2 has no memory controller of v1": ("memory", "0::/a", V2, "/", None),
    "a process of a job": ("", "0::/u/slurmsky-0-1a-memory/job_7/step_0", V2, "/", "/sys/fs/cgroup/u"),
}


@pytest.mark.parametrize("case", GROUPS, ids=lambda case: case.replace(" ", "-"))
def test_a_process_finds_its_group(case: str) -> None:
    controller, groups, mount, root, folder = GROUPS[case]
    found = cgroup_tree.find_group(controller, [groups], [OTHER, mount.format(root=root)])
    assert (found and found[1]) == folder


def tree(root: Path, groups: dict[str, str]) -> None:
    """A folder like a mounted cgroup v2: groups -> controllers of their child groups."""
    for name, enabled in groups.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").touch()
        (folder / "cgroup.subtree_control").write_text(enabled + "\n")
        if folder != root:
            (folder / "cgroup.type").write_text("domain\n")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"": "memory", "u": "memory pids", "u/app": "memory pids", "u/app/x.scope": ""}, "u/app"),
        ({"": "memory", "u": "memory", "u/app": "", "u/app/x.scope": ""}, "u"),
        ({"": "cpu", "u": "", "u/app": "", "u/app/x.scope": ""}, ""),  # the root of the tree may be changed
    ],
)
def test_v2_groups_are_made_where_the_memory_controller_is_enabled(
    groups: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, groups)
    own = {"": (str(tmp_path), str(tmp_path / "u/app/x.scope"))}
    monkeypatch.setattr(cgroup_tree, "_own", own.get)
    place = cgroup_tree.memory_place()
    assert place is not None
    assert (Path(place.folder), place.files.version) == (tmp_path / expected, 2)
    assert "memory" in (tmp_path / expected / "cgroup.subtree_control").read_text()


def test_no_place_in_the_top_group_of_a_namespace_without_the_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, {"": ""})
    (tmp_path / "cgroup.type").write_text("domain\n")  # which the root of the whole tree does not have
    monkeypatch.setattr(cgroup_tree, "_own", {"": (str(tmp_path), str(tmp_path))}.get)
    assert cgroup_tree.memory_place() is None
    assert (tmp_path / "cgroup.subtree_control").read_text() == "\n"


def test_no_place_in_a_v1_tree_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup_tree, "_own", {"memory": (str(tmp_path), str(tmp_path / "gone"))}.get)
    assert cgroup_tree.memory_place() is None
