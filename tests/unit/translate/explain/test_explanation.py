"""Each directive, command and variable of real scripts, and the finding about it."""

from __future__ import annotations

import itertools

import pytest
from explained_pages import BARE, explain, one
from tables import every

from slurmsky.options.getopt import split
from slurmsky.options.table import load as options
from slurmsky.site import load
from slurmsky.translate.explain.explanation import EFFECTS, sentences
from slurmsky.translate.sky_task import option_support

#: options in the directives of 1,887 public batch scripts, most used first, each as it is usually written
DIRECTIVES = """
--job-name=x --nodes=2 --time=1:00:00 --output=%x-%j.out --partition=main --cpus-per-task=4 --ntasks=2
--ntasks-per-node=2 --error=e --account=ml --mem=4G --gres=gpu:4 --qos=normal --hint=nomultithread --exclusive
--mem-per-cpu=2G --constraint=highmem --mail-type=END --gpus-per-node=4 --mail-user=a@b --reservation=r --array=1-3
--gpus=4 --no-requeue --gpus-per-task=1 --export=ALL --tasks-per-node=2 --mem-per-gpu=4G --gpu-bind=closest
--wait-all-nodes=1 --open-mode=append --overcommit --requeue --cpus-per-gpu=4 --ntasks-per-socket=1 --comment=c
--ntasks-per-core=1 --nodelist=n1 --dependency=singleton --signal=USR1@60 --chdir=/submit --cluster=c --segment=2
--parsable --distribution=cyclic --exclude=n2 --threads-per-core=1 --deadline=2030-01-01 --licenses=l --nice=5
--no-kill --time-min=10 --propagate=ALL --tmp=10G --ntasks-per-gpu=1
""".split()  # noqa: SIM905


COMMANDS = """
srun python conda scontrol sbatch mpirun git nvidia-smi curl wget make enroot pip singularity ssh mpiexec ulimit
docker Rscript uv julia apptainer torchrun sacct envsubst ray snakemake jupyter matlab cmake mamba accelerate scancel
nextflow deepspeed spack numactl sbcast parallel scp podman squeue wandb rsync nvcc ibrun timeout rocm-smi nsys
taskset sudo hostname shifter
""".split()  # noqa: SIM905


VARIABLES = """
SLURM_JOB_NODELIST SLURM_JOB_ID SLURM_JOBID SLURM_PROCID SLURM_JOB_NUM_NODES SLURM_NNODES SLURM_SUBMIT_DIR
SLURM_ARRAY_TASK_ID SLURM_NTASKS SLURM_CPUS_PER_TASK SLURM_NODEID SLURM_JOB_NAME SLURM_LOCALID SLURM_CPUS_ON_NODE
SLURMD_NODENAME SLURM_JOB_ACCOUNT SLURM_GPUS_PER_NODE SLURM_NPROCS SLURM_NTASKS_PER_NODE SLURM_NODELIST
SLURM_TASKS_PER_NODE SLURM_TMPDIR SLURM_ARRAY_JOB_ID SLURM_MPI_TYPE SLURM_GPUS_ON_NODE SLURM_SUBMIT_HOST
SLURM_ARRAY_TASK_MAX SLURM_TASK_PID SLURM_JOB_DEPENDENCY SLURM_LOGS SLURM_MEM_PER_CPU SRUN_CPUS_PER_TASK
SLURM_ARRAY_TASK_COUNT SLURM_RESTART_COUNT SLURM_JOB_PARTITION SLURM_JOB_CPUS_PER_NODE SLURM_STEP_GPUS
SLURM_JOB_GPUS SLURM_CLUSTER_NAME SBATCH_NETWORK SRUN_KILL_ON_BAD_EXIT SLURM_JOB_NODELIST_HET_GROUP_1
""".split()  # noqa: SIM905


@every("line, engine", itertools.product(DIRECTIVES, ["local", "sky"]))
def test_every_directive_has_its_line(line: str, engine: str) -> None:
    found = one(f"#!/bin/bash\n#SBATCH {line}\n", "directive", engine)
    assert found.line == 2
    assert found.effect in EFFECTS
    assert found.reason


@every("name, engine", itertools.product(COMMANDS, ["local", "sky"]))
def test_every_command_has_its_line(name: str, engine: str) -> None:
    page = explain(f"#!/bin/bash\n{name} ./x\n", engine)
    found = [entry for entry in page.findings if entry.kind == "command" and entry.text.startswith(name)]
    assert found and found[0].reason


@every("name", VARIABLES)
def test_every_variable_has_its_line(name: str) -> None:
    found = one(f"#!/bin/bash\necho ${name}\n", "variable")
    assert (found.text, found.line) == (name, 2)
    assert found.effect in ("kept", "changed")


@pytest.mark.parametrize(
    ("script", "kind", "effect", "reason"),
    [
        ("#SBATCH -N 2", "directive", "kept", "num_nodes: 2 (nodes that SkyPilot starts)"),
        ("#SBATCH --gres=gpu:a100:4", "directive", "changed", "accelerators: A100:4 (devices per node)"),
        ("#SBATCH --mem=64G", "directive", "changed", "memory: 64+ (GB per node)"),
        ("#SBATCH --exclusive", "directive", "no effect", "a SkyPilot node runs only this job"),
        ("#SBATCH -p nowhere", "directive", "decision", "there is no partition nowhere here"),
        ("#SBATCH -A other", "directive", "decision", "account other is not in the site file"),
        ("#SBATCH -C weird", "directive", "decision", "no feature weird is mapped"),
        ("#SBATCH --image=x", "directive", "decision", "unrecognized option '--image=x'"),
        ("#SBATCH --workdir=/x", "directive", "decision", "unrecognized option '--workdir=/x'; Slurm calls it --chdir"),
        (
            "source /home/$(whoami)/env/bin/activate",
            "environment",
            "decision",
            "an environment of the old cluster: name its packages, and setup creates it",
        ),
        ("#SBATCH -N2 placeholder", "directive", "refused", "Invalid directive found in batch script: placeholder"),
        ("#SBATCH --gpus=a100:1 --gres=gpu:h100:1", "directive", "refused", None),
        ("module load tool/1", "module", "changed", "image docker:team/tool:1"),
        ("module load nosuch/1", "module", "decision", "no module map has it; the job prints a warning and continues"),
        ("module load matlab", "module", "decision", None),
        (
            "module load nosuch/1 matlab\nsamtools index a",
            "module",
            "no effect",
            "no program that the script starts needs it",
        ),
        ("module load nosuch/1\npython a.py", "module", "decision", None),
        ("echo $subject", "command", "kept", None),
        ("run $subject", "variable", "kept", "an input of the script: export it before sbatch, as on Slurm"),
        ("module load rhel7", "module", "no effect", None),
        ("module load $M", "module", "changed", "known only when the job runs; then the module map applies"),
        ("module purge", "module", "kept", None),
        ("./a /data/x", "path", "kept", "/data is mounted"),
        ("./a /gpfs/x", "path", "decision", "is on the old cluster: set where its content is now"),
        ("cp x $SCRATCH/y", "variable", "decision", "a file system of the old cluster: set its present place"),
        ("export SLURM_LOGS=x", "variable", "kept", "the script sets it itself"),
    ],
)
def test_findings(script: str, kind: str, effect: str, reason: str | None) -> None:
    found = one(f"#!/bin/bash\n{script}\n", kind)
    assert found.effect == effect
    assert reason is None or found.reason == reason


def test_a_het_job_is_one_task_with_nodes_of_one_size() -> None:
    page = explain("#!/bin/bash\n#SBATCH -N1 -c2\n#SBATCH hetjob\n#SBATCH -N3 --gpus-per-node=h100:4\nsrun a\n")
    found = next(entry for entry in page.findings if entry.text == "#SBATCH hetjob")
    assert (found.line, found.effect) == (3, "changed")
    assert "all 4 nodes have the size of the largest component" in found.reason and "4 GPUs" in found.reason
    assert page.nodes == 4 and "H100:4" in page.task_yaml
    page = explain("#!/bin/bash\n#SBATCH --gpus=a100:1\n#SBATCH hetjob\n#SBATCH --gpus=h100:1\n")
    found = next(entry for entry in page.findings if entry.text == "#SBATCH hetjob")
    assert found.effect == "refused" and "A100 and H100" in found.reason


def test_an_untyped_gpu_is_a_decision_of_a_site_that_describes_itself() -> None:
    described = load('[[partition]]\nname = "main"\ndefault = true', "site.toml")
    page = explain("#!/bin/bash\n#SBATCH --gpus=2\n", site=described)
    assert [found.effect for found in page.findings] == ["kept", "decision"]
    assert page.suggestions == ('[gpus]\ndefault = "H100"',)
    assert not page.unchanged


@pytest.mark.parametrize(
    "script",
    [
        "#SBATCH -p a\n#SBATCH -C weird\n#SBATCH --gpus=1\n#SBATCH --environment=x\n"
        "module load nosuch/1 gcc cuda/12.1\n"
        "module load 'odd\"name'\ncp $SCRATCH/x /gpfs/y /lustre/z",
    ],
)
def test_suggested_lines_are_a_site_file(script: str) -> None:
    page = explain(f"#!/bin/bash\n{script}\n", site=BARE)
    text = "\n".join(page.suggestions)
    assert load(text, "settled").cluster.declared_options[0].name == "environment"
    assert "/gpfs" in text and "nosuch/1" in text


def test_what_is_no_batch_script_is_refused_in_slurms_words() -> None:
    page = explain("echo hi\n")
    assert page.refusal.startswith("sbatch: error: This does not look like a batch script.")
    assert not page.unchanged


def test_no_option_of_sbatch_is_without_a_reason() -> None:
    silent = [
        option.long
        for option in options("sbatch").options
        if option.policy in ("recorded", "none") and not option.why and ("option", option.name) not in sentences()
    ]
    assert silent == []


def test_fields_without_effect_are_explained_where_they_are_options() -> None:
    known = {option.field for option in options("sbatch").options}
    assert {name for name in option_support.WITHOUT_EFFECT if name not in known} <= {"x11"}


def test_accounts_to_add_are_one_list_with_those_that_there_are() -> None:
    page = explain("#!/bin/bash\n#SBATCH -A other\n#SBATCH -A 'third one'\n")
    (line,) = [text for text in page.suggestions if text.startswith("accounts")]
    assert line == 'accounts = ["ml", "other", "third one"]'
    described = load('[[account]]\nname = "ml"\n', "site.toml")
    page = explain("#!/bin/bash\n#SBATCH -A other\n", site=described)
    assert page.suggestions == ('[[account]]\nname = "other"',)


def test_a_qos_that_the_site_file_does_not_describe_is_a_decision() -> None:
    site = load('[[qos]]\nname = "long"\n', "site.toml")
    for qos, effect in (("long", "kept"), ("normal", "kept"), ("short", "decision")):
        assert one(f"#!/bin/bash\n#SBATCH -q {qos}\n", "directive", "local", site).effect == effect
    page = explain("#!/bin/bash\n#SBATCH -q short\n", site=site)
    assert page.suggestions == ('[[qos]]\nname = "short"',)


def test_several_images_are_fetched_by_the_nodes() -> None:
    page = explain("#!/bin/bash\nsrun --container-image=a/b x\nsrun --container-image=c/d y\n")
    (step,) = [found for found in page.findings if found.kind == "step"]
    assert step.effect == "kept" and "podman, docker or apptainer" in step.reason


def test_any_name_of_a_cluster_is_this_one_where_nothing_describes_it() -> None:
    text = "#!/bin/bash\n#SBATCH -M snowy\n"
    assert one(text, "directive", site=load("", "none")).effect == "kept"
    found = one(text, "directive")
    assert (found.effect, found.reason) == ("refused", "No cluster 'snowy' known by database.")


@pytest.mark.parametrize(
    ("line", "argument"), [("--ccm", "none"), ("--image x/y", "required"), ("--own=b", "required")]
)
def test_the_lines_for_a_sites_own_option_declare_it(line: str, argument: str) -> None:
    text = f"#!/bin/bash\n#SBATCH {line}\n#SBATCH -N2\n"
    found = next(one for one in explain(text).findings if one.suggestion)
    own = load(found.suggestion, "settled").cluster.declared_options[0]
    assert own.argument == argument
    words = line.split()
    assert not split(options("sbatch").with_site_options([own]), words).rest
