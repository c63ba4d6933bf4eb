"""Scripts whose exported YAML runs slurmsky on the nodes, and scripts that need none of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from moving_script import moving
from yaml_exports import SITE, TWO, export, script

from slurmsky.translate.export.yaml_export import SubmittedScript, export_yaml


@pytest.mark.parametrize(
    ("body", "directives", "why"),
    [
        ("srun python a.py | tee log", "-n4", "4 tasks on 1 node"),
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


def test_a_script_of_another_shell_that_calls_srun_goes_to_the_agent() -> None:
    assert export("#!/bin/tcsh\n#SBATCH -n 4\nsrun vasp_std\n").needs


@pytest.mark.parametrize(
    "body",
    ['run="srun -n 4 ./x"\n./later "$run"', "cat > run.sh <<E\nsrun ./x\nE\nbash run.sh",
     "cat > bind <<E\nexport CUDA_VISIBLE_DEVICES=\\$SLURM_LOCALID\nE\nbash bind"],
)  # fmt: skip
def test_slurms_words_in_a_text_need_the_agent(body: str) -> None:
    assert export(script(body, "-n4")).needs


def test_a_text_that_only_mentions_a_command_needs_no_agent() -> None:
    assert not export(script('echo "submit with sbatch x.sh"\ncat <<E\nto end it: scancel 1\nE')).needs


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


def test_a_profile_that_submits_runs_on_the_node(tmp_path: Path) -> None:
    source = script("snakemake --profile prof")
    components = moving.request(source.encode(), "job.sh").components

    def run() -> str:
        return str(export_yaml(SubmittedScript(source, components, folder=str(tmp_path)), SITE, "main").fields["run"])

    assert run() == "snakemake --profile prof\n"
    (tmp_path / "prof").mkdir()
    (tmp_path / "prof" / "config.yaml").write_text("executor: slurm\nuse-conda: true\n")
    assert run() == "snakemake --cores all --use-conda\n"


def test_the_state_of_the_job_still_needs_the_queue() -> None:
    assert export(script("S=$(scontrol show job $SLURM_JOB_ID | grep JobState)\n./prog $S")).needs


def test_the_agents_yaml_has_the_workdir_one_reason_and_a_plain_setup() -> None:
    found = export(script("module load gcc ffmpeg\nsrun python a.py | cat\nsrun python b.py /data/me/x | cat", "-n4"))
    assert found.fields["workdir"] == "."
    assert next(line for line in found.yaml.splitlines() if "tasks on" in line).endswith("(and 1 more)")
    assert "command -v sudo" not in found.yaml and found.fields["setup"].count("apt-get update") == 1
    assert found.fields["file_mounts"]["/data/me"]["source"] == "${DATA_BUCKET}/data/me"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('ARGS=(\n  --container-image $IMAGE\n)\nsrun -l "${ARGS[@]}" python3 a.py', "from a variable"),
        ("cat list | while read l; do\n{\nsrun -N1 -n1 sh $l\n}&\ndone\nwait", "side by side"),
    ],
)
def test_steps_that_only_the_agent_starts_as_slurm_does(body: str, why: str) -> None:
    assert why in " ".join(entry.why for entry in export(script(body, "-N5")).needs)


def test_a_virtual_environment_of_the_agent_is_one_readable_line() -> None:
    found = export(script("source /home/me/venv/bin/activate\nsqueue"))
    made = "sudo mkdir -p /home/me/venv && sudo chown $(id -u) /home/me/venv && python3 -m venv /home/me/venv"
    assert f"{made} &&" in found.fields["setup"] and "[ -e" not in found.fields["setup"]


def test_a_script_that_submits_jobs_names_where_it_runs() -> None:
    text = "sbatch has no queue in a job that `sky jobs launch` starts: launch it by `sbatch job.sh`"
    assert (
        text in export(script("sbatch one.sh")).yaml and text not in export(script("squeue\n./a > b; sinfo > c")).yaml
    )
