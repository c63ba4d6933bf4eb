"""Exported YAML of launchers: mpirun, srun, torchrun, workflow engines, and programs on several nodes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from moving_script import moving
from yaml_exports import SITE
from yaml_exports import export_body as export


def test_pytorch_with_a_task_a_gpu_is_started_by_torchrun() -> None:
    body = "export MASTER_PORT=$((10000 + SLURM_JOB_ID % 1000))\nsrun python -u train.py --fsdp"
    found = export(body, "-N2;--ntasks-per-node=4;--gpus-per-node=4")
    assert not found.needs
    assert "--nnodes=$SKYPILOT_NUM_NODES --node_rank=$SKYPILOT_NODE_RANK" in found.fields["run"]
    assert "--nproc_per_node=4 train.py --fsdp" in found.fields["run"]
    assert 'NODE_RANK" = 0' not in found.fields["run"]
    assert "not SLURM_PROCID" in found.yaml
    one = export("srun python -m pkg.train --strategy ddp", "-n 2;--gpus=2")
    assert "torchrun --standalone --nproc_per_node=2 -m pkg.train --strategy ddp" in one.fields["run"]


@pytest.mark.parametrize(
    "body", ["srun python train.py --fsdp &\nwait", "srun python a.py | tee log", "srun -n$n python a.py"]
)
def test_other_python_steps_of_several_tasks_need_slurm(body: str) -> None:
    assert export(body, "-n 4").needs


def test_a_python_step_that_names_mpi_is_started_by_mpirun() -> None:
    found = export("# needs mpi4py\npip install mpi4py torch\nsrun python train.py", "-n 4")
    assert "mpirun -np 4" in found.fields["run"]


def test_snakemake_runs_on_the_node_instead_of_submitting() -> None:
    found = export('snakemake --cluster "sbatch --mem={resources.mem}" --jobs 900 --use-conda --retries 3')
    assert not found.needs
    assert found.fields["run"].split() == ["snakemake", "--cores", "all", "--use-conda", "--retries", "3"]
    assert "raise cpus and memory" in found.yaml
    both = export("snakemake --executor slurm -j 10 --cores 8 all").fields["run"]
    assert both.split() == ["snakemake", "--cores", "all", "all"]


def test_the_users_tasks_stand_apart_from_what_is_left_out() -> None:
    head = export("g16 a.gjf", "-p gpu -t 5 -o out").yaml.partition("name:")[0]
    to_do, _, left_out = head.partition("Left out:")
    assert "# To do:\n#   g16: licensed software" in to_do
    assert "--partition=gpu" in left_out and "--time=0:05:00" in left_out and "--output" in left_out
    assert "g16" not in left_out and "--time" not in to_do


def test_options_of_srun_in_a_variable_are_read() -> None:
    body = 'SRUN_ARGS=" \\\n    --wait=60 \\\n    --kill-on-bad-exit=1 \\\n    "\nA="-x 1 -y 2"\n'
    body += "srun $SRUN_ARGS --jobid $SLURM_JOB_ID python a.py $A"
    found = export(body, "-N2;--ntasks-per-node=1")
    assert not found.needs
    assert "\npython a.py $A\n" in found.fields["run"]


def test_ranks_over_ssh_get_the_exported_variables_and_no_old_network() -> None:
    body = "export HOST_DIR=$PWD/x\nexport OMP_NUM_THREADS=4\n"
    body += "mpirun -x NCCL_SOCKET_IFNAME=eth0 -x OMP_NUM_THREADS --hostfile h ./a"
    run = export(body, "-N2;--ntasks-per-node=1").fields["run"]
    assert "-x HOST_DIR" in run and run.count("-x OMP_NUM_THREADS") == 1
    assert "eth0" not in run and "hostfile" not in run


def test_mpirun_in_a_variable_brings_mpi() -> None:
    assert "openmpi-bin" in export('CMD="mpirun -np 4 ./a"\neval $CMD').fields["setup"]


def test_nextflow_runs_on_the_node_instead_of_submitting() -> None:
    found = export("nextflow run a.nf -profile slurm,docker")
    assert not found.needs and found.fields["run"] == "nextflow run a.nf -profile docker\n"
    assert export("nextflow run a.nf -profile slurm -resume").fields["run"] == "nextflow run a.nf -resume\n"


def test_a_node_has_a_cpu_for_each_rank_of_mpirun() -> None:
    assert export("mpirun -n 28 ./a", "-N 1").fields["resources"]["cpus"] == "28+"
    assert export("mpirun -n 8 ./a", "-N 2;--ntasks-per-node=4").fields["resources"]["cpus"] == "4+"


@pytest.mark.parametrize(
    ("body", "run"),
    [
        ('run="srun -n 4"\n${run} ./a', "mpirun -np 4 --use-hwthread-cpus ./a\n"),
        ('cmd="srun python a.py"\necho $cmd\n$cmd', 'cmd="srun python a.py"\necho $cmd\npython a.py\n'),
        ('run="srun -n1"\ncom="$run python a.py"\ntime ${com} 2>&1', "time python a.py 2>&1\n"),
        ('for i in 1 2; do\n  c="srun -n1 ./a $i"\n  eval "$c"\ndone', "for i in 1 2; do\n  ./a $i\ndone\n"),
    ],
)
def test_a_launcher_in_a_variable_is_read_where_it_is_used(body: str, run: str) -> None:
    found = export(body, "-N1;--ntasks=4" if "4" in body else "")
    assert not found.needs and "\n".join(filter(None, found.fields["run"].split("\n"))) + "\n" == run


def test_ranks_on_other_nodes_have_the_environment_of_the_first() -> None:
    assert " -x PATH " in export("conda activate x\nmpirun ./a", "-N2").fields["run"]


def test_an_mpirun_in_a_variable_reaches_all_nodes() -> None:
    found = export('M="mpirun -n $SLURM_NTASKS"\n$M ./a', "-N2;--ntasks-per-node=4")
    assert "mpirun -H $(echo" in found.fields["run"] and "remove num_nodes" not in found.yaml


def test_an_option_of_srun_in_a_variable_needs_slurmsky() -> None:
    assert "come from a variable" in export('M="--export=ALL,A=$B"\nsrun $M bash -c "./a"', "-N2").yaml


def test_steps_with_gpus_of_their_own_side_by_side_need_slurmsky() -> None:
    body = "for f in *.txt; do srun -n1 --gres=gpu:1 python a.py $f & done\nwait"
    assert "side by side" in export(body, "-n4;--gres=gpu:4").yaml
    assert not export(body, "--gres=gpu:1").needs


def test_nextflow_by_its_installer_has_java_and_its_profile_a_comment() -> None:
    found = export("curl -fsSL get.nextflow.io | bash\n./nextflow run a.nf -profile sumner --out $SLURM_SUBMIT_DIR")
    assert "default-jdk" in found.fields["setup"] and "-profile standard" in found.yaml


def test_a_csh_scripts_arguments_and_mpirun_are_provided() -> None:
    source = "#!/bin/csh\n#SBATCH -n 4\ncd $argv\n/usr/bin/mpirun -np 4 ./a.x\n"
    found = moving.exported(source.encode(), SITE, "job.csh")
    assert "openmpi-bin" in found.fields["setup"] and "tcsh" in found.fields["setup"]
    assert "arguments: the script reads them" in found.yaml


def test_processes_of_torchrun_are_gpus_of_a_script_that_requests_none() -> None:
    found = export("torchrun --nproc_per_node 4 train.py", "-p gpu")
    assert found.fields["resources"]["accelerators"] == "H100:4"


def test_a_solver_of_openfoam_in_parallel_is_an_mpi_program() -> None:
    found = export("srun $(getApplication) -parallel", "-n 8")
    assert not found.needs and "mpirun -np 8 " in found.fields["run"]


def test_mpirun_starts_the_tasks_of_the_job_on_nodes_that_do_not_divide_them() -> None:
    assert " -np 4 ./a\n" in export("mpirun ./a", "-N3;-n4").fields["run"]
    assert " -np 6 " in export("mpirun -npernode 2 ./a", "-N3;-n4").fields["run"]


def test_a_sites_mpiexec_is_mpirun() -> None:
    assert "mpirun --use-hwthread-cpus -np 8 ./a" in export("$MPIEXEC $FLAGS_MPI_BATCH ./a", "-n8").fields["run"]
    assert "$MPIEXEC ./a" in export("MPIEXEC=x\n$MPIEXEC ./a", "-n8").fields["run"]


def test_a_loop_starts_the_tasks_of_a_node_with_slurms_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\nprint(os.environ['SLURM_PROCID'], os.environ['SLURM_LOCALID'])\n")
    found = export("srun python a.py > out", "-N2;--ntasks-per-node=2", folder=str(tmp_path))
    assert not found.needs and "SLURM_PROCID=$((2 * SKYPILOT_NODE_RANK + SLURM_LOCALID)) SLURM_NTASKS=4" in found.yaml
    run = found.fields["run"]
    environment = {"PATH": os.environ["PATH"], "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.1"}
    subprocess.run(["bash", "-ec", run.replace("> out", ">> out")], cwd=tmp_path, env=environment, check=True)
    assert sorted((tmp_path / "out").read_text().split("\n"))[1:] == ["2 0", "3 1"]
    failing = export("srun bash -c 'exit $SLURM_LOCALID'", "-n2").fields["run"]
    assert subprocess.run(["bash", "-c", failing], check=False).returncode == 1
    assert "CUDA_VISIBLE_DEVICES=$SLURM_LOCALID" in export("srun python a.py", "-n2;--gpus-per-task=1").yaml


def test_a_training_that_only_the_python_file_shows_is_started_by_torchrun(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("torch.distributed.init_process_group('nccl')\n")
    assert "torchrun --standalone" in export("srun python a.py", "-n2", folder=str(tmp_path)).fields["run"]
