"""Names of images and lists of mounts, as pyxis and enroot read them."""

from __future__ import annotations

import pytest

from slurmsky.language import image_names
from slurmsky.language.image_names import ContainerError, Mount
from slurmsky.translate.script.needs import of_steps
from slurmsky.translate.sky_task.sky_names import docker_image
from slurmsky.translate.sky_task.translation_notes import Refused


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ubuntu", "docker:ubuntu"),
        ("ubuntu:24.04", "docker:ubuntu:24.04"),
        ("nvcr.io#nvidia/pytorch:24.01-py3", "docker:nvcr.io/nvidia/pytorch:24.01-py3"),
        ("me@registry:5000#team/image", "docker:registry:5000/team/image"),
        ("$oauthtoken@nvcr.io#nvidia/nemo:24.05", "docker:nvcr.io/nvidia/nemo:24.05"),
        ("docker://nvcr.io#nvidia/nemo", "docker:nvcr.io/nvidia/nemo"),
        ("dockerd://local/image", "docker:local/image"),
    ],
)
def test_image_id(text: str, name: str) -> None:
    assert docker_image(text) == name


@pytest.mark.parametrize("text", ["/images/a.sqsh", "./a.sqsh", "../a.sqsh", "~/a.sqsh", "images/a.sqsh"])
def test_files_are_no_image_id(text: str) -> None:
    with pytest.raises(Refused):
        docker_image(text)


@pytest.mark.parametrize(
    ("text", "mounts"),
    [
        ("/a", (Mount("/a", "/a"),)),
        ("/a:/b", (Mount("/a", "/b"),)),
        ("./a:/b:ro+rprivate,tmpfs:/t", (Mount("./a", "/b", ("ro", "rprivate")), Mount("tmpfs", "/t"))),
        ("umount:/opt", (Mount("umount", "/opt"),)),
        ("/with space:/b", (Mount("/with space", "/b"),)),
    ],
)
def test_mounts(text: str, mounts: tuple[Mount, ...]) -> None:
    assert image_names.mounts(text) == mounts


@pytest.mark.parametrize("text", ["", ":/b", "/a:", "a:/b", "/a:b", "/a,,/b"])
def test_no_mounts(text: str) -> None:
    with pytest.raises(ContainerError):
        image_names.mounts(text)


@pytest.mark.parametrize("text", ["../up", "..", "a/b", "", ":create", "a:sometimes"])
def test_no_names(text: str) -> None:
    with pytest.raises(ContainerError):
        image_names.name(text)


@pytest.mark.parametrize(
    ("lines", "images"),
    [
        ("srun --container-image=a/b:1 x", ("a/b:1",)),
        ("I=a/b:1\nsrun --container-image $I x\nsrun -n1 --container-image=${I} y", ("a/b:1",)),
        ('export I="a/b:1"\nsrun --container-image="$I" x', ("a/b:1",)),
        ("I=a\nI=b\nsrun --container-image=$I x", ()),
        ("srun --container-image=$1 x", ()),
        ("srun --container-image=/images/a.sqsh x", ()),
        ("srun --container-image=a x\nfor i in 1 2; do srun --container-image=b y & done", ("a", "b")),
        ("echo srun --container-image=a", ()),
        ("srun bash -c 'echo --container-image=a'", ()),
        ("srun --container-image='$(reboot)' x", ()),
    ],
)
def test_images_of_steps(lines: str, images: tuple[str, ...]) -> None:
    assert of_steps(f"#!/bin/bash\n{lines}\n") == images
