"""Requirements of a script's text, and the setup that meets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.model.spec import JobSpec
from slurmsky.site import load
from slurmsky.translate.script import needs
from slurmsky.translate.script.declared_packages import NO_PACKAGES
from slurmsky.translate.script.python_packages import packages
from slurmsky.translate.sky_task.setup_commands import preparation
from slurmsky.translate.sky_task.task import SkyTask, plan

OPEN = load("", "none")
DESCRIBED = load('[[partition]]\nname = "main"\ndefault = true', "site.toml")


def setup(text: str, site: object = OPEN) -> tuple[str, str]:
    image, lines, _ = preparation(site, needs.of(f"#!/bin/bash\n{text}\n"))  # type: ignore[arg-type]
    return image, "\n".join(lines)


def planned(text: str, **fields: object) -> SkyTask:
    return plan(JobSpec(**fields), OPEN, "debug", wants=needs.of(f"#!/bin/bash\n{text}\n"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text, image, line",
    [
        ("module load cuda/12.1", "docker:nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04", ""),
        ("module load cuda/12.1\nnvcc x.cu", "docker:nvidia/cuda:12.1.1-cudnn8-devel-ubuntu22.04", ""),
        ("module load nvhpc", "docker:nvcr.io/nvidia/nvhpc:24.5-devel-cuda12.4-ubuntu22.04", ""),
        ("module load PrgEnv-amd", "docker:rocm/dev-ubuntu-22.04:6.2-complete", ""),
        ("module load lang/Python/3.11", "", "conda create -y -p ~/.conda/envs/job python=3.11"),
        ("module load toolchain/foss", "", "libopenmpi-dev"),
        ("Rscript a.R", "", "r-base"),
        ("torchrun x.py", "", "pip install 'torch'"),
        ("samtools sort x", "", "bioconda samtools"),
        ("hipcc x.cpp", "docker:rocm/dev-ubuntu-22.04:6.2-complete", ""),
        ("mkdir -p /scratch/me/x", "", "/scratch/me"),
        ("source /apps/modules.sh", "", "touch /apps/modules.sh"),
        ("conda activate env\npython x.py", "", "conda create -y -n env python"),
    ],
)
def test_what_setup_brings_without_a_site_file(text: str, image: str, line: str) -> None:
    found = setup(text)
    assert found[0] == image
    assert line in found[1]


def test_a_described_site_applies_the_shipped_map_by_one_switch() -> None:
    assert setup("module load cuda/12.1\nRscript x", DESCRIBED) == ("", "")
    for switch in ('modules = "shipped"', '[modules]\n"*" = "shipped"'):
        text = f'{switch}\n[[partition]]\nname = "m"'
        image, lines = setup("module load cuda/12.1\nRscript x", load(text, "site.toml"))
        assert "12.1.1" in image and "r-base" in lines
    assert setup("module load cuda/12.1", load('modules = "none"', "site.toml")) == ("", "")


def test_the_site_file_names_packages_and_programs() -> None:
    text = '[environments]\n"my*" = "torch numpy"\n[programs]\nfoo = "make install"\n[[partition]]\nname = "m"'
    lines = setup("conda activate myenv\nfoo x", load(text, "site.toml"))[1]
    assert "conda run -n myenv pip install torch numpy" in lines
    assert "make install" in lines


@pytest.mark.parametrize(
    "text, fields, gpu",
    [
        ("x", {"gpus": "4"}, "H100:4"),
        ("x", {"gpus": "2", "constraint": "v100-32g"}, "V100-32GB:2"),
        ("x", {"gpus": "2", "constraint": "gpu80"}, "A100-80GB:2"),
        ("x", {"gpus": "2", "constraint": "gpu&hbm80g"}, "A100-80GB:2"),
        ("x", {"gpus": "2", "partition": "gpu_a100"}, "A100:2"),
        ("x", {"gpus": "HOPPER:2"}, "H100:2"),
        ("x", {"gres": "gpu:TESLA_V100:1"}, "V100:1"),
        ("x", {"gres": "gpu:1g.5gb:1"}, "A100:1"),
        ("module load rocm", {"gpus": "8"}, "MI300X:8"),
        ("hipcc --offload-arch=gfx90a x", {"gpus": "8"}, "MI250:8"),
        ("nvidia-smi\nexport NCCL_DEBUG=1", {"gpus": "8"}, "H100:8"),
    ],
)
def test_the_gpu_that_a_job_means(text: str, fields: dict[str, object], gpu: str) -> None:
    partition = str(fields.get("partition", "debug"))
    task = plan(JobSpec(**fields), OPEN, partition, wants=needs.of(f"#!/bin/bash\n{text}\n"))  # type: ignore[arg-type]
    assert task.fields["resources"]["accelerators"] == gpu


def test_a_second_gres_becomes_disk_or_nothing_with_a_line() -> None:
    task = planned("x", gres="gpu:a100:1,lscratch:100")
    assert task.fields["resources"]["disk_size"] == 120
    assert any("lscratch" in note.text for note in task.notes)
    task = planned("x", gres="craynetwork:0,gpu:1")
    assert any("left out" in note.text for note in task.notes)


def test_docker_takes_a_virtual_machine() -> None:
    infra = planned("docker run x", ntasks=1).fields["resources"]["any_of"]
    assert {"infra": "aws"} in infra and not any("kubernetes" in entry["infra"] for entry in infra)


def test_packages_of_python_files(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import os, torch\nfrom sklearn import svm\nimport mine.deep\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    (tmp_path / "mine" / "deep.py").write_text("import numpy as np\n")
    assert packages("srun python train.py --x", tmp_path).pip == ("torch", "scikit-learn", "numpy")
    (tmp_path / "requirements.txt").write_text("torch==2.4  # pinned\n-r other.txt\nnumpy >= 1.2\nnot valid here\n")
    assert packages("srun python train.py", tmp_path).pip == ("torch==2.4", "numpy>=1.2")
    assert packages("echo train.py", tmp_path) == NO_PACKAGES


def test_each_folder_of_the_old_cluster_is_one_of_a_bucket() -> None:
    site = load('[paths]\n"/data" = "s3://team/data"\n"/*" = "s3://old"', "site.toml")
    text = "#!/bin/bash\npython a.py --in /data/x --ref /fsx/ref/y\ncd /tmp\nmkdir -p /scratch/me/x\n"
    mounts = plan(JobSpec(), site, "debug", wants=needs.of(text)).fields["file_mounts"]
    assert {path: one["source"] for path, one in mounts.items()} == {
        "/data": "s3://team/data", "/fsx": "s3://old/fsx", "/scratch": "s3://old/scratch",
    }  # fmt: skip


def test_an_nfs_server_is_mounted_in_every_pod() -> None:
    site = load('[paths]\n"/home/team" = "nfs:10.0.0.2:/export/home"', "site.toml")
    spec = plan(JobSpec(), site, "debug").fields["config"]["kubernetes"]["pod_config"]["spec"]
    assert spec["volumes"] == [{"name": "nfs-home-team", "nfs": {"server": "10.0.0.2", "path": "/export/home"}}]
    assert spec["containers"] == [{"volumeMounts": [{"name": "nfs-home-team", "mountPath": "/home/team"}]}]


def test_a_program_with_a_version_in_its_name() -> None:
    assert "conda create -y -n python3.9 python=3.9" in setup("python3.9 a.py")[1]
    assert "gcc-12" in setup("gcc-12 a.c")[1]


@pytest.mark.parametrize(
    "text, environment",
    [
        ("source .env/net/bin/activate", "./.env/net"),
        ("D=$SLURM_SUBMIT_DIR\ncd $D\ncd ..\nsource .env/net/bin/activate", "../.env/net"),
        ("cd a/b; source ../venv/bin/activate", "./a/venv"),
        ("cd ..\ncd $SLURM_SUBMIT_DIR/src\nsource venv/bin/activate", "./src/venv"),
        ("(cd /tmp && make)\nsource venv/bin/activate", "./venv"),
    ],
)
def test_a_virtual_environment_lies_where_the_script_enters_it(text: str, environment: str) -> None:
    assert needs.of(f"#!/bin/bash\n{text}\n").environments == (environment,)
