"""Exported YAML of single idioms: texts that it has, and texts that it must not have."""

from __future__ import annotations

from typing import Any

import pytest
from moving_script import moving
from yaml_exports import NONE
from yaml_exports import export_body as export

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


def test_a_zsh_script_without_forms_of_its_own_becomes_lines_of_bash() -> None:
    found = export("module load python/3.8\npython a.py", shell="/usr/bin/env zsh")
    assert not found.needs
    assert "python=3.8" in found.fields["setup"] and "zsh" not in found.fields["setup"]
    assert "zsh of the first line (line 1): bash runs these lines" in found.yaml
    assert export("setopt extendedglob\nmodule load python\npython a.py", shell="/bin/zsh").needs


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


def test_the_gpu_is_one_that_the_images_cuda_supports() -> None:
    found: Any = moving.exported(
        b"#!/bin/bash\n#SBATCH --gpus=1\nmodule load pytorch/1.4\npython a.py\n", NONE, "job.sh"
    )
    assert found.fields["resources"]["accelerators"] == "V100:1"


def test_gromacs_for_gpus_is_another_build() -> None:
    assert "'gromacs=*=nompi_cuda*'" in export("module load gromacs\ngmx mdrun", "--gpus=1").fields["setup"]
    assert "cuda" not in export("module load gromacs\ngmx mdrun").fields["setup"]


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


def test_a_folder_above_which_the_script_reads_is_no_workdir() -> None:
    found = export("cd /srv/me/seamseg/scripts\npython ../../other/run.py")
    assert "cd /srv/me/seamseg/scripts" in found.fields["run"] and "# TODO: /srv/me is on the old cluster" in found.yaml


@pytest.mark.parametrize("option", ["--interface ib0", "--interface='ib0'", "--interface 'hsn0'"])
def test_a_network_card_of_the_old_cluster_is_left_out(option: str) -> None:
    found = export(f"dask-mpi {option} --nthreads 2")
    assert found.fields["run"] == "dask-mpi --nthreads 2\n" and "network card" in found.yaml


def test_a_folder_in_another_one_is_mounted_with_it() -> None:
    assert "/sdf/x" not in export("singularity exec -B /sdf a.sif ./a /sdf/x/y").yaml.partition("run: |")[0]


def test_a_job_that_requeues_itself_restarts_on_errors() -> None:
    found = export("./a || scontrol requeue $SLURM_JOB_ID")
    assert found.fields["run"] == "./a || exit 1\n"
    assert found.fields["resources"]["job_recovery"] == {"max_restarts_on_errors": 3}


def test_an_environment_of_conda_run_is_made_in_setup() -> None:
    assert "conda env create -n x -f environment.yml" in export("conda run -n x python a.py").fields["setup"]


def test_variables_of_the_caller_that_are_secrets_are_secrets() -> None:
    assert export('./a --key "$WANDB_API_KEY"').fields["secrets"] == {"WANDB_API_KEY": None}


def test_the_jar_of_gatk_is_gatk() -> None:
    found = export("java -jar /cvmfs/x/gatk-package-4.0.8.1-local.jar SplitNCigarReads --input a.bam")
    assert found.fields["run"] == "gatk SplitNCigarReads --input a.bam\n" and "gatk4" in found.fields["setup"]


def test_libraries_of_modules_are_no_environment_of_python() -> None:
    found = export("module load tensorrt/6 opencv/4\npython train.py")
    assert "# TODO: pip install the packages that train.py imports" in found.fields["setup"]


def test_an_index_in_a_subscript_is_a_name_there() -> None:
    found = export("t=(a b c)\npython x.py ${t[SLURM_ARRAY_TASK_ID - 1]} ${t[$SLURM_ARRAY_TASK_ID]}", "--array=1-3")
    assert not found.needs and "python x.py ${t[TASK_ID - 1]} ${t[$TASK_ID]}" in found.fields["run"]


def test_a_name_that_resembles_slurms_variables_is_no_reason_for_the_agent() -> None:
    assert not export('touch "%SRUN_ERROR"').needs


def test_paths_in_a_line_of_matlab_are_the_old_clusters() -> None:
    assert "/global/home" in export("matlab -batch \"run('/global/home/me/x.m')\"").yaml


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


def test_tunnels_and_proxies_of_the_old_cluster_are_left_out() -> None:
    found = export("PORT=1080\nssh -fN -D $PORT me@login01 &\nexport https_proxy=socks5://127.0.0.1:$PORT\n./a")
    assert found.fields["run"] == "./a\n" and "envs" not in found.fields and "a tunnel through a host" in found.yaml
    assert "ssh node2 ./a" in export("ssh node2 ./a").fields["run"]
