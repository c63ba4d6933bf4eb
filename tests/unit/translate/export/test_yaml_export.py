"""Exported YAML: idioms as a SkyPilot user writes them, and parts that need slurmsky."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from moving_script import moving

from slurmsky.site import load
from slurmsky.translate.export.yaml_export import ExportedYaml, export_yaml

SITE = load('[gpus]\ndefault = "H100"\n[[partition]]\nname = "main"\ndefault = true', "site")


def export(text: str, *words: str, name: str = "job.sh", site: Any = SITE) -> ExportedYaml:
    found: ExportedYaml = moving.exported(text.encode(), site, name, *words)
    return found


def script(body: str, directives: str = "") -> str:
    lines = "".join(f"#SBATCH {line}\n" for line in directives.split(";") if line)
    return f"#!/bin/bash\n{lines}\n{body}\n"


TWO = "-N2 --ntasks-per-node=1"

# --- examples from the migration guides

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


# --- idioms, each with its run


@pytest.mark.parametrize(
    ("body", "directives", "run"),
    [
        # steps
        ("srun python a.py", "", "python a.py"),
        ("srun -n1 --cpu-bind=none python a.py", "", "python a.py"),
        ("srun --mpi=none -l -N2 -n2 python a.py", TWO, "python a.py"),
        ("X=1 srun -u ./a > /tmp/o", "", "X=1 ./a > /tmp/o"),
        ("srun bash -c 'python a.py $SLURM_PROCID'", TWO, "python a.py $SKYPILOT_NODE_RANK"),
        ('srun bash -c "python a.py \\$SLURM_NODEID"', TWO, "python a.py $SKYPILOT_NODE_RANK"),
        ("srun --ntasks=$SLURM_NNODES python a.py", TWO, "python a.py"),
        # variables
        ("echo $SLURM_JOB_ID ${SLURM_JOBID}", "", "echo $SKYPILOT_TASK_ID ${SKYPILOT_TASK_ID}"),
        ("echo $SLURM_JOB_NUM_NODES $SLURM_NNODES", TWO, "echo $SKYPILOT_NUM_NODES $SKYPILOT_NUM_NODES"),
        ("echo $SLURM_GPUS_ON_NODE", "--gpus=2", "echo $SKYPILOT_NUM_GPUS_PER_NODE"),
        ("echo $SLURM_CPUS_PER_TASK $SLURM_NTASKS", "-c4", "echo 4 1"),
        ("echo $SLURM_JOB_NAME", "-J x", "echo x"),
        ("echo ${SLURM_ARRAY_TASK_COUNT:-1}", "--array=3-9:2", "echo 4"),
        # a text for another shell, most often (trap, ssh, --wrap)
        ("trap 'echo $SLURM_JOB_ID' EXIT", "", "trap 'echo $SKYPILOT_TASK_ID' EXIT"),
        ("seed=$((SLURM_JOB_ID % 7))", "", "seed=$((SKYPILOT_MANAGED_JOB_ID % 7))"),
        ("cat <<E\n$SLURM_JOB_ID\nE", "", "cat <<E\n$SKYPILOT_TASK_ID\nE"),
        ("cd $SLURM_SUBMIT_DIR\n./a", "", "./a"),
        ("cd $SLURM_SUBMIT_DIR/x", "", "cd $HOME/sky_workdir/x"),
        # addresses
        (
            'M=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
            TWO,
            'M=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)',
        ),
        (
            "for h in `scontrol show hostname $SLURM_NODELIST`; do echo $h; done",
            TWO,
            'for h in `echo "$SKYPILOT_NODE_IPS"`; do echo $h; done',
        ),
        # loops over the nodes
        (
            'for h in $(scontrol show hostnames $SLURM_NODELIST); do ssh $h "cd $PWD; torchrun -r 1 a.py" & done\nwait',
            TWO,
            "torchrun -r 1 a.py",
        ),
        # head only
        (
            "echo a\npython a.py\necho b",
            TWO,
            'echo a\nif [ "$SKYPILOT_NODE_RANK" = 0 ]; then\n    python a.py\nfi\necho b',
        ),
        # chores
        ("source /etc/profile.d/modules.sh\n./a", "", "./a"),
        ("source activate env\n./a", "", "conda activate env\n./a"),
        ("module purge; module list\n./a", "", "./a"),
    ],
)
def test_idioms(body: str, directives: str, run: str) -> None:
    found = export(script(body, directives))
    assert not found.needs, found.needs
    assert found.fields["run"] == run + "\n"


@pytest.mark.parametrize(
    ("after", "remains"),
    [("python b.py\nwait", True), ("sleep 9\npython b.py", True), ("wait\npython b.py", False), ("wait", False)],
)
def test_a_program_runs_beside_what_a_loop_has_started_on_the_nodes(after: str, remains: bool) -> None:
    loop = "for h in $(scontrol show hostnames $SLURM_NODELIST); do\n    ssh $h ./serve &\ndone\n"
    found = export(script(loop + after, TWO))
    assert not found.needs
    assert ("ssh $h ./serve &\n" in found.fields["run"]) is remains
    assert ("wait" in found.fields["run"]) is (remains and "wait" in after)


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


def test_torchrun_gets_skypilots_names() -> None:
    body = (
        "export MASTER_PORT=$((12000 + SLURM_JOBID % 1000))\n"
        "srun torchrun --nnodes $SLURM_NNODES --node_rank $SLURM_NODEID --nproc_per_node $SLURM_GPUS_ON_NODE t.py"
    )
    found = export(script(body, TWO + ";--gpus-per-node=8"))
    assert found.fields["envs"] == {"MASTER_PORT": "29500"}
    assert found.fields["run"] == (
        'torchrun --nnodes $SKYPILOT_NUM_NODES --master_addr "$(echo "$SKYPILOT_NODE_IPS" | head -n 1)" '
        "--node_rank $SKYPILOT_NODE_RANK "
        "--nproc_per_node $SKYPILOT_NUM_GPUS_PER_NODE t.py\n"
    )


def test_mpirun_gets_the_nodes() -> None:
    found = export(script("mpirun ./a.out", "-N2 --ntasks-per-node=4"))
    assert "-H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:4/' | paste -sd, -) -np 8 ./a.out" in found.fields["run"]


@pytest.mark.parametrize(
    ("body", "directives", "why"),
    [
        ("srun python a.py", "-n4", "4 tasks on 1 node"),
        ("srun --mpi=pmix python a.py", "-N2 --ntasks-per-node=4", "8 tasks on 2 nodes"),
        ("srun ./a $SLURM_PROCID", "-N2 --ntasks-per-node=4", "8 tasks on 2 nodes"),
        ("make\nsrun ./a", "-N2 --ntasks-per-node=4", "8 tasks on 2 nodes"),
        ("srun torchrun --nnodes 4 --nproc_per_node 1 a.py", "-N2 --ntasks-per-node=2", "4 tasks on 2 nodes"),
        ("srun --multi-prog roles", "", "multi-prog"),
        ("srun --het-group=0 ./a", "", "het-group"),
        ("srun -w $n ./a", TWO, "nodelist"),
        ("srun $SRUN_ARGS ./a", "", "from a variable"),
        ("x=$(sbatch --parsable b.sh)", "", "sbatch needs"),
        ("squeue --me", "", "squeue needs"),
        ("scontrol requeue 12", "", "scontrol needs"),
        ("echo ${SLURM_RESTART_COUNT:-0}", "", "no counterpart of SLURM_RESTART_COUNT"),
        ("echo $SLURM_PROCID", "-n2", "no counterpart of SLURM_PROCID"),
        ("seq 3 | xargs -P2 srun -n1 echo", "", "xargs starts srun"),
        ("awk '{print ENVIRON[\"SLURM_JOB_ID\"]}'", "", "no shell expands it"),
    ],
)
def test_what_needs_slurmsky_on_the_nodes(body: str, directives: str, why: str) -> None:
    found = export(script(body, directives))
    assert any(why in entry.why for entry in found.needs), found.needs
    assert re.fullmatch(r"sh ~/\.slurmsky/[\w-]+/start\.sh\n", found.fields["run"])


def test_a_het_job_has_the_nodes_of_all_components() -> None:
    found = export("#!/bin/bash\n#SBATCH -N1 -c2\n#SBATCH hetjob\n#SBATCH -N2 -c4\nsrun --het-group=0,1 ./a\n")
    assert any("different sizes" in entry.why for entry in found.needs)
    assert found.fields["num_nodes"] == 3 and found.fields["resources"]["cpus"] == "4+"


@pytest.mark.parametrize(
    ("body", "setup"),
    [
        ("pip install -r requirements.txt\npython a.py", "pip install -r requirements.txt"),
        ("python -m pip install x", "python -m pip install x"),
        ("git clone https://example.org/x.git", "git clone https://example.org/x.git"),
        ("cd sub\npip install -e .", "(cd sub && pip install -e .)"),
        ("V=2\npip install x==$V", "V=2; pip install x==$V"),
        ("module load samtools/1.17", "bioconda samtools=1.17"),
        ("module load gcc/12 && ml minimap2/2.1", "bioconda minimap2=2.1"),
        ("if true; then module load bcftools; fi", "bioconda bcftools"),
        ("module load python/3.11.4", "conda create -y -n job python=3.11"),
    ],
)
def test_setup(body: str, setup: str) -> None:
    assert setup in export(script(body)).fields["setup"]


def test_python_modules_share_one_environment() -> None:
    setup = export(script("module load python/3.10 python/3.10\nmodule load anaconda3\npython a.py")).fields["setup"]
    assert setup.count("conda create") == 1 and "activate job\nconda install -y -c conda-forge numpy" in setup


def test_a_program_in_a_variable_is_installed() -> None:
    assert "gromacs=*=mpi_openmpi*" in export(script("EXE=gmx_mpi\nmpirun -np 4 $EXE mdrun")).fields["setup"]


def test_steps_without_nodes_have_those_of_the_header() -> None:
    found = export(script("srun -n 64 ./a.out", "-N 2"))
    assert found.fields["num_nodes"] == 2 and found.fields["resources"]["cpus"] == "32+"


def test_julia_reads_its_project_folder() -> None:
    found = export(script("module load julia\njulia --project=. -e 'include(\"a.jl\")'"))
    assert found.fields["workdir"] == "." and "conda" not in found.fields["setup"]


def test_secrets_do_not_reach_the_file() -> None:
    found = export(script("export HF_TOKEN=hf_abcdef\nexport WANDB_API_KEY='k y'\n./a"))
    assert "hf_abcdef" not in found.yaml and "k y" not in found.yaml
    assert found.fields["secrets"] == {"HF_TOKEN": None, "WANDB_API_KEY": None}


def test_pyxis() -> None:
    body = "srun --container-image=user@nvcr.io#nvidia/pytorch:24.01-py3 --container-mounts=/fsx:/fsx python t.py"
    found = export(script(body, "--gpus=8"))
    assert found.fields["resources"]["image_id"] == "docker:nvcr.io/nvidia/pytorch:24.01-py3"
    assert "/fsx is on the old cluster" in found.yaml


def test_mapped_paths_are_mounted_where_they_are_used() -> None:
    site = load('[paths]\n"/scratch" = "s3://team/scratch"\n"/home" = "volume:home"\n', "site")
    found = export(script("./a /scratch/x/y"), site=site)
    assert found.fields["file_mounts"] == {"/scratch": {"source": "s3://team/scratch", "mode": "MOUNT"}}
    assert "volumes" not in found.fields


@pytest.mark.parametrize(
    "line", ["--time=1:00:00", "--mail-type=END", "--dependency=singleton", "--signal=USR1@60", "--exclusive", "-o x"]
)
def test_nothing_is_left_out_in_silence(line: str) -> None:
    found = export(script("./a", line))
    assert found.dropped, line


def test_first_lines() -> None:
    assert export("#!/bin/bash -eu\n./a\n").fields["run"] == "set -eu\n./a\n"
    assert export("#!/bin/sh\necho wow!x\n").fields["run"].startswith("set +H")
    assert export("#!/usr/bin/env python3\nprint(1)\n", name="a.py").fields["run"] == "python3 a.py\n"


def test_arguments() -> None:
    text = script("corpus=$1\nawk '{print $2}' f")
    assert "set --" in export(text).fields["run"]
    assert "set --" not in export(script("awk '{print $2}' f\nf() { echo $1; }")).fields["run"]


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


def test_steps_with_several_images_bring_them_themselves() -> None:
    found = export(script("srun --container-image=a/b:1 x\nsrun --container-image=c/d:1 y"))
    assert [(need.line, need.why) for need in found.needs] == [(4, "a task has one image")]
    assert "image_id" not in found.fields["resources"]
    found = export(script("srun --container-image=a/b:1 x\nsrun --container-image=a/b:1 y"))
    assert (found.needs, found.fields["resources"]["image_id"]) == ((), "docker:a/b:1")


def test_names_are_whole_and_differ() -> None:
    one = export(script("python a.py", "-J a-long-name-of-an-experiment-1"))
    two = export(script("python a.py", "-J a-long-name-of-an-experiment-2"))
    assert one.name == "a-long-name-of-an-experiment-1" and two.name != one.name


def test_an_exclusive_node_is_not_one_cpu() -> None:
    found = export(script("./run", "--exclusive"))
    assert found.fields["resources"]["cpus"] == "16+" and "whole node" in found.yaml


def test_a_step_says_how_many_cpus_the_node_needs() -> None:
    found = export(script("srun -n 48 -c 7 ./run", "-N1"))
    assert found.fields["resources"]["cpus"] == "336+"


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "TOKEN_COUNT", "SECRETARY"])
def test_names_that_only_sound_secret(name: str) -> None:
    found = export(script(f"export {name}=false\npython a.py"))
    assert "secrets" not in found.fields and found.fields["envs"] == {name: "false"}


@pytest.mark.parametrize("name", ["NCCL_SOCKET_IFNAME", "OMPI_MCA_btl", "NCCL_IB_HCA", "UCX_NET_DEVICES"])
def test_network_cards_of_the_old_cluster_are_left_out_and_reported(name: str) -> None:
    found = export(script(f"export {name}=ib0\npython a.py"))
    assert "envs" not in found.fields and f"export {name}=ib0" in found.yaml.split("name:")[0]


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


def test_the_submit_folder_in_a_container_is_a_link() -> None:
    body = "srun --container-image=a/b --container-mounts=.:/workspace/x,$PWD/out:/results python /workspace/x/t.py"
    found = export(script(body))
    assert found.fields["workdir"] == "." and "ln -sfn ~/sky_workdir /workspace/x" in found.fields["run"]
    assert "ln -sfn ~/sky_workdir/out /results" in found.fields["run"]


def test_one_mpi_program_on_several_nodes_is_not_several_programs() -> None:
    assert "mpirun -np 2 -H" in export(script("srun ./xhpl", TWO)).fields["run"]
    assert not export(script("srun python train.py", TWO)).needs


TUTORIAL = """nodes=( $( scontrol show hostnames $SLURM_JOB_NODELIST ) )
nodes_array=($nodes)
head_node=${nodes_array[0]}
head_node_ip=$(srun --nodes=1 --ntasks=1 -w "$head_node" hostname --ip-address)
srun torchrun --nnodes 4 --nproc_per_node 1 --rdzv_backend c10d --rdzv_endpoint $head_node_ip:29500 /shared/x.py 50
"""


def test_the_address_of_the_first_node_is_skypilots() -> None:
    found = export(script(TUTORIAL, "-N4 --ntasks=4 --gpus-per-task=1"))
    assert not found.needs
    assert 'head_node_ip=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)' in found.fields["run"]


@pytest.mark.parametrize(
    "body, kept, setup",
    [
        ("sbcast -f -C ./prog /tmp/prog\n/tmp/prog", "cp ./prog /tmp/prog", ""),
        ("mkdir d && cd d && wget http://x/y", "cd d && wget http://x/y", ""),
        ("cd d\nwget http://x/y", "wget http://x/y", ""),
        ("cp -r . $TMPDIR && cd $TMPDIR\npython a.py", "cp -r . $TMPDIR && cd $TMPDIR", ""),
        ("mpirun ./a.out", "mpirun --use-hwthread-cpus -np 2 ./a.out", "openmpi-bin"),
    ],
)
def test_commands_stay_what_they_were(body: str, kept: str, setup: str) -> None:
    found = export(script(body, "-n2"))
    assert kept in found.fields["run"] and setup in found.fields.get("setup", "")


def test_variables_of_an_export_option_and_declared_inputs_are_envs() -> None:
    found = export(script(': "${DATA:?}"\npython a.py --lr $LR', "--export=ALL,LR=0.1,BS=32"))
    assert found.fields["envs"] == {"LR": "0.1", "BS": "32", "DATA": None}


@pytest.mark.parametrize("body", ["./a.out", "python a.py", "make", "source env.sh", "Rscript a.R", "cat in.nml"])
def test_files_beside_the_script_travel(body: str) -> None:
    assert export(script(body)).fields["workdir"] == "."


def test_a_server_opens_its_port() -> None:
    found = export(script("vllm serve m --port 9000", "--gpus=1"))
    assert found.fields["resources"]["ports"] == 9000 and "sky serve" in found.yaml


def test_a_script_of_another_shell_that_calls_srun_goes_to_the_agent() -> None:
    assert export("#!/bin/tcsh\n#SBATCH -n 4\nsrun vasp_std\n").needs


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


# --- what runs once under Slurm and on every node under SkyPilot; texts that hold commands


@pytest.mark.parametrize(
    "line, becomes",
    [
        ("HOST=$(hostname)", 'HOST=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)'),
        ("export MASTER_ADDR=$(hostname -s)", 'MASTER_ADDR=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)'),
        ("PORT=$((RANDOM % 1000 + 20000))", "PORT=29500"),
    ],
)
def test_values_of_the_first_node_are_the_same_on_all(line: str, becomes: str) -> None:
    body = f"{line}\nsrun torchrun --rdzv_id=$RANDOM --rdzv_endpoint=$HOST:$PORT x.py"
    found = export(script(body, TWO))
    assert becomes in found.yaml and "--rdzv_id=101" in found.yaml and not found.needs
    assert line.partition("$(")[2] in export(script(body, "-n1")).yaml


def test_the_scripts_own_folder_is_the_submit_folder() -> None:
    found = export(script('here=$(dirname "$0")\npython ${here}/x.py'))
    assert "here=$HOME/sky_workdir" in found.yaml and found.fields["workdir"] == "."


@pytest.mark.parametrize(
    "body",
    ['run="srun -n 4 ./x"\n./later "$run"', "cat > run.sh <<E\nsrun ./x\nE\nbash run.sh",
     "cat > bind <<E\nexport CUDA_VISIBLE_DEVICES=\\$SLURM_LOCALID\nE\nbash bind"],
)  # fmt: skip
def test_slurms_words_in_a_text_need_the_agent(body: str) -> None:
    assert export(script(body, "-n4")).needs


def test_a_text_that_only_mentions_a_command_needs_no_agent() -> None:
    assert not export(script('echo "submit with sbatch x.sh"\ncat <<E\nto end it: scancel 1\nE')).needs


def test_every_place_of_the_old_cluster_is_named_and_its_stores_are_set() -> None:
    found = export(script("CMD='x.py --data /gpfs/in'\npython $CMD $HOME/soft/a $SCRATCH/b"), site=load("", "none"))
    assert "# TODO: /gpfs is on" in found.yaml.replace("/gpfs/in", "/gpfs") and "# TODO: ~/soft is on" in found.yaml
    assert found.fields["envs"]["SCRATCH"] == "/scratch"


def test_packages_go_into_the_environment_that_run_activates() -> None:
    setup = export(script("module load gcc python/3.11\npip install x")).fields["setup"].splitlines()
    assert setup.index("conda activate job") < setup.index("pip install x")


# --- order, folders and programs


def test_an_install_between_programs_stays_at_its_place() -> None:
    found = export(script("pip install pandas==1.4\npython old.py\npip install pandas==2.1\npython new.py"))
    assert "pandas==1.4" in found.fields["setup"] and "pandas==2.1" not in found.fields["setup"]
    assert found.fields["run"] == "python old.py\npip install pandas==2.1\npython new.py\n"


def test_an_install_between_programs_runs_on_every_node() -> None:
    run = export(script("python prepare.py\npip install x\nsrun python train.py", TWO)).fields["run"]
    assert run.index("fi\n") < run.index("pip install x") < run.index("python train.py")


@pytest.mark.parametrize(
    ("body", "levels"),
    [
        ("python ../src/main.py", 1),
        ("DATA=../../data\npython main.py --data=$DATA/set", 2),
        ("cd sub\npython ../main.py", 0),
        ("cd ..\npython main.py", 1),
        ("(cd ..; ls)\npython ../main.py", 1),
        ("cd /work/x\npython ../main.py", 0),
        ("echo ../x\npython main.py", 0),
        ("cd $SLURM_SUBMIT_DIR/..\npython main.py", 1),
    ],
)
def test_the_workdir_begins_as_far_above_as_the_script_reads(body: str, levels: int) -> None:
    data = script(body).encode()
    request = moving.request(data, "job.sh")
    folder = "/data/group/project/exp/jobs"
    found = export_yaml(data.decode(), [request.components[0].evolve(chdir=folder)], SITE, "main", folder=folder)
    names = ["project", "exp", "jobs"][-levels:] if levels else []
    assert found.fields["workdir"] == "/".join([".."] * levels or ["."]) if "cd /work" not in body else True
    assert found.fields["run"].startswith(f"cd {'/'.join(names)}\n") == bool(levels)


def test_a_folder_above_an_unknown_submit_folder_is_named_in_a_comment() -> None:
    assert "../...: above the workdir" in export(script("python ../main.py")).yaml


def test_variables_that_slurm_sets_only_with_an_option_stay_empty() -> None:
    found = export(script('echo "SLURM_NNODES" $SLURM_CPUS_PER_TASK\n./a.out'))
    assert not found.needs and "Slurm sets it only with --cpus-per-task" in found.yaml


def test_a_script_that_wants_an_array_gets_its_index_by_env() -> None:
    found = export(script("python a.py $SLURM_ARRAY_TASK_ID"))
    assert not found.needs and found.fields["envs"] == {"TASK_ID": None}


def test_text_with_spaces_at_the_ends_of_lines_stays_readable() -> None:
    found = export(script("module purge   # none \npython a.py  \n  \nexit "))
    assert "run: |\n" in found.yaml


@pytest.mark.parametrize("body", ["valgrind mpirun -n 2 ./a.out", "mpirun -n 2 ./a.out"])
def test_mpirun_is_installed_also_below_another_program(body: str) -> None:
    assert "openmpi-bin" in export(script(body, "-n2")).fields["setup"]


def test_a_container_runtime_is_installed_also_beside_an_environment() -> None:
    body = 'singularity exec /data/a.sif bash -c "\nconda activate vis\npython main.py\n"'
    assert "apptainer" in export(script(body)).fields["setup"]


def test_a_python_module_does_not_hide_the_framework_of_the_image() -> None:
    found = export(script("module load pytorch/2.1 scipy-stack\npython a.py"), site=load("", "none"))
    assert "pytorch" in found.fields["resources"]["image_id"] and "conda" not in found.yaml
    assert "pip install numpy" in found.fields["setup"]


def test_the_gpu_is_that_of_the_partition() -> None:
    found = export(script("python a.py", "--gpus=1;-p a100_1,v100"), site=load("", "none"))
    assert found.fields["resources"]["accelerators"] == "A100:1"
    noted = export(script("nvidia-smi", "-p v100"), site=load("", "none"))
    assert noted.fields["resources"]["accelerators"] == "V100:1" and "GPUs without a request" in noted.yaml


# --- missing programs and files


def test_a_function_whose_body_begins_on_the_next_line_stays_whole() -> None:
    run = export(script("module ()\n{\n  echo hi\n}\n./prepare\nsrun ./a.sh", TWO)).fields["run"]
    assert "module ()\n{\n  echo hi\n}\n" in run


@pytest.mark.parametrize(
    ("line", "hosts"),
    [
        ("mpirun ./a.out", "-H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:4/' | paste -sd, -) -np 8 ./a.out"),
        ("mpirun -n 16 ./a.out", "-H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:8/' | paste -sd, -) -n 16 ./a.out"),
        ("mpirun -ppn 4 ./a.out", '-hosts $(echo "$SKYPILOT_NODE_IPS" | paste -sd, -) -np 8 -ppn 4 ./a.out'),
        ("module load impi\nmpirun ./a", '-hosts $(echo "$SKYPILOT_NODE_IPS" | paste -sd, -) -ppn 4 -np 8 ./a'),
    ],
)
def test_mpirun_gets_the_nodes_in_its_own_spelling(line: str, hosts: str) -> None:
    found = export(script(line, "-N2 --ntasks-per-node=4"), site=load("", "none"))
    assert f"mpirun {hosts}" in found.fields["run"]
    assert ("raise cpus" in found.yaml) == ("-n 16" in line)


def test_a_bucket_is_mounted_at_the_folder_of_a_file() -> None:
    found = export(script("python a.py --output /project/me/out/all.vcf.gz"))
    assert list(found.fields["file_mounts"]) == ["/project/me/out"]


def test_directives_that_sbatch_does_not_read_are_named() -> None:
    found = export("#!/bin/bash\n# SBATCH --mem=4G\nset -e\n#SBATCH --nodes=2\npython a.py\n")
    assert "num_nodes" not in found.fields and found.yaml.count("sbatch reads no directives") == 1
    assert "without a blank" in found.yaml


def test_a_gpu_type_that_skypilot_lacks_is_named() -> None:
    assert "rtx is not a GPU name of SkyPilot" in export(script("python a.py", "--gres=gpu:rtx:1")).yaml


def test_variables_of_the_script_may_begin_as_slurms_do() -> None:
    found = export(script("SLURM_INOUT_DIR=data\npython a.py $SLURM_INOUT_DIR"))
    assert not found.needs and "python a.py $SLURM_INOUT_DIR" in found.fields["run"]


def test_programs_that_the_user_must_bring_are_named() -> None:
    yaml = export(script("M=matlab\n$M -r x\nmytool --fast")).yaml
    assert "matlab: licensed software" in yaml and "mytool: no package is known" in yaml


# --- variables of the caller's environment


def test_inputs_of_a_script_are_required_envs_and_single_ones_are_named() -> None:
    many = export(script("python a.py $LR $TARGET $SEED"))
    assert many.fields["envs"] == {"LR": None, "TARGET": None, "SEED": None}
    one = export(script("python a.py $LR"))
    assert "$LR (line 3): nothing in the script sets it" in one.yaml and "envs" not in one.fields


def test_an_environment_that_the_script_makes_is_entered() -> None:
    body = (
        "virtualenv $SLURM_TMPDIR/env\nsource $SLURM_TMPDIR/env/bin/activate\npip install --no-index numpy\npython a.py"
    )
    found = export(script(body))
    assert "source /tmp/env/bin/activate\npip install numpy\npython a.py\n" in found.fields["run"]
    assert "--no-index (line 5): the wheels" in found.yaml


def test_packages_are_installed_in_the_environment_that_the_script_creates() -> None:
    made = "conda init bash\nconda create -y --name job python=3.10\nconda activate job\npip install x\npython a.py"
    found = export(script(made))
    create, enter, install = (found.fields["setup"].index(word) for word in ("create", "conda activate job", "pip"))
    assert create < enter < install and "environment.yml" not in found.yaml
    assert "conda init" not in found.fields["run"]
    found = export(script("if true; then\nconda create -y -n job\nfi\nconda activate job\npip install x\npython a.py"))
    assert "pip install x" in found.fields["run"] and "setup" not in found.fields


def test_a_path_of_gnu_parallel_names_the_folder_before_its_replacement_string() -> None:
    found = export(script("parallel python a.py /work/{1}/x /{2}/y ::: a b ::: c d"))
    assert "file_mounts: {/work: {source: s3://BUCKET/work," in found.yaml and "BUCKET/{" not in found.yaml


@pytest.mark.parametrize("line", ["mamba activate vis", "E=vis\nconda activate $E"])
def test_environments_are_created_however_they_are_entered(line: str) -> None:
    assert "conda env create -n vis" in export(script(f"{line}\npython a.py")).fields["setup"]


def test_programs_below_parallel_are_installed() -> None:
    assert "apptainer" in export(script("parallel singularity exec a.sif sh x.sh ::: 1 2")).fields["setup"]


def test_variables_that_are_not_slurms_stay_empty() -> None:
    found = export(script('[ "$SLURM_JOBTMP" ] && cd $SLURM_JOBTMP\npython a.py'))
    assert not found.needs and "not a variable of Slurm" in found.yaml


def test_long_paths_are_plain_keys() -> None:
    found = export(script(f"python a.py --save /ckpts/{'x' * 130}/a/b"))
    assert "? " not in found.yaml.partition("run:")[0]


# --- servers and arrays


def test_a_server_becomes_a_service_with_its_health_check() -> None:
    request = moving.request(script("vllm serve m --port 8123", "--gpus=1").encode(), "job.sh")
    source = script("vllm serve m --port 8123", "--gpus=1")
    fields = export_yaml(source, request.components, SITE, "main", serve=True).fields
    assert fields["service"] == {"readiness_probe": {"path": "/health", "initial_delay_seconds": 1800}, "replicas": 1}
    assert fields["resources"]["ports"] == 8123
    assert "slurmsky translate --serve" in export_yaml(source, request.components, SITE, "main").yaml


def test_all_indices_of_an_uneven_array_are_launched() -> None:
    listed = ",".join(str(index * index) for index in range(1, 31))
    found = export(script("python a.py $SLURM_ARRAY_TASK_ID", f"--array={listed},950-955"))
    assert " 900 $(seq 950 955); do" in found.yaml


# --- folders and compilers


@pytest.mark.parametrize(
    ("option", "run", "comment"),
    [
        ("sub/x", "cd sub/x\npython a.py\n", ""),
        ("/old/place", "python a.py\n", "a copy of /old/place of the old cluster"),
    ],
)
def test_chdir_is_where_run_begins_or_a_comment(option: str, run: str, comment: str) -> None:
    source = script("python a.py", f"--chdir={option}")
    found = export_yaml(source, moving.request(source.encode(), "job.sh").components, SITE, "main", folder="/submit")
    assert found.fields["run"] == run and found.fields["workdir"] == "." and comment in found.yaml


@pytest.mark.parametrize(
    ("body", "options", "link"),
    [
        ("python /old/place/a.py --data /old/place/in.csv", "--chdir=/old/place", "/old/place"),
        ("cd /home/me/model\npython a.py --data /home/me/model/x.csv", "", "/home/me/model"),
        ("python /home/me/model/train.py", "", "/home/me/model"),
        ("D=/home/me/model\ncd $D\nmkdir out\ncd out\npython $D/a.py", "", "/home/me/model"),
        ("python ~/model/train.py", "", "~/model"),
        ("cd /scratch/$USER/model\npython /scratch/$USER/model/a.py", "", "/scratch/$USER/model"),
        ("cd /home/me/model\npython a.py", "", ""),
        ("cd /home/me/model\nconda activate model\npython a.py", "", ""),
    ],
)
def test_the_former_path_of_the_workdir_becomes_a_link(body: str, options: str, link: str) -> None:
    source = script(body, options)
    found = export_yaml(source, moving.request(source.encode(), "job.sh").components, SITE, "main", folder="/submit")
    last = body.split("\n")[-1]
    assert found.fields["run"].endswith(f"{last}\n") and "bucket and add" not in found.yaml
    assert found.fields["workdir"] == "."
    assert link in re.findall(r"ln -sfn ~/sky_workdir (\S+)", found.yaml) or [""]


def test_no_mount_contains_the_link_of_the_workdir() -> None:
    found = export(script("cd /home/me/model\npython /home/me/model/a.py --data /home/me/data/x --out /home/me"))
    assert "{/home/me/data: " in found.yaml and "{/home/me: " not in found.yaml
    found = export(script("python a.py --data /data/me/in --output_dir /data/me/out"))
    assert "{/data/me/in: " in found.yaml and "{/data/me: " not in found.yaml


def test_a_path_that_the_site_serves_by_nfs_is_mounted() -> None:
    site = load('[paths]\n"/data" = "nfs:10.0.0.5:/export"\n', "site")
    found = export(script("python a.py --data /data/in --output_dir /data/out"), site=site)
    assert found.fields["config"]["kubernetes"] and "file_mounts" not in found.yaml


@pytest.mark.parametrize(
    ("body", "needed"),
    [
        ("/home/me/bin/solver 14 0", True),
        ("EXE=./main.ex\nmpirun $EXE", True),
        ("python -m src.train", True),
        ("python -W ignore -m src.train", True),
        ("python -c 'import os; os.chdir(\"a\")'", True),
        ("unknowntool", True),
        ("module load lammps\nlmp", True),
        ("hostname\nnvidia-smi", False),
        ("python -c 'import torch; print(torch.__version__)'", False),
        ("python -m venv /tmp/e\npython --version\nnvcc --version", False),
        ("cp /data/a /data/b", False),
    ],
)
def test_programs_of_the_user_need_the_workdir(body: str, needed: bool) -> None:
    assert ("workdir" in export(script(body)).fields) is needed


def test_results_that_the_script_names_are_to_be_copied() -> None:
    found = export(script("./a > a.log\npython b.py --output_dir out 2> err.txt")).yaml
    assert "# to keep a.log out, copy to a bucket at the end:" in found
    assert "# to keep" not in export(script("./a > /data/a.log")).yaml


@pytest.mark.parametrize(
    ("options", "run"),
    [
        ("-n1", "mpirun -np 1 ./a\n"),
        ("-n4", "mpirun --use-hwthread-cpus -np 4 ./a\n"),
        ("-N1;--exclusive", "mpirun ./a\n"),
    ],
)
def test_mpirun_starts_as_many_ranks_as_under_slurm(options: str, run: str) -> None:
    assert export(script("mpirun ./a", options)).fields["run"] == run


def test_intel_mpi_starts_as_many_ranks_as_under_slurm() -> None:
    found = export(script("module load impi\nmpirun ./a", "-n4"), site=load("", "none"))
    assert found.fields["run"] == "mpirun -np 4 ./a\n"


def test_a_checkpoint_that_is_only_loaded_is_no_bucket_for_new_ones() -> None:
    found = export(script("python a.py --load_ckpt /mnt/nfs/me/m.pth"))
    assert "file_mounts" not in found.fields and "/mnt/nfs is on the old cluster" in found.yaml
    both = export(script("python a.py --load /ckpt/run --save /ckpt/run"))
    assert list(both.fields["file_mounts"]) == ["/ckpt"]


CONDA_INIT = """__conda_setup="$('/apps/conda/bin/conda' 'shell.bash' 'hook' 2> /dev/null)"
if [ $? -eq 0 ]; then
    eval "$__conda_setup"
else
    if [ -f "/apps/conda/etc/profile.d/conda.sh" ]; then
        . "/apps/conda/etc/profile.d/conda.sh"
    else
        export PATH="/apps/conda/bin:$PATH"
    fi
fi
unset __conda_setup
conda activate mine
python a.py"""


def test_the_block_of_conda_init_is_left_out() -> None:
    found = export(script(CONDA_INIT))
    assert found.fields["run"] == "conda activate mine\npython a.py\n"
    assert "/apps" not in found.yaml and "the block of conda init" in found.yaml


def test_flags_of_the_first_line_are_set() -> None:
    assert export("#!/bin/bash -fx\n./a\n").fields["run"] == "set -fx\n./a\n"


def test_scripts_that_run_unchanged_are_named_once() -> None:
    found = export(script("bash a.sh\nbash b.sh\nsource c.sh")).yaml
    assert "# translate what is Slurm's and the old cluster's in a.sh, b.sh, c.sh, too\n" in found


NONE = load("", "none")


def test_a_package_is_installed_once_with_the_scripts_version() -> None:
    setup = export(script("module load python/3.9 samtools/1.9\nsamtools view a.bam\nbwa index a.fa"), site=NONE)
    assert setup.fields["setup"].count("conda install") == 1 and setup.fields["setup"].count("samtools") == 1
    assert "samtools=1.9" in setup.fields["setup"]


@pytest.mark.parametrize(
    ("body", "apt"),
    [
        ("module load gromacs\nsrun gmx_mpi mdrun", "openmpi-bin"),
        ("mpirun ~/lammps/src/lmp_mpi -in a.in", "openmpi-bin"),
        ("java -jar /apps/trimmomatic-0.36.jar PE a b", "default-jdk"),
    ],
)
def test_what_a_package_contains_is_not_installed_beside_it(body: str, apt: str) -> None:
    assert apt not in export(script(body, "-n4"), site=NONE).fields["setup"]


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("module load gcc python/3.11\npython a.py", False),
        ("module load gcc\nmake && ./a.out", True),
        ("module load gcc\n./solver", True),
        ("module load openmpi\npython a.py", False),
        ("module load openmpi\nmpirun ./a.out", True),
        ("module load openmpi\nmpicc a.c", True),
        ("module load intel\nconda activate e\nsleap-train a", False),
        ("module load intel\nmpirun ~/lammps/src/lmp_mpi", False),
        ("module load intel\n./solver", True),
    ],
)
def test_toolchains_that_nothing_uses_are_left_out(body: str, kept: bool) -> None:
    found = export(script(body, "-n2"), site=NONE).yaml
    assert ("nothing in the script compiles with it" not in found) is kept
    assert ("build-essential" in found or "libopenmpi-dev" in found or "hpckit" in found) is kept


def test_intels_image_is_not_chosen_beside_another_mpi() -> None:
    found = export(script("module load intel openmpi\nmpirun ./a", "-n4"), site=NONE)
    assert "image_id" not in found.fields["resources"] and "build the program with gcc" in found.yaml
    assert found.fields["run"] == "mpirun --use-hwthread-cpus -np 4 ./a\n"


def test_programs_that_setup_installs_run_by_their_names() -> None:
    found = export(script("mpirun $HOME/lammps/src/lmp_mpi -in a.in"), site=NONE)
    assert found.fields["run"] == "mpirun -np 1 lmp_mpi -in a.in\n" and "ln -s" not in found.yaml
    jar = export(script("java -Xmx4g -jar $PICARD_HOME/picard.jar SortSam I=a"), site=NONE)
    assert jar.fields["run"] == "picard -Xmx4g SortSam I=a\n" and "picard" in jar.fields["setup"]
    assert export(script("java -jar ./mine.jar"), site=NONE).fields["run"] == "java -jar ./mine.jar\n"


def test_search_paths_of_the_old_cluster_are_left_out() -> None:
    body = "export GCC=/sw/gcc/11\nexport PATH=$GCC/bin:$PATH\nexport LD_LIBRARY_PATH=$GCC/lib:$LD_LIBRARY_PATH\n./a"
    found = export(script(body))
    assert found.fields["run"] == "./a\n" and "envs" not in found.fields
    assert "(line 4)" in found.yaml and "programs and libraries of the old cluster" in found.yaml
    own = "export PATH=$PWD/bin:$PATH\nexport PATH=$HOME/.local/bin:$PATH\nmake install --prefix=/data/x\n"
    assert export(script(f"{own}export PATH=/data/x/bin:$PATH")).fields["run"].count("export PATH") == 3


def test_variables_of_modules_have_a_value_or_are_named() -> None:
    known = export(script("module load cuda trimmomatic\n./a $CUDA_HOME $TRIMMOMATIC_HOME/adapters"), site=NONE)
    assert "export CUDA_HOME=/usr/local/cuda\n" in known.fields["run"]
    assert "export TRIMMOMATIC_HOME=$(ls -d $CONDA_PREFIX/share/trimmomatic-* | head -n 1)\n" in known.fields["run"]
    found = export(script("module load vasp\n./a $EBROOTVASP/bin"), site=NONE).yaml
    assert "$EBROOTVASP (line 4): a module of the old cluster set it" in found


def test_poetrys_environment_is_made_in_setup() -> None:
    found = export(script("module load poetry\npoetry shell\npython -m src.a"), site=NONE).fields
    assert found["run"] == 'eval "$(poetry env activate)"\npython -m src.a\n' and "workdir" in found
    assert found["setup"].endswith("poetry install\n")


def test_patterns_and_files_of_an_image_are_no_paths_of_the_old_cluster() -> None:
    body = "sed -i '/sample\\tspecies/d' a.txt\nsingularity exec docker://a/b cp /db-1/x/y ./\nnextflow run a.nf"
    assert "bucket and add" not in export(script(body), site=NONE).yaml


def test_an_unchanged_script_needs_the_folder_of_its_programs() -> None:
    found = export(script("srun -n 8 python /global/homes/me/a.py", "-N2"))
    assert found.needs and "/global/homes is on the old cluster" in found.yaml


def test_devices_that_skypilot_lacks_are_named() -> None:
    assert "--gres=dcu:4: SkyPilot has no dcu" in export(script("./a", "--gres=dcu:4"), site=load("", "none")).yaml


def test_an_image_for_nvcc_has_the_compiler() -> None:
    found = export(script("module load cuda/12.1\nnvcc a.cu && ./a.out"), site=load("", "none"))
    assert "-devel-" in found.fields["resources"]["image_id"]


def test_matlab_reads_its_working_directory() -> None:
    assert export(script("matlab -batch run_all")).fields["workdir"] == "."


@pytest.mark.parametrize(
    ("word", "name"),
    [("A100.40gb", "A100"), ("rtx2080", "RTX2080Ti"), ("volta32gb", "V100-32GB")],
)
def test_gpu_words_of_sites_are_skypilots_names(word: str, name: str) -> None:
    assert export(script("python a.py", f"--gres=gpu:{word}:1")).fields["resources"]["accelerators"] == f"{name}:1"


def test_variables_between_single_quotes_in_double_ones_keep_their_values() -> None:
    assert export(script("""srun bash -c "echo '$HOME'"\n""", TWO)).fields["run"] == """bash -c "echo '$HOME'"\n"""
    assert export(script("""srun bash -c "echo $HOME"\n""", TWO)).fields["run"] == "echo $HOME\n"


# --- Slurm's queue


def test_queries_that_only_print_to_the_log_are_left_out() -> None:
    found = export(script("python a.py\nsqueue -u $USER | head -n 3\nsacct -j $SLURM_JOB_ID\nseff $SLURM_JOB_ID"))
    assert found.fields["run"] == "python a.py\n" and not found.needs
    assert all(f"{name} -" in found.yaml or f"{name} $" in found.yaml for name in ("squeue", "sacct", "seff"))


@pytest.mark.parametrize(
    "body",
    [
        "squeue -u $USER",
        "python a.py\nsqueue > jobs.txt",
        "python a.py\nsacct -j 5 && exit 1",
        "python a.py\nn=$(squeue | wc -l)",
        "python a.py\nsqueue | ./count",
        "while squeue -j 5; do sleep 1; done\npython a.py",
    ],
)
def test_queries_whose_output_or_exit_code_counts_keep_the_queue(body: str) -> None:
    assert export(script(body)).needs


@pytest.mark.parametrize(
    "line",
    [
        "toil-cwl-runner --batchSystem slurm a.cwl",
        "python train.py --launcher=slurm",
        "python train.py hydra/launcher=submitit_slurm",
    ],
)
def test_programs_that_use_slurm_themselves_get_it(line: str) -> None:
    assert export(script(line)).needs


@pytest.mark.parametrize("line", ["nextflow run a.nf -profile docker", "python a.py --out slurm", "snakemake -j 4"])
def test_programs_without_slurm_stay_plain(line: str) -> None:
    assert not export(script(line)).needs


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("nextflow.config", "process { executor = 'slurm' }", "nextflow run main.nf"),
        ("prof/config.yaml", "executor: slurm\n", "snakemake --profile prof"),
    ],
)
def test_configurations_in_the_submit_folder_that_submit_are_noticed(
    tmp_path: Path, file: str, text: str, line: str
) -> None:
    source = script(line)
    components = moving.request(source.encode(), "job.sh").components
    assert not export_yaml(source, components, SITE, "main", folder=str(tmp_path)).needs
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert export_yaml(source, components, SITE, "main", folder=str(tmp_path)).needs


# --- versions and characters


def test_modules_of_another_version_are_named() -> None:
    found = export(script("module load gromacs/2021.3 python/3.9.2 jax\npython a.py"), site=load("", "none")).yaml
    assert "module load gromacs/2021.3: setup installs a current version" in found
    assert "module load jax: no version is named" in found and "python/3.9.2:" not in found


def test_invisible_characters_are_named_and_run_stays_a_block() -> None:
    found = export(script("python\u200b a.py\n# a\u00a0b"))
    assert "U+200B (line " in found.yaml and "\nrun: |\n" in found.yaml
    assert yaml.safe_load(found.yaml)["run"] == "python\u200b a.py\n# a\u00a0b\n"


# --- several modules


def test_programs_of_setup_are_in_the_environment_that_run_enters() -> None:
    found = export(script("module load python opencv\npython a.py"), site=load("", "none"))
    assert "conda install -y -c conda-forge" in found.fields["setup"] and "-n base" not in found.fields["setup"]


def test_cuda_wins_over_compilers_and_the_other_image_is_named() -> None:
    found = export(script("module load intel cuda/12.1\n./a.out", "--gpus=1"), site=load("", "none"))
    assert "nvidia/cuda" in found.fields["resources"]["image_id"]
    assert "module load intel: a task has one image" in found.yaml


def test_cuda_without_a_request_for_gpus_is_a_comment() -> None:
    found = export(script("module load cuda/12.1\n./a.out"), site=load("", "none"))
    assert "requests no GPU" in found.yaml and "accelerators" not in found.fields["resources"]


@pytest.mark.parametrize("value", ["References/a.fa", "'fastqList.txt'"])
def test_files_that_variables_name_need_the_workdir(value: str) -> None:
    assert export(script(f"ref={value}\nsome_tool in=$ref")).fields["workdir"] == "."


def test_a_start_file_in_a_variable_is_named() -> None:
    assert "$CONDA_ACTIVATE" in export(script("source $CONDA_ACTIVATE env\npython a.py")).yaml


@pytest.mark.parametrize(
    ("body", "directives", "run"),
    [
        (
            "srun --mpi=pmix ./a",
            "-N2 --ntasks-per-node=4",
            "mpirun -np 8 -H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:4/'",
        ),
        ("srun ./a", "-n4", "mpirun -np 4 --use-hwthread-cpus ./a"),
        ("mpirun -n 4 ./a", "-n4", "mpirun --use-hwthread-cpus -n 4 ./a"),
        ("module load openmpi\nsrun python a.py", "-n4", "mpirun -np 4 --use-hwthread-cpus python a.py"),
        ("srun torchrun --nproc_per_node=4 a.py", "-N2 --ntasks-per-node=4", "torchrun --nproc_per_node=4 a.py"),
        ("cd /home/me/model\npython train.py --data x.csv", "", "python train.py --data x.csv"),
        ("cd src\npython train.py\ncd /home/me/model\npython a.py", "", "cd src\npython train.py\ncd /home/me/model\n"),
        ("python a.py $1", "", 'set -- "$ARG1"'),
        ("conda activate /home/me/envs/torch", "", "conda activate torch"),
        ("j=$SLURM_JOB_ID\necho $((j+1))", "", "j=$SKYPILOT_MANAGED_JOB_ID"),
        ("export RANK=$SLURM_PROCID\ntorchrun a.py", TWO, "torchrun a.py"),
        ("cat <<END\nscancel $SLURM_JOB_ID\nEND", "", "scancel $SKYPILOT_TASK_ID"),
        ("# about\n#SBATCH -t 1\n\n# the modules\nmodule load gcc\n\necho a", "", "echo a"),
    ],
)
def test_a_run_block_as_a_person_writes_it(body: str, directives: str, run: str) -> None:
    found = export(script(body, directives))
    assert not found.needs, found.needs
    assert run in found.fields["run"]


def test_setup_has_one_line_for_each_installer() -> None:
    found = export(
        script(
            "module load gcc openmpi\nmodule load samtools\nmodule load python/3.11\nmake\nsamtools view a.bam | bwa x"
        )
    )
    lines = found.fields["setup"].splitlines()
    assert sum("apt-get install" in line for line in lines) == 1
    assert lines.index("conda activate job") < next(at for at, line in enumerate(lines) if "samtools" in line)
    assert not [line for line in lines if "command -v" in line]


def test_an_environment_of_the_old_cluster_is_made_of_a_file_in_the_workdir() -> None:
    found = export(script("module load anaconda\nconda activate torch\nnnUNetv2_train 1"))
    assert found.fields["workdir"] == "."
    assert "conda env create -n torch -f environment.yml" in found.fields["setup"]
    assert "numpy" not in found.fields["setup"]


def test_the_default_gpu_knows_the_scripts_cuda() -> None:
    found = export(script("module load cuda/10.2\npython a.py", "--gres=gpu:1"), site=load("", "none"))
    assert found.fields["resources"]["accelerators"] == "V100:1"


def test_an_array_on_slurmskys_nodes_is_reported() -> None:
    found = export(script("srun python a.py $SLURM_ARRAY_TASK_ID", "-n4 --array=1-3"))
    assert found.needs
    assert "--array=1-3" in found.yaml


# --- the script's own path, logins, dot files, GPUs and environments that no option names


@pytest.mark.parametrize(
    "line, kept",
    [
        ("P=$(scontrol show job $SLURM_JOB_ID | awk -F= '/Command=/{print $2}')", "P=$HOME/sky_workdir/job.sh"),
        ('P=$(scontrol show job "$SLURM_JOBID" | grep Command | cut -d= -f2)', "P=$HOME/sky_workdir/job.sh"),
        ("P=`scontrol show job $SLURM_JOB_ID | grep -oP 'Command=\\K\\S+'`", "P=`echo $HOME/sky_workdir/job.sh`"),
        ("P=$(scontrol show job $SLURM_JOB_ID | grep WorkDir | sed 's/.*=//')", "P=$HOME/sky_workdir"),
    ],
)
def test_the_scripts_own_path_is_below_the_workdir(line: str, kept: str) -> None:
    found = export(script(f'{line}\n./prog "$P"'))
    assert not found.needs and found.fields["workdir"] == "."
    assert found.fields["run"] == f'{kept}\n./prog "$P"\n'


def test_two_own_paths_are_two_replacements() -> None:
    query = "$(scontrol show job $SLURM_JOB_ID | awk -F= '/{}=/{{print $2}}')"
    body = f"if true; then\nP={query.format('Command')}\nW={query.format('WorkDir')}\nfi\n./prog $P $W"
    assert "P=$HOME/sky_workdir/job.sh\nW=$HOME/sky_workdir\n" in export(script(body)).fields["run"]


def test_the_state_of_the_job_still_needs_the_queue() -> None:
    assert export(script("S=$(scontrol show job $SLURM_JOB_ID | grep JobState)\n./prog $S")).needs


@pytest.mark.parametrize(
    "line, secret", [("wandb login abc123", "WANDB_API_KEY"), ("huggingface-cli login --token $T", "HF_TOKEN")]
)
def test_logins_are_secrets(line: str, secret: str) -> None:
    found = export(script(f"{line}\npython a.py"))
    assert found.fields["secrets"] == {secret: None}
    assert "login" not in found.fields["run"] and "abc123" not in found.yaml


def test_dot_files_are_copied_and_the_shells_own_are_left_out() -> None:
    found = export(script("source ~/.bashrc\nsource ~/.keys\n./prog"))
    assert found.fields["run"] == "source ~/.keys\n./prog\n"
    assert "file_mounts: {~/.keys: ~/.keys}" in found.yaml and "s3://" not in found.yaml


def test_accounting_names_that_no_site_file_lists_are_no_labels() -> None:
    found = export(script("./prog", "-A lab;-q long"))
    assert "labels" not in found.fields.get("resources", {})
    assert "--account=lab, --qos=long" in found.yaml


def test_torchruns_that_have_their_rank_have_the_first_nodes_address() -> None:
    body = "srun torchrun --nnodes 2 --node_rank $SLURM_NODEID {}t.py"
    assert '--master_addr "$(echo' in export(script(body.format(""), TWO)).fields["run"]
    given = export(script(body.format("--master_addr $HEAD "), TWO)).fields["run"]
    assert given.count("master_addr") == 1


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


def test_a_script_that_names_no_environment_gets_a_line_in_setup(tmp_path: Path) -> None:
    text = script("python train.py")
    assert "# TODO: pip install the packages that train.py imports" in export(text).fields["setup"]
    assert "imports" not in export(script("conda activate x\npython train.py")).yaml
    assert "TODO" not in export(script("srun --container-image=a/b python train.py")).yaml
    (tmp_path / "train.py").write_text("import json, torch, yaml\n")
    setup = [_in(tmp_path, text)]
    (tmp_path / "requirements.txt").write_text("torch\n")
    setup.append(_in(tmp_path, text))
    assert setup == ["pip install torch pyyaml\n", "pip install -r requirements.txt\n"]


def _in(folder: Path, text: str) -> str:
    requested = moving.request(text.encode(), "job.sh")
    setup: str = export_yaml(text, requested.components, SITE, "main", folder=str(folder)).fields["setup"]
    return setup


def test_folders_inside_a_container_are_no_mounts() -> None:
    found = export(script("singularity exec -B /scratch/me:/data x.sif prog /data/in /scratch/me/b"))
    assert "# TODO: /scratch" in found.yaml and "# TODO: /data" not in found.yaml


# --- launchers, images, nodes without work, and lines that lost their reason


def test_the_launcher_of_tacc_is_mpirun() -> None:
    found = export(script("ibrun ./a.out in.txt", "-n 32"))
    assert found.fields["run"] == "mpirun --use-hwthread-cpus -np 32 ./a.out in.txt\n"
    assert "openmpi-bin" in found.fields["setup"]
    assert export(script("ibrun -n 4 -o 0 ./a.out", "-n 8")).needs


def test_an_image_file_may_be_a_registrys_image() -> None:
    body = "# singularity pull docker://org/tool:1.2\nsingularity exec --nv /apps/tool_1.2.sif tool x"
    found = export(script(body, "--gpus=1")).yaml
    assert "# if a registry has tool_1.2.sif, it can be image_id: docker:org/tool:1.2\n" in found


def test_nodes_without_work_are_reported() -> None:
    comment = "no command uses the other nodes"
    assert comment in export(script("samtools view x.bam", "-N2")).yaml
    assert comment not in export(script("srun hostname\nsamtools view x.bam", "-N2")).yaml
    assert comment not in export(script("mpirun ./a.out", TWO)).yaml


def test_a_deactivate_goes_with_its_environment() -> None:
    found = export(script("source ~/venv/bin/activate\npython a.py\ndeactivate"))
    assert found.fields["run"] == "python a.py\n"


def test_arguments_name_files_of_the_workdir() -> None:
    found = export(script('runbwa "$@"'))
    assert found.fields["workdir"] == "." and "# $@ of the script" in found.yaml


def test_named_nodes_are_left_out_with_a_word() -> None:
    assert "--nodelist=n7: nodes do not exist before the job does" in export(script("./prog", "-w n7")).yaml


def test_a_module_of_bare_python_names_no_packages() -> None:
    assert "TODO" in export(script("module load python/3.11\npython a.py")).fields["setup"]
    assert "TODO" not in export(script("module load anaconda3\npython a.py")).yaml


def test_mambas_start_files_and_activations_are_condas() -> None:
    body = '. "${HOME}/micromamba/etc/profile.d/mamba.sh"\nmamba activate R4\nRscript a.R'
    assert export(script(body)).fields["run"] == "conda activate R4\nRscript a.R\n"


def test_a_module_that_brings_its_program_is_installed_once() -> None:
    assert export(script("module load lammps\nlmp -in a.in")).fields["setup"].count("lammps") == 1
