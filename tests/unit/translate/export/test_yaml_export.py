"""Exported YAML: whole examples, arrays, servers, first lines and hostile scripts."""

from __future__ import annotations

import re

import pytest
import yaml
from moving_script import moving
from yaml_exports import SITE, export, script

from slurmsky.site import load
from slurmsky.translate.export.yaml_export import SubmittedScript, export_yaml

TRAIN = """#!/bin/bash
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --mem=256G
#SBATCH --partition=gpu

module load cuda/12.1
source ~/venv/bin/activate

srun python train.py --epochs 100
"""


def test_the_two_node_training_job() -> None:
    found = export(TRAIN, site=load("", "none"))
    assert not found.needs
    fields = found.fields
    assert fields["name"] == "train"
    assert fields["num_nodes"] == 2
    assert fields["resources"] == {
        "accelerators": "H100:8",
        "cpus": "32+",
        "memory": "256+",
        "image_id": "docker:nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04",
    }
    assert "pip install" in fields["setup"]
    assert fields["run"] == "python train.py --epochs 100\n"


def test_an_array_is_a_launch_for_each_task_id() -> None:
    found = export(script("python train.py --seed $SLURM_ARRAY_TASK_ID", "-J sweep;--array=1-100;--gpus=1"))
    assert found.fields["envs"] == {"TASK_ID": "1"}
    assert found.fields["run"] == "python train.py --seed $TASK_ID\n"
    assert "for i in $(seq 1 100); do sky jobs launch -y -d --env TASK_ID=$i sweep.yaml; done" in found.yaml


RAY = """#!/bin/bash
#SBATCH --job-name=glm4
#SBATCH --nodes=8
#SBATCH --gpus-per-node=h100:8

pkill -9 ray
sleep 3
ray stop --force
set -ex
export WANDB_API_KEY=abc123
nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
export MASTER_ADDR=${nodes[0]}
ray start --head --node-ip-address ${MASTER_ADDR} --num-gpus 8
for WORKER_IP in "${nodes[@]:1}"; do
  ssh root@"${WORKER_IP}" "pkill -9 ray ; ray start --address=${MASTER_ADDR}:6379 --num-gpus 8" &
done
wait
ray job submit --address="http://127.0.0.1:8265" \\
   --runtime-env-json='{"env_vars": {"PYTHONPATH": "/root/Megatron-LM/", "NCCL_NVLS_ENABLE": "1", "X_TOKEN": "s"}}' \\
   -- python3 train.py --actor-num-nodes 8 --save /slime_checkpoints/run1
"""


def test_a_ray_cluster_started_over_ssh_becomes_the_plain_program() -> None:
    found = export(RAY)
    assert not found.needs
    fields = found.fields
    assert fields["num_nodes"] == 8
    assert fields["resources"] == {"accelerators": "H100:8"}
    assert fields["envs"] == {"PYTHONPATH": "/root/Megatron-LM/", "NCCL_NVLS_ENABLE": "1"}
    assert fields["secrets"] == {"X_TOKEN": None, "WANDB_API_KEY": None}
    bucket = fields["file_mounts"]["/slime_checkpoints"]
    assert bucket["mode"] == "MOUNT" and re.fullmatch("glm4-slime-checkpoints-[0-9a-f]{8}", bucket["name"])
    run = fields["run"]
    assert "python3 train.py --actor-num-nodes 8 --save /slime_checkpoints/run1" in run
    assert not re.search(r"ray (start|job|stop)|ssh|pkill|abc123", found.yaml.partition("name:")[2])
    assert "~/sky_templates/ray/start_cluster" in run
    assert run.index('if [ "$SKYPILOT_NODE_RANK" = 0 ]') < run.index("python3 train.py") < run.index("\nfi")


def test_ray_on_one_node_needs_no_cluster() -> None:
    found = export(script("ray start --head --num-gpus 8\nray job submit -- python t.py --x 1", "--gpus=8"))
    assert found.fields["run"] == "python t.py --x 1\n"


def test_first_lines() -> None:
    assert export("#!/bin/bash -eu\n./a\n").fields["run"] == "set -eu\n./a\n"
    assert export("#!/bin/sh\necho wow!x\n").fields["run"].startswith("set +H")
    assert export("#!/usr/bin/env python3\nprint(1)\n", name="a.py").fields["run"] == "python3 a.py\n"


HOSTILE = [
    '#!/bin/bash\n#SBATCH -J "x: {y}: #"\n#SBATCH --comment="a\\nrun: |"\necho\n',
    '#!/bin/bash\nmodule load "x\nrun: !!python/object"\nexport A="q\nsetup: 1"\necho "never ends\n',
    "#!/bin/bash\nexport X=$'\\x00\\n- a'\necho $(rm -rf /) \u2028 run: x\n",
    "#!/bin/bash\nsrun --container-image='a\nsetup: evil' --container-mounts=../../etc:/etc ./a\n",
    "#!/bin/bash\npython t.py --save '/ckpt/a: b\n  c: d'\nexport 'a b'=c\n",
    "#!/bin/bash\n" + "x" * 300_000 + "\n",
    "#!/bin/bash\ncat <<'E'\n  indented first\n\ttab\n#SBATCH -N9\n\u0085x\nE\n",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_scripts_stay_data(text: str) -> None:
    yaml = pytest.importorskip("yaml")
    found = export(text)
    assert yaml.safe_load(found.yaml) == found.fields


def test_names_are_whole_and_differ() -> None:
    one = export(script("python a.py", "-J a-long-name-of-an-experiment-1"))
    two = export(script("python a.py", "-J a-long-name-of-an-experiment-2"))
    assert one.name == "a-long-name-of-an-experiment-1" and two.name != one.name


def test_a_script_with_an_array_gets_its_index_by_env() -> None:
    found = export(script("python a.py $SLURM_ARRAY_TASK_ID"))
    assert not found.needs and found.fields["envs"] == {"TASK_ID": None}


def test_text_with_spaces_at_the_ends_of_lines_stays_readable() -> None:
    found = export(script("module purge   # none \npython a.py  \n  \nexit "))
    assert "run: |\n" in found.yaml


def test_long_paths_are_plain_keys() -> None:
    found = export(script(f"python a.py --save /ckpts/{'x' * 130}/a/b"))
    assert "? " not in found.yaml.partition("run:")[0]


def test_a_server_becomes_a_service_with_its_health_check() -> None:
    request = moving.request(script("vllm serve m --port 8123", "--gpus=1").encode(), "job.sh")
    source = script("vllm serve m --port 8123", "--gpus=1")
    fields = export_yaml(SubmittedScript(source, request.components), SITE, "main", serve=True).fields
    assert fields["service"] == {"readiness_probe": {"path": "/health", "initial_delay_seconds": 1800}, "replicas": 1}
    assert fields["resources"]["ports"] == 8123
    assert "slurmsky translate --serve" in export_yaml(SubmittedScript(source, request.components), SITE, "main").yaml


def test_all_indices_of_an_uneven_array_are_launched() -> None:
    listed = ",".join(str(index * index) for index in range(1, 31))
    found = export(script("python a.py $SLURM_ARRAY_TASK_ID", f"--array={listed},950-955"))
    assert " 900 $(seq 950 955); do" in found.yaml


def test_flags_of_the_first_line_are_set() -> None:
    assert export("#!/bin/bash -fx\n./a\n").fields["run"] == "set -fx\n./a\n"


def test_invisible_characters_are_named_and_run_stays_a_block() -> None:
    found = export(script("python\u200b a.py\n# a\u00a0b"))
    assert "U+200B (line " in found.yaml and "\nrun: |\n" in found.yaml
    assert yaml.safe_load(found.yaml)["run"] == "python\u200b a.py\n# a\u00a0b\n"


def test_an_array_on_slurmskys_nodes_is_reported() -> None:
    found = export(script("srun python a.py $SLURM_ARRAY_TASK_ID | cat", "-n4 --array=1-3"))
    assert found.needs
    assert "--array=1-3" in found.yaml
