"""Resources in exported YAML: GPUs, CPUs, images and ports."""

from __future__ import annotations

import pytest
from yaml_exports import TWO, export, script

from slurmsky.site import load


@pytest.mark.parametrize(
    ("body", "directives", "gpus"),
    [
        ("srun --gpus-per-node=4 python a.py", TWO, "H100:4"),
        ("srun --gpus 8 python a.py", TWO, "H100:4"),
        ("srun --gres=gpu:a100:1 python a.py\nsrun --gres=gpu:a100:2 python b.py", "", "A100:2"),
        ("G=2\nsrun --gres=gpu:$G python a.py", "", "H100:2"),
        ("srun --gres=gpu:2 python a.py", "--gpus=1", "H100:1"),
        ("srun --gres=none python a.py\nsrun --gpus=$1 python a.py\nsrun --gres=gpu:a:b python a.py", "", None),
    ],
)
def test_gpus_that_only_steps_request(body: str, directives: str, gpus: str | None) -> None:
    assert export(script(body, directives)).fields["resources"].get("accelerators") == gpus


def test_a_het_job_has_the_nodes_of_all_components() -> None:
    found = export("#!/bin/bash\n#SBATCH -N1 -c2\n#SBATCH hetjob\n#SBATCH -N2 -c4\nsrun --het-group=0,1 ./a\n")
    assert any("different sizes" in entry.why for entry in found.needs)
    assert found.fields["num_nodes"] == 3 and found.fields["resources"]["cpus"] == "4+"


def test_steps_without_nodes_have_those_of_the_header() -> None:
    found = export(script("srun -n 64 ./a.out", "-N 2"))
    assert found.fields["num_nodes"] == 2 and found.fields["resources"]["cpus"] == "32+"


def test_pyxis() -> None:
    body = "srun --container-image=user@nvcr.io#nvidia/pytorch:24.01-py3 --container-mounts=/fsx:/fsx python t.py"
    found = export(script(body, "--gpus=8"))
    assert found.fields["resources"]["image_id"] == "docker:nvcr.io/nvidia/pytorch:24.01-py3"
    assert "/fsx is on the old cluster" in found.yaml


def test_steps_with_several_images_bring_them_themselves() -> None:
    found = export(script("srun --container-image=a/b:1 x\nsrun --container-image=c/d:1 y"))
    assert [(need.line, need.why) for need in found.needs] == [(4, "a task has one image")]
    assert "image_id" not in found.fields["resources"]
    found = export(script("srun --container-image=a/b:1 x\nsrun --container-image=a/b:1 y"))
    assert (found.needs, found.fields["resources"]["image_id"]) == ((), "docker:a/b:1")


def test_an_exclusive_node_is_not_one_cpu() -> None:
    found = export(script("./run", "--exclusive"))
    assert found.fields["resources"]["cpus"] == "16+" and "whole node" in found.yaml


def test_a_step_says_how_many_cpus_the_node_needs() -> None:
    found = export(script("srun -n 48 -c 7 ./run", "-N1"))
    assert found.fields["resources"]["cpus"] == "336+"


@pytest.mark.parametrize("image", ["$CONT", "/shared/nemo.sqsh", "./nemo.sqsh"])
def test_images_that_no_registry_has_go_to_the_agent_with_a_line(image: str) -> None:
    found = export(script(f'srun --container-image="{image}" python a.py'))
    assert found.needs and "--container-image" in found.yaml
    assert "image_id" not in found.fields["resources"]


def test_a_variable_with_one_value_is_the_image() -> None:
    found = export(
        script(': "${CONT:=nvcr.io#nvidia/pytorch:24.01-py3}"\nsrun --container-image="${CONT}" python a.py')
    )
    assert found.fields["resources"]["image_id"] == "docker:nvcr.io/nvidia/pytorch:24.01-py3"


def test_a_server_opens_its_port() -> None:
    found = export(script("vllm serve m --port 9000", "--gpus=1"))
    assert found.fields["resources"]["ports"] == 9000 and "sky serve" in found.yaml


def test_labels_of_the_site_and_a_translated_constraint_stay_out_of_what_is_left_out() -> None:
    """The site's labels for a QOS are kept, and an instance type was made from the constraint."""
    site = load(
        '[[partition]]\nname = "cpu"\ndefault = true\ninfra = "aws"\nfeatures = { big = "m6i.32xlarge" }\n'
        'labels = { team = "vision" }\n[[qos]]\nname = "long"\nlabels = { cost-center = "cc-7" }\n',
        "site.toml",
    )
    kept = export(script("python train.py", "-C big;--qos=long"), site=site)
    resources = kept.fields["resources"]
    assert resources["instance_type"] == "m6i.32xlarge"
    assert resources["labels"] == {"qos": "long", "team": "vision", "cost-center": "cc-7"}
    assert not any("constraint" in entry.text for entry in kept.dropped) and "--constraint" not in kept.yaml


def test_a_guessed_gpu_is_reported() -> None:
    yaml = export(script("./run", "--gpus=2"), site=load("", "none")).yaml
    assert "accelerators: H100:2  # the script names no type: choose one" in yaml


def test_the_gpu_is_that_of_the_partition() -> None:
    found = export(script("python a.py", "--gpus=1;-p a100_1,v100"), site=load("", "none"))
    assert found.fields["resources"]["accelerators"] == "A100:1"
    noted = export(script("nvidia-smi", "-p v100"), site=load("", "none"))
    assert noted.fields["resources"]["accelerators"] == "V100:1" and "GPUs without a request" in noted.yaml


def test_a_gpu_type_that_skypilot_lacks_is_named() -> None:
    assert "rtx is not a GPU name of SkyPilot" in export(script("python a.py", "--gres=gpu:rtx:1")).yaml


def test_devices_that_skypilot_lacks_are_named() -> None:
    assert "--gres=dcu:4: SkyPilot has no dcu" in export(script("./a", "--gres=dcu:4"), site=load("", "none")).yaml


def test_an_image_for_nvcc_has_the_compiler() -> None:
    found = export(script("module load cuda/12.1\nnvcc a.cu && ./a.out"), site=load("", "none"))
    assert "-devel-" in found.fields["resources"]["image_id"]


@pytest.mark.parametrize(
    ("word", "name"),
    [("A100.40gb", "A100"), ("rtx2080", "RTX2080Ti"), ("volta32gb", "V100-32GB")],
)
def test_gpu_words_of_sites_are_skypilots_names(word: str, name: str) -> None:
    assert export(script("python a.py", f"--gres=gpu:{word}:1")).fields["resources"]["accelerators"] == f"{name}:1"


def test_cuda_wins_over_compilers_and_the_other_image_is_named() -> None:
    found = export(script("module load intel cuda/12.1\n./a.out", "--gpus=1"), site=load("", "none"))
    assert "nvidia/cuda" in found.fields["resources"]["image_id"]
    assert "module load intel: a task has one image" in found.yaml


def test_cuda_without_a_request_for_gpus_is_a_comment() -> None:
    found = export(script("module load cuda/12.1\n./a.out"), site=load("", "none"))
    assert "requests no GPU" in found.yaml and "accelerators" not in found.fields["resources"]


def test_the_default_gpu_knows_the_scripts_cuda() -> None:
    found = export(script("module load cuda/10.2\npython a.py", "--gres=gpu:1"), site=load("", "none"))
    assert found.fields["resources"]["accelerators"] == "V100:1"


def test_accounting_names_that_no_site_file_lists_are_no_labels() -> None:
    found = export(script("./prog", "-A lab;-q long"))
    assert "labels" not in found.fields.get("resources", {})
    assert "--account=lab, --qos=long" in found.yaml


@pytest.mark.parametrize(
    "directives, body, gpu",
    [
        ("-p a100", "python train.py", "A100:1"),
        ("-p gpu", "torchrun train.py", "H100:1"),
        ("-C v100", "python train.py", "V100:1"),
        ("", "nvidia-smi\n./prog", "H100:1"),
        ("", "nvcc x.cu && ./a.out", "H100:1"),
        ("-p a100", "./prog", None),
        ("", "python train.py", None),
    ],
)
def test_a_gpu_that_the_script_uses_without_a_request(directives: str, body: str, gpu: str | None) -> None:
    site = load('[gpus]\ndefault = "H100"', "site")
    found = export(script(body, directives), site=site)
    assert found.fields.get("resources", {}).get("accelerators") == gpu


def test_a_compiler_of_cuda_without_a_module_has_its_image() -> None:
    assert "cuda" in export(script("nvcc x.cu && ./a.out", "--gpus=1")).fields["resources"]["image_id"]


def test_an_image_file_may_be_a_registrys_image() -> None:
    body = "# singularity pull docker://org/tool:1.2\nsingularity exec --nv /apps/tool_1.2.sif tool x"
    found = export(script(body, "--gpus=1")).yaml
    assert "# if a registry has tool_1.2.sif, it can be image_id: docker:org/tool:1.2\n" in found


def test_a_partition_of_cpus_has_no_gpu() -> None:
    body = "module load cuda\npython a.py"
    assert "accelerators" not in export(script(body, "--partition=cpu")).fields["resources"]
    assert "accelerators" in export(script(body)).fields["resources"]


def test_matlab_is_its_makers_image_with_a_licence_server() -> None:
    found = export(script("module load matlab/R2023a\nmatlab -batch run"))
    assert found.fields["resources"]["image_id"] == "docker:mathworks/matlab:r2023a"
    assert found.fields["envs"] == {"MLM_LICENSE_FILE": None}
