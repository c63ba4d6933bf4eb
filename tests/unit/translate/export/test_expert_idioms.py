"""Exported YAML of single idioms: texts that it has, and texts that it must not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from moving_script import moving

from slurmsky.site import load
from slurmsky.translate.export.conversion import Dropped
from slurmsky.translate.export.yaml_export import ExportedYaml, export_yaml

SITE = load('[gpus]\ndefault = "H100"\n[[partition]]\nname = "main"\ndefault = true', "site")


def export(body: str, directives: str = "", shell: str = "/bin/bash", folder: str = "") -> ExportedYaml:
    lines = "".join(f"#SBATCH {line}\n" for line in directives.split(";") if line)
    text = f"#!{shell}\n{lines}\n{body}\n"
    if not folder:
        found: ExportedYaml = moving.exported(text.encode(), SITE, "job.sh")
        return found
    specs: Any = moving.request(text.encode(), "job.sh").components
    return export_yaml(text, [specs[0].evolve(chdir=folder)], SITE, "", file="job.sh", folder=folder)


HEAD = '$(echo "$SKYPILOT_NODE_IPS" | head -n 1)'


@pytest.mark.parametrize(
    ("body", "directives", "present", "absent"),
    [
        ("ip=$(hostname -I | awk '{print $2}')\nsrun python a.py --ip $ip", "-N2", [f"ip={HEAD}\n"], ["awk"]),
        ("A=$(ip -4 addr show ib0 | grep inet | awk '{print $2}')\nsrun ./a $A", "-N2", [f"A={HEAD}\n"], ["ib0"]),
        ("H=$(getent hosts $N | awk '{print $1}')\nsrun ./a $H", "-N2", ["$(echo $N |"], ["getent"]),
        ("if which srun; then\n  ./a\nelse\n  ./b\nfi", "", ["if true; then"], ["slurmsky"]),
        ("if command -v srun >/dev/null; then ./a; fi", "", ["if true >/dev/null; then"], ["slurmsky"]),
        ("aprun -n 64 -N 32 ./wrf", "-N2;-n64", ["mpirun -np 64 -H ", "s/$/:32/", "Cray's launcher"], ["run aprun"]),
        ("aprun -n $SLURM_NTASKS ./a", "-n 8", ["mpirun -np 8 --use-hwthread-cpus ./a\n"], []),
        ("export OPAL_PREFIX=/apps/ompi\nmpirun ./a", "-n4", ["OPAL_PREFIX=/apps/ompi (line"], ["OPAL_PREFIX: "]),
        ("export I_MPI_PMI_LIBRARY=/usr/lib64/libpmi.so\nsrun ./a", "-n4", [], ["I_MPI_PMI_LIBRARY: "]),
        ("export CUDA_VISIBLE_DEVICES=2\npython a.py", "", ["H100:1", "shared node"], ["CUDA_VISIBLE_DEVICES: "]),
        ("export CUDA_VISIBLE_DEVICES=0,1\npython a.py", "", ["H100:2", 'CUDA_VISIBLE_DEVICES: "0,1"'], []),
        ("CUDA_VISIBLE_DEVICES=3\n./a", "--gres=gpu:1", ["run: |\n  ./a\n"], []),
        ("nsys stats a.qdrep", "--gres=gpu:0", [], ["accelerators"]),
        ("module load cuda/12.1\npython train.py", "", ["H100:1  # module cuda"], []),
        ("module load cuda/12.1\n./a.out", "", ["if it needs one:  accelerators: H100:1"], []),
        ("echo $SLURM_ARRAY_TASK_ID\n./a", "", ["Slurm sets it only with --array"], ["TASK_ID:"]),
        ("./a $SLURM_ARRAY_TASK_ID", "", ["TASK_ID: null"], []),
        ("./a\nexit\nusing CSV", "", ["./a\n  exit\n"], ["using"]),
        ("./a || exit 1\n./b", "", ["./b"], []),
        ("export H=/flask/me/cache_of/x\n./a", "", ["/flask"], []),
        ("srun singularity exec /img/me/a.sif python a.py", "", ["# TODO: /img/me is on the old cluster"], []),
        ("python a.py", "--gres=gpu:a100:1;-c 128", ["A100:1  # clouds offer at most 30 CPUs with it"], ["cpus:"]),
        ("python a.py", "--gres=gpu:a100:8;-c 64;--mem=900G", ["cpus: 64+", "memory: 900+"], ["at most"]),
        ("mpirun ./a", "-n 288", ["num_nodes: 2\n", "cpus: 144+"], []),
        ("python a.py -e ~/data/x", "", ["# TODO: ~/data is on the old cluster"], []),
        ("singularity exec a.sif bash -c 'python ~/code/$1.py'", "", ["# TODO: ~/code is on the old"], []),
        ('singularity exec a.sif bash -c "source /x/env.sh; ./a $FILE"', "", ["$FILE (line 3): nothing"], []),
        ("conda activate /old/me/envs/e1\nexport LD_LIBRARY_PATH=/old/me/envs/e1/lib\n./a", "", [], ["PATH: "]),
        ("export INTERP=/old/me/env/bin/python3\n$INTERP a.py", "", ["python3 a.py"], ["INTERP"]),
        ("conda activate /sw/alpha/1.0.4/env\n./a", "", ["conda activate alpha\n"], []),
        ("mpicc a.c -o my_a\nsrun my_a", "", [], ["no package is known"]),
        ("mkdir run1\ncd run1\npython /home/me/proj/a.py", "", ["ln -sfn ~/sky_workdir /home/me/proj\n"], []),
        ("ln -s ../x .\nmpirun ./a", "-N2;-n256", ["  ln -s ../x .\n  if ["], []),
        ("srun real.exe", "", ["run: |\n  ./real.exe\n"], []),
        ("srun bwa index x", "", ["  bwa index x\n"], []),
        ("/old/sw/bin/singularity exec a.sif ./a", "", ["  singularity exec a.sif"], ["/old"]),
        ("python a.py", "-p A40medium;--gres=gpu:1", ["A40:1"], []),
        ("python a.py", "--qos=qos_gpu-t4;--gres=gpu:1", ["H100:1"], ["T4"]),
        (". $SETUP/env.sh\n./a $GIVEN", "", ["$SETUP (line"], ["$GIVEN (line"]),
        ("srun ./a", "-N2;-n8", ["the nodes share no file system"], []),
        ("mpirun -n 4 -npernode 2 ./a", "-n4", ["mpirun --use-hwthread-cpus -n 4 ./a"], []),
        (
            "srun singularity exec --nv docker://r.io/x/y:1 gmx mdrun",
            "",
            ["docker:r.io/x/y:1", "  gmx mdrun"],
            ["singul"],
        ),
        ("singularity exec docker://r.io/x/y:1 ./a\npython b.py", "", ["singularity exec docker"], ["image_id"]),
        ("singularity run docker://r.io/x/y:1 ./a", "", ["singularity run docker://"], ["image_id"]),
        ("module load pytorch/2.1\nsrun singularity_wrapper exec python a.py", "", ["  python a.py"], ["wrapper"]),
        ("for f in $1/*; do ./a $f; done", "", ["ARG1: null"], []),
        ("module load julia/1.9\njulia a.jl", "", ['export PATH="$HOME/.juliaup/bin:$PATH"'], []),
        ("export SLURM_ARRAY_TASK_ID\n./a", "--array=1-2", ["export SLURM_ARRAY_TASK_ID=$TASK_ID"], []),
        ("export A=()\n./a", "", ["export A=()"], ["envs:"]),
        ('if [ "$SLURM_JOB_NODELIST" ]; then\n  N=`generate_pbs_nodefile`\nfi\n./a', "", ["run: |\n  ./a"], ["if ["]),
        ("srun python a.py --num_nodes 2", "-N2;--gres=gpu:1", ["NODE_RANK=$SKYPILOT_NODE_RANK"], []),
        ("(sleep 1; a.sh) &\nsrun -n1 b.sh\nwait", "", ["  wait\n"], []),
        ("# run it with srun\n# the model\npython a.py", "", ["run: |\n  # the model\n"], ["srun"]),
        (
            "nvidia-docker run -v /home/$USER:/home/$USER me/wgan:1.0 python a.py",
            "",
            ["docker:me/wgan:1.0", "  python a.py"],
            ["nvidia-d"],
        ),
        ("docker run -v $PWD:/work me/wgan:1.0 python a.py", "", ["docker run"], ["image_id"]),
        ("singularity exec a.sif bash -c 'blockMesh'", "", [], ["opencfd"]),
        ("scp $USER@ada:/share/x .\n./a", "", ["TODO: ada is a host"], []),
        ("./a /path/to/data", "", ["/path/to is a placeholder"], ["BUCKET"]),
        ("julia=julia\n#julia='julia -p 8'\n$julia a.jl", "", ["julia\n"], []),
        ("x=$(which RepeatMasker)\n$x a.fa", "", ["repeatmasker"], []),
        ("export A_PATH=${PROJECT_x}/a\n./b", "", ["$PROJECT_x (line"], []),
        ("source ~/ml/bin/activate\njulia a.jl", "", [" julia\n"], []),
        ("conda activate ml\nflask run", "", ["flask: no package is known for it: if the environment has none"], []),
        ("snakemake --use-singularity -j 4", "", ["apptainer"], []),
        ("echo $SLURM_JOB_GPUS\npython a.py", "--gres=gpu:2", ["seq -s, 0 "], []),
        ("cat > b.sh <<E\necho\nE\nbash b.sh", "", ["workdir: .  # the folder that sbatch"], ["TODO: the folder"]),
        ("flask --app a.py run --port=$P", "", [], ["ports:"]),
        ("P=6000\nflask --app a.py run --port=$P", "", ["ports: 6000"], []),
        ("echo x > a.sh\nqsub a.sh", "", ["qsub: a command of another scheduler"], []),
        ("D=$PWD\n$D/sw/nextflow main.nf -profile slurm", "", ["-profile slurm (line"], ["nf -profile"]),
        ("julia --project=$G a.jl", "", ["# TODO: julia --project=FOLDER"], ["'--project=$G'"]),
        ("./a $1 ${11}", "", ['"$ARG10" "$ARG11"'], []),
        ("python a.py --no_tensorboard x", "", [], ["ports:"]),
        ("python a.py -m lmdb/mean.bin", "", ["a.py"], ["mean/bin.py"]),
        ("/old/me/x.sif python a.py", "", ["apptainer"], ["built on"]),
        ('N="--rank=\\$SLURM_NODEID"\nC="python a.py $N"\nsrun bash -c "$C"', "", ['bash -c "$C"'], []),
        ("/old/me/bbmap/bbsplit.sh in=a", "", ["  bbsplit.sh in=a", "bbmap"], ["translate what", "a copy of"]),
        ("./a out.h5:/Groups/x", "", [], ["/Groups &&", "TODO: /Groups"]),
    ],
)
def test_an_idiom(body: str, directives: str, present: list[str], absent: list[str]) -> None:
    found = export(body, directives)
    assert not found.needs
    assert [text for text in present if text not in found.yaml] == []
    assert [text for text in absent if text in found.yaml] == []


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
    "body",
    [
        "srun python each.py",  # nothing says how its tasks meet
        "srun bash -c 'RANK=$SLURM_PROCID python train.py --fsdp'",
        "srun python train.py --fsdp &\nwait",
    ],
)
def test_other_python_steps_of_several_tasks_need_slurm(body: str) -> None:
    assert export(body, "-n 4").needs


def test_a_python_step_that_names_mpi_is_started_by_mpirun() -> None:
    found = export("# needs mpi4py\npip install mpi4py torch\nsrun python train.py", "-n 4")
    assert "mpirun -np 4" in found.fields["run"]


def test_a_zsh_script_without_forms_of_its_own_becomes_lines_of_bash() -> None:
    found = export("module load python/3.8\npython a.py", shell="/usr/bin/env zsh")
    assert not found.needs
    assert "python=3.8" in found.fields["setup"] and "zsh" not in found.fields["setup"]
    assert "zsh of the first line (line 1): bash runs these lines" in found.yaml
    assert export("setopt extendedglob\nmodule load python\npython a.py", shell="/bin/zsh").needs


def test_snakemake_runs_on_the_node_instead_of_submitting() -> None:
    found = export('snakemake --cluster "sbatch --mem={resources.mem}" --jobs 900 --use-conda --retries 3')
    assert not found.needs
    assert found.fields["run"].split() == ["snakemake", "--cores", "all", "--use-conda", "--retries", "3"]
    assert "raise cpus and memory" in found.yaml
    both = export("snakemake --executor slurm -j 10 --cores 8 all").fields["run"]
    assert both.split() == ["snakemake", "--cores", "all", "all"]


def test_packages_of_an_environment_are_a_todo_where_the_folder_lists_none(tmp_path: Path) -> None:
    conda, pip = "conda activate x\npython a.py", "source ~/x/bin/activate\npython a.py"
    assert "# TODO: write environment.yml: conda env export --no-builds -n x" in export(conda).fields["setup"]
    assert "# TODO: write requirements.txt: pip freeze" in export(pip).fields["setup"]
    for name in ("environment.yml", "requirements.txt", "a.py"):
        (tmp_path / name).write_text("numpy\n" if name == "requirements.txt" else "dependencies = [numpy]\n")
    assert "TODO" not in export(conda, folder=str(tmp_path)).yaml + export(pip, folder=str(tmp_path)).yaml
    filled = "conda activate x\nconda install -n x numpy\npython a.py"
    assert "conda create -y -n x python\n" in export(filled).fields["setup"]


def test_packages_of_julia_and_r(tmp_path: Path) -> None:
    (tmp_path / "a.jl").write_text("using MPI, LinearAlgebra\nusing DataFrames: nrow\n")
    (tmp_path / "a.R").write_text("library(dplyr)\n# library(no)\nlibrary('stats')\n")
    folder = str(tmp_path)
    assert "julia --project=. -e 'using Pkg; Pkg.instantiate()'" in export("julia --project=. a.jl").fields["setup"]
    assert 'Pkg.add(["MPI", "DataFrames"])' in export("julia a.jl", folder=folder).fields["setup"]
    assert "# TODO: julia -e" in export("julia b.jl").fields["setup"]
    assert 'install.packages(c("dplyr"), repos' in export("Rscript a.R", folder=folder).fields["setup"]
    assert "# TODO: sudo Rscript -e" in export("R CMD BATCH b.R").fields["setup"]
    assert "MPIPreferences" in export("module load openmpi\nsrun julia a.jl", "-n 4").fields["setup"]
    assert "install.packages" not in export("conda activate r\nRscript a.R", folder=folder).yaml


def test_the_users_tasks_stand_apart_from_what_is_left_out() -> None:
    head = export("g16 a.gjf", "-p gpu -t 5 -o out").yaml.partition("name:")[0]
    to_do, _, left_out = head.partition("Left out:")
    assert "# To do:\n#   g16: licensed software" in to_do
    assert "--partition=gpu" in left_out and "--time=0:05:00" in left_out and "--output" in left_out
    assert "g16" not in left_out and "--time" not in to_do


def test_python_modules_and_lines_name_their_packages_as_a_todo() -> None:
    assert "that python -m train imports" in export("python -m train --lr 1").fields["setup"]
    assert "that python -c imports" in export('python -u -c "import PyHipp; import os"').fields["setup"]
    assert "TODO" not in export('python -c "import os"').yaml + export("python -m http.server").yaml


def test_a_cuda_image_with_pytorch_keeps_the_python_of_the_script() -> None:
    found = export("module load cuda/9.0 python/3.6\npython a.py", "--gpus=1")
    assert "conda create -y -n job python=3.6" in found.fields["setup"]


def test_spack_packages_of_the_old_tree_are_installed() -> None:
    found = export("spack load r@3.6.3%gcc@9.4.0 arch=linux-x\nspack load r-raster@3.4\nRscript a.R")
    assert "spack" not in found.fields["run"] + found.fields["setup"]
    assert "r-raster" in found.fields["setup"] and "module load arch" not in found.yaml


def test_what_runs_in_a_container_is_the_containers() -> None:
    inside = "source /ext3/env.sh\npython a.py"
    body = f'module load cuda/11.1\nsingularity exec --nv --overlay o:ro /s/x.sif bash -c "\n{inside}"'
    found = export(body, "--gpus=1")
    assert "image_id" not in found.fields["resources"] and "containers bring their programs" in found.yaml
    assert "ext3" not in found.yaml.partition("run: |")[0] and "TODO: pip" not in found.yaml
    assert "# TODO: /s is on the old cluster" in found.yaml or "/s/x.sif" in found.yaml


def test_arguments_that_only_getopts_reads_are_variables() -> None:
    found = export("while getopts f: flag; do f=$OPTARG; done\n./a $f")
    assert found.fields["envs"] == {"ARGS": ""} and "set -- $ARGS" in found.fields["run"]


def test_an_environment_of_conda_by_its_start_file_is_activated() -> None:
    found = export("source ~/anaconda3/bin/activate torch\npython a.py")
    assert "conda activate torch\n" in found.fields["run"] and "environment.yml" in found.fields["setup"]
    held = export("export ENV=/home/me/envs/x\nconda activate $ENV\npython a.py")
    assert "/home/me" not in held.yaml and "conda activate x" in held.fields["run"]


def test_installations_in_setup_are_not_interactive() -> None:
    setup = export("conda install -c akode atari-py\nmamba create -n x python\npython a.py").fields["setup"]
    assert "conda install -y -n base -c akode atari-py" in setup and "mamba create -y -n x" in setup


def test_a_checkpoint_that_is_a_file_is_read() -> None:
    found = export("python eval.py --ckpt /data/me/runs/best.ckpt")
    assert (
        "name" not in found.fields.get("file_mounts", {})
        and "# TODO: /data/me/runs is on the old cluster" in found.yaml
    )
    assert "mkdir" not in found.yaml
    assert "/data/me/runs" in export("python a.py --save-checkpoint /data/me/runs/best.ckpt").fields["file_mounts"]


def test_paths_of_all_branches_and_of_settings_are_named() -> None:
    body = 'if [ "$1" = a ]; then d=/d1/x; else d=/d2/x; fi\n./a data.path=/d3/x $d'
    assert [name for name in ("/d1", "/d2", "/d3") if f"# TODO: {name}" not in export(body).yaml] == []


def test_comments_keep_no_characters_that_yaml_cannot_hold() -> None:
    assert "run: |\n  # x\n" in export("# x\x7f\x1b\n./a").yaml


def test_modules_by_branches_leave_no_empty_branch() -> None:
    found = export("if [[ $X = y ]]; then\n  module load gcc\nelse\n  module use /m\nfi\n./a")
    assert found.fields["run"] == "./a\n"


def test_a_gpu_that_only_resembles_the_old_one_has_a_comment() -> None:
    assert "K80:1  # for k40: the nearest" in export("./a", "--gres=gpu:k40:1").yaml
    assert "nearest" not in export("./a", "--gres=gpu:v100l:1").yaml + export("./a", "--gres=gpu:tesla_t4:1").yaml


def test_a_program_of_the_old_cluster_is_to_be_built_again() -> None:
    assert "solve_icc: built on the old cluster" in export("/home/me/src/solve_icc -in a").yaml
    assert "built on" not in export("/home/me/a.sh\n/usr/bin/env\n./b").yaml


def test_a_folder_of_users_below_usr_is_of_the_old_cluster() -> None:
    assert "# TODO: /usr/users/me is on the old cluster" in export("./a /usr/users/me/x").yaml


def test_the_python_of_an_old_environment_is_python() -> None:
    found = export("/truba/home/me/nightly/bin/python main.py")
    assert found.fields["run"] == "python main.py\n" and "pip install -r requirements.txt" in found.fields["setup"]
    assert "/truba/home/me/nightly/bin/python (line" in found.yaml
    made = export("python3 -m venv /tmp/e/v\n/tmp/e/v/bin/python a.py")
    assert "/tmp/e/v/bin/python a.py" in made.fields["run"]


def test_an_environment_that_a_function_enters_is_left_out() -> None:
    found = export("function f() {\n  source ~/py37/bin/activate\n  python a.py\n}\nf")
    assert "activate" not in found.fields["run"] and "requirements.txt" in found.fields["setup"]


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


def test_the_gpu_is_one_that_the_images_cuda_supports() -> None:
    found: Any = moving.exported(
        b"#!/bin/bash\n#SBATCH --gpus=1\nmodule load pytorch/1.4\npython a.py\n", load("", "none"), "job.sh"
    )
    assert found.fields["resources"]["accelerators"] == "V100:1"


def test_gromacs_for_gpus_is_another_build() -> None:
    assert "'gromacs=*=nompi_cuda*'" in export("module load gromacs\ngmx mdrun", "--gpus=1").fields["setup"]
    assert "cuda" not in export("module load gromacs\ngmx mdrun").fields["setup"]


def test_nextflow_runs_on_the_node_instead_of_submitting() -> None:
    found = export("nextflow run a.nf -profile slurm,docker")
    assert not found.needs and found.fields["run"] == "nextflow run a.nf -profile docker\n"
    assert export("nextflow run a.nf -profile slurm -resume").fields["run"] == "nextflow run a.nf -resume\n"


def test_a_command_line_with_variables_for_the_inner_shell_keeps_that_shell() -> None:
    body = 'L="torchrun --node_rank \\$SLURM_PROCID"\nsrun bash -c "$L a.py"'
    run = export(body, "-N2;--ntasks-per-node=1").fields["run"]
    assert 'bash -c "$L a.py"' in run and "\\$SKYPILOT_NODE_RANK" in run


@pytest.mark.parametrize(
    ("body", "variables"),
    [
        ('while [ "$1" != e ]; do f "$@"; shift; done', {"ARGS": ""}),
        ("set -- $(sed -n 1p list.txt)\n./a $1", {}),
        ("./a $1 $2", {"ARG1": None, "ARG2": None}),
        ('if [ -z "$SLURM_ARRAY_TASK_ID" ]; then ./a; else ./b $SLURM_ARRAY_TASK_ID; fi', {"TASK_ID": ""}),
    ],
)
def test_arguments_and_indices_are_variables(body: str, variables: dict[str, object]) -> None:
    found = export(body).fields.get("envs", {})
    assert {name: value for name, value in found.items() if name[0] in "AT"}.keys() == variables.keys()
    assert all(found[name] == value or found[name] == "" for name, value in variables.items())


def test_a_node_has_a_cpu_for_each_rank_of_mpirun() -> None:
    assert export("mpirun -n 28 ./a", "-N 1").fields["resources"]["cpus"] == "28+"
    assert export("mpirun -n 8 ./a", "-N 2;--ntasks-per-node=4").fields["resources"]["cpus"] == "4+"


def test_a_folder_above_which_the_script_reads_is_no_workdir() -> None:
    found = export("cd /srv/me/seamseg/scripts\npython ../../other/run.py")
    assert "cd /srv/me/seamseg/scripts" in found.fields["run"] and "# TODO: /srv/me is on the old cluster" in found.yaml


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


@pytest.mark.parametrize("option", ["--interface ib0", "--interface='ib0'", "--interface 'hsn0'"])
def test_a_network_card_of_the_old_cluster_is_left_out(option: str) -> None:
    found = export(f"dask-mpi {option} --nthreads 2")
    assert found.fields["run"] == "dask-mpi --nthreads 2\n" and "network card" in found.yaml


def test_a_folder_in_another_one_is_mounted_with_it() -> None:
    assert "/sdf/x" not in export("singularity exec -B /sdf a.sif ./a /sdf/x/y").yaml.partition("run: |")[0]


def test_ranks_on_other_nodes_have_the_environment_of_the_first() -> None:
    assert " -x PATH " in export("conda activate x\nmpirun ./a", "-N2").fields["run"]


def test_an_mpirun_in_a_variable_reaches_all_nodes() -> None:
    found = export('M="mpirun -n $SLURM_NTASKS"\n$M ./a', "-N2;--ntasks-per-node=4")
    assert "mpirun -H $(echo" in found.fields["run"] and "remove num_nodes" not in found.yaml


def test_a_job_that_requeues_itself_restarts_on_errors() -> None:
    found = export("./a || scontrol requeue $SLURM_JOB_ID")
    assert found.fields["run"] == "./a || exit 1\n"
    assert found.fields["resources"]["job_recovery"] == {"max_restarts_on_errors": 3}


def test_an_environment_of_conda_run_is_made_in_setup() -> None:
    assert "conda env create -n x -f environment.yml" in export("conda run -n x python a.py").fields["setup"]


def test_a_program_that_the_workdir_lacks_is_built_in_setup(tmp_path: Path) -> None:
    assert "TODO: build main in setup" in export("mpirun ./main", folder=str(tmp_path)).yaml
    assert "TODO: build" not in export("make\nmpirun ./main", folder=str(tmp_path)).yaml


def test_an_option_of_srun_in_a_variable_needs_slurmsky() -> None:
    assert "come from a variable" in export('M="--export=ALL,A=$B"\nsrun $M bash -c "./a"', "-N2").yaml


def test_the_image_of_shifters_directive_is_the_tasks(tmp_path: Path) -> None:
    source = "#!/bin/bash\nsrun shifter ./a\n"
    spec = moving.request(source.encode(), "job.sh").components[0]
    dropped = [Dropped(2, "--image=docker:nersc/x:1", "no option of Slurm")]
    found = export_yaml(source, [spec], SITE, "", file="job.sh", dropped=dropped)
    assert found.fields["resources"]["image_id"] == "docker:nersc/x:1" and found.fields["run"] == "./a\n"
    assert "no option" not in found.yaml


def test_the_root_of_the_repository_is_the_workdir_if_the_script_asks_git_for_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "jobs").mkdir()
    found = export("cd $(git rev-parse --show-toplevel)\n./a", folder=str(tmp_path / "jobs"))
    assert found.fields["workdir"] == ".." and found.fields["run"].startswith("cd jobs\n")


def test_steps_with_gpus_of_their_own_side_by_side_need_slurmsky() -> None:
    body = "for f in *.txt; do srun -n1 --gres=gpu:1 python a.py $f & done\nwait"
    assert "side by side" in export(body, "-n4;--gres=gpu:4").yaml
    assert not export(body, "--gres=gpu:1").needs


def test_a_folder_of_chdir_is_not_the_workdirs_former_path(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    source = "#!/bin/bash\ncd /home/me/proj\npython a.py\n"
    spec = moving.request(source.encode(), "job.sh").components[0].evolve(chdir=f"{tmp_path}/log")
    found = export_yaml(source, [spec], SITE, "", file="job.sh", folder=str(tmp_path))
    assert str(tmp_path) not in found.yaml and "cd log" not in found.fields["run"]


def test_python_files_of_mpi_are_one_program_on_all_nodes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from mpi4py import MPI\n")
    found = export("srun python a.py", "-N2;--ntasks-per-node=1", folder=str(tmp_path))
    assert "mpirun -np 2" in found.yaml or found.needs


def test_variables_of_the_caller_that_are_secrets_are_secrets() -> None:
    assert export('./a --key "$WANDB_API_KEY"').fields["secrets"] == {"WANDB_API_KEY": None}


def test_the_jar_of_gatk_is_gatk() -> None:
    found = export("java -jar /cvmfs/x/gatk-package-4.0.8.1-local.jar SplitNCigarReads --input a.bam")
    assert found.fields["run"] == "gatk SplitNCigarReads --input a.bam\n" and "gatk4" in found.fields["setup"]


def test_nextflow_by_its_installer_has_java_and_its_profile_a_comment() -> None:
    found = export("curl -fsSL get.nextflow.io | bash\n./nextflow run a.nf -profile sumner --out $SLURM_SUBMIT_DIR")
    assert "default-jdk" in found.fields["setup"] and "-profile standard" in found.yaml


def test_libraries_of_modules_are_no_environment_of_python() -> None:
    found = export("module load tensorrt/6 opencv/4\npython train.py")
    assert "# TODO: pip install the packages that train.py imports" in found.fields["setup"]


def test_an_index_in_a_subscript_is_a_name_there() -> None:
    found = export("t=(a b c)\npython x.py ${t[SLURM_ARRAY_TASK_ID - 1]} ${t[$SLURM_ARRAY_TASK_ID]}", "--array=1-3")
    assert not found.needs and "python x.py ${t[TASK_ID - 1]} ${t[$TASK_ID]}" in found.fields["run"]


@pytest.mark.parametrize(
    ("body", "workdir", "begins"),
    [
        ("python parse.py --out x", "jobs", ""),  # the script's own folder has parse.py
        ("python parse.py ../data", ".", "cd jobs\n"),
        ("mkdir -p ../raw\ncd ../raw\n./get", ".", "cd jobs\n"),  # only above
        ("python train.py", ".", ""),
        ("python train.py ../data", "..", "cd project\n"),
        ("python parse.py train.py", ".", ""),  # both have a file: sbatch is called in the project's folder
        ("hostname", ".", ""),
    ],
)
def test_a_script_below_the_submit_folder_starts_where_its_files_are(
    tmp_path: Path, body: str, workdir: str, begins: str
) -> None:
    folder = tmp_path / "project"
    (folder / "jobs").mkdir(parents=True)
    for name in ("train.py", "jobs/parse.py", "jobs/job.sh"):
        (folder / name).write_text("")
    text = f"#!/bin/bash\n{body}\n"
    specs: Any = moving.request(text.encode(), "job.sh").components
    spec = specs[0].evolve(chdir=str(folder))
    found = export_yaml(text, [spec], SITE, "", file="job.sh", folder=str(folder), path="jobs/job.sh")
    assert found.fields.get("workdir", ".") == workdir
    assert found.fields["run"].startswith(begins) and found.fields["run"].startswith("cd ") == bool(begins)


def test_packages_of_r_come_from_the_lock_file_or_the_installer_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "a.R").write_text('source("b.R")\nlibrary(dplyr)\n')
    (tmp_path / "b.R").write_text("library(DESeq2)\n")
    (tmp_path / "go.sh").write_text("Rscript a.R\n")
    for body in ("Rscript a.R", "bash go.sh"):
        setup = export(body, folder=str(tmp_path)).fields["setup"]
        assert 'BiocManager::install(c("dplyr", "DESeq2"))' in setup and "libcurl4-openssl-dev" in setup
    (tmp_path / "renv.lock").write_text("{}")
    setup = export("Rscript a.R", folder=str(tmp_path)).fields["setup"]
    assert "renv::restore" in setup and "dplyr" not in setup


def test_imports_of_files_that_a_shell_script_starts_are_installed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import numpy, utils")
    (tmp_path / "go.sh").write_text("python a.py\n")
    found = export("bash go.sh", folder=str(tmp_path))
    assert found.fields["setup"].endswith("pip install numpy\n")
    assert "import utils: no folder of the project has this module" in found.yaml


def test_the_projects_own_modules_and_programs_are_known_to_python(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    jobs, net = tmp_path / "jobs", tmp_path / "net"
    jobs.mkdir()
    net.mkdir()
    (jobs / "a.py").write_text("import net.layer")
    (net / "layer.py").write_text("")
    found = export("python a.py", folder=str(jobs))
    assert found.fields["workdir"] == ".." and "pip install" not in found.yaml
    assert "cd jobs\nexport PYTHONPATH=$PWD/..:$PYTHONPATH\npython a.py" in found.fields["run"]
    (tmp_path / "pyproject.toml").write_text('[project.scripts]\nnet-train = "net.cli:main"\n')
    found = export("net-train", folder=str(jobs))
    assert "cd jobs\npip install -e ..\n" in found.fields["setup"] and "To do" not in found.yaml


def test_a_csh_scripts_arguments_and_mpirun_are_provided() -> None:
    source = "#!/bin/csh\n#SBATCH -n 4\ncd $argv\n/usr/bin/mpirun -np 4 ./a.x\n"
    found = moving.exported(source.encode(), SITE, "job.csh")
    assert "openmpi-bin" in found.fields["setup"] and "tcsh" in found.fields["setup"]
    assert "arguments: the script reads them" in found.yaml


def test_a_name_that_resembles_slurms_variables_is_no_reason_for_the_agent() -> None:
    assert not export('touch "%SRUN_ERROR"').needs


def test_an_unbuilt_program_at_a_relative_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.in").write_text("")
    assert "build ../build/solver in setup" in export("srun ./../build/solver a.in", folder=str(tmp_path)).yaml


def test_processes_of_torchrun_are_gpus_of_a_script_that_requests_none() -> None:
    found = export("torchrun --nproc_per_node 4 train.py", "-p gpu")
    assert found.fields["resources"]["accelerators"] == "H100:4"


def test_paths_in_a_line_of_matlab_are_the_old_clusters() -> None:
    assert "/global/home" in export("matlab -batch \"run('/global/home/me/x.m')\"").yaml


def test_a_solver_of_openfoam_in_parallel_is_an_mpi_program() -> None:
    found = export("srun $(getApplication) -parallel", "-n 8")
    assert not found.needs and "mpirun -np 8 " in found.fields["run"]


def test_setup_compiles_the_only_source_of_a_program(tmp_path: Path) -> None:
    (tmp_path / "solve.c").write_text("#include <mpi.h>\n#include <math.h>\n#pragma omp parallel\n")
    (tmp_path / "Makefile").write_text("all: heat\nheat: heat.f90\n\tgfortran -o heat heat.f90\n")
    setup = export("mpirun ./solve\n./heat", "-n4", folder=str(tmp_path)).fields["setup"]
    assert "mpicc -O2 -fopenmp -o solve solve.c -lm" in setup and "make heat" in setup
    assert "libopenmpi-dev" in setup and "gfortran" in setup and setup.index("apt-get") < setup.index("mpicc")
    found = export("module load intel intelmpi\nmpirun ./solve", "-n4", folder=str(tmp_path))
    assert "mpicc -O2" in found.fields["setup"] and "libopenmpi-dev" not in found.fields["setup"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("singularity run app/tool.sif", "(cd .. && apptainer build app/app/tool.sif Singularity.def)"),
        ("apptainer exec tool.sif a", "(cd .. && apptainer build app/tool.sif Singularity.def)"),
        ("apptainer pull tool.sif docker://a/b\napptainer exec tool.sif a", ""),
    ],
)
def test_setup_builds_an_image_file_from_the_projects_definition(tmp_path: Path, body: str, expected: str) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "Singularity.def").write_text("Bootstrap: docker\nFrom: ubuntu\n")
    found = export(body, folder=str(tmp_path / "app"))
    assert ("apptainer build" in found.yaml) == bool(expected) and expected in found.yaml
    assert found.fields["workdir"] == (".." if expected else ".")


def test_an_image_file_without_a_definition_and_missing_inputs_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    found = export("apptainer exec x.sif a\npython a.py --input in/b.csv", folder=str(tmp_path)).yaml
    assert "../x.sif: the workdir" in export("apptainer exec ../x.sif a", folder=str(tmp_path)).yaml
    assert "x.sif: the workdir has no such image file" in found and "in/b.csv: the workdir" not in found
    found = export("gunzip c.csv.gz\npython a.py --input in/b.csv --data c.csv", folder=str(tmp_path)).yaml
    assert "c.csv.gz, in/b.csv: the workdir has no such file" in found


def test_an_environment_without_a_list_gets_the_projects_packages(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.poetry.dependencies]\npython = "~3.10"\ntorch = "*"\n')
    found = export("conda activate me\nwandb agent a/b/c", folder=str(tmp_path))
    assert "conda create -y -n me python=3.10\n" in found.fields["setup"]
    assert found.fields["setup"].endswith("pip install poetry\npoetry install --no-root\n")
    assert found.fields["secrets"] == {"WANDB_API_KEY": None}


def test_a_label_in_the_queue_is_left_out() -> None:
    found = export('scontrol update jobid=$SLURM_JOBID jobname="x_$A"\n./a')
    assert not found.needs and "scontrol" not in found.fields["run"] and "a label in Slurm's queue" in found.yaml
    assert export("scontrol update jobid=$SLURM_JOBID timelimit=5\n./a").needs


def test_each_launch_of_an_array_has_the_inputs() -> None:
    assert "--env TASK_ID=$i --env ARG1=... job.yaml" in export("./a $1 $SLURM_ARRAY_TASK_ID", "--array=1-2").yaml


@pytest.mark.parametrize("body", ["awk 1 out/*.csv", "python3 -m gzip *.dat", "D=$PWD/in\ncd /x"])
def test_files_of_a_pattern_are_in_the_workdir(body: str) -> None:
    assert export(body).fields["workdir"] == "."


def test_the_programs_of_openfoams_image_are_in_path() -> None:
    found = export("module load OpenFOAM/v2206-foss-2022a\nblockMesh")
    assert found.fields["resources"]["image_id"] == "docker:opencfd/openfoam-default:2206"
    assert found.fields["run"].startswith(". /usr/lib/openfoam/openfoam*/etc/bashrc\n")
    found = export("module load OpenFOAM/9\nsource $FOAM_BASH\nblockMesh")
    assert "/opt/openfoam*/etc/bashrc 2>/dev/null" in found.fields["run"] and "FOAM_BASH: nothing" not in found.yaml


def test_a_gpu_in_a_versioned_partition_is_its_type() -> None:
    assert export("python a.py", "-p t4v2;--gpus-per-node=1").fields["resources"]["accelerators"] == "T4:1"


def test_a_sites_own_wrapper_is_named() -> None:
    found = export("module load alphafold\nalphafold_full_db.sh --fasta_paths=a.fa").yaml
    assert "alphafold_full_db.sh: no package is known for it" in found and "translate what" not in found


def test_matlabs_image_needs_the_licence_server_only() -> None:
    found = export("module load matlab\nmatlab -batch a").yaml
    assert "MLM_LICENSE_FILE names your licence server" in found and "use an image" not in found


def test_mpirun_starts_the_tasks_of_the_job_on_nodes_that_do_not_divide_them() -> None:
    assert " -np 4 ./a\n" in export("mpirun ./a", "-N3;-n4").fields["run"]
    assert " -np 6 " in export("mpirun -npernode 2 ./a", "-N3;-n4").fields["run"]


def test_a_sites_mpiexec_is_mpirun() -> None:
    assert "mpirun --use-hwthread-cpus -np 8 ./a" in export("$MPIEXEC $FLAGS_MPI_BATCH ./a", "-n8").fields["run"]
    assert "$MPIEXEC ./a" in export("MPIEXEC=x\n$MPIEXEC ./a", "-n8").fields["run"]


def test_tunnels_and_proxies_of_the_old_cluster_are_left_out() -> None:
    found = export("PORT=1080\nssh -fN -D $PORT me@login01 &\nexport https_proxy=socks5://127.0.0.1:$PORT\n./a")
    assert found.fields["run"] == "./a\n" and "envs" not in found.fields and "a tunnel through a host" in found.yaml
    assert "ssh node2 ./a" in export("ssh node2 ./a").fields["run"]


@pytest.mark.parametrize("line", ["conda activate base", "source activate base"])
def test_base_does_not_hide_the_environment_of_setup(tmp_path: Path, line: str) -> None:
    (tmp_path / "environment.yml").write_text("dependencies:\n- python\n")
    (tmp_path / "a.py").write_text("")
    found = export(f"{line}\npython a.py", folder=str(tmp_path))
    assert found.fields["run"] == "conda activate job\npython a.py\n"
    assert "conda activate base" in export("conda activate x\n./a\nconda deactivate\nconda activate base").yaml


@pytest.mark.parametrize("config", ["executor {\n  name = 'slurm'\n}\n", "process.executor = 'slurm'\n"])
def test_nextflow_with_slurm_in_its_settings_runs_on_the_node(tmp_path: Path, config: str) -> None:
    (tmp_path / "nextflow.config").write_text(config)
    found = export("export NXF_EXECUTOR=slurm\nsrun nextflow run a.nf -resume", folder=str(tmp_path))
    assert not found.needs and found.fields["run"] == "nextflow run a.nf -resume -process.executor local\n"
    (tmp_path / "nextflow.config").write_text("// executor = 'slurm'\n")
    assert "local" not in export("nextflow run a.nf", folder=str(tmp_path)).fields["run"]


def test_the_programs_of_a_wandb_agent_are_read(tmp_path: Path) -> None:
    (tmp_path / "sweep_me.py").write_text("import wandb, torch\n")
    assert "pip install wandb torch" in export("wandb agent a/b", folder=str(tmp_path)).fields["setup"]


def test_old_paths_in_the_projects_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import sys\nsys.path.append('/home/me/lib')\n# x = '/home/me/b'\n")
    (tmp_path / "b.R").write_text('dir = "/Users/me/data/"\nsource(paste0(dir, "code/c.R"))\n')
    (tmp_path / "c.R").write_text("library(glmnet)\n")
    found = export("python a.py\nRscript b.R", folder=str(tmp_path))
    assert "/home/me/lib in a.py, /Users/me/data/ in b.R: the project's file names this path" in found.yaml
    assert "/home/me/b" not in found.yaml and 'c("glmnet")' in found.fields["setup"]


def test_a_bare_program_of_the_folder_is_built(tmp_path: Path) -> None:
    (tmp_path / "solve.c").write_text("#include <mpi.h>\n")
    found = export("mpirun solve", "-n4", folder=str(tmp_path))
    assert "mpicc -O2 -o solve solve.c" in found.fields["setup"] and "solve: no package" not in found.yaml
    found = export("make\nmpirun solve", "-n4", folder=str(tmp_path)).yaml
    assert "mpicc -O2" not in found and "solve: no package" not in found
