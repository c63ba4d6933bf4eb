"""The run block of exported YAML: steps, loops over nodes, addresses and launchers."""

from __future__ import annotations

import pytest
from yaml_exports import NONE, TWO, export, script


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


def test_a_function_whose_body_begins_on_the_next_line_stays_whole() -> None:
    run = export(script("module ()\n{\n  echo hi\n}\n./prepare\nsrun ./a.sh", TWO)).fields["run"]
    assert "module ()\n{\n  echo hi\n}\n" in run


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


def test_variables_between_single_quotes_in_double_ones_keep_their_values() -> None:
    assert export(script("""srun bash -c "echo '$HOME'"\n""", TWO)).fields["run"] == """bash -c "echo '$HOME'"\n"""
    assert export(script("""srun bash -c "echo $HOME"\n""", TWO)).fields["run"] == "echo $HOME\n"


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


def test_torchruns_that_have_their_rank_have_the_first_nodes_address() -> None:
    body = "srun torchrun --nnodes 2 --node_rank $SLURM_NODEID {}t.py"
    assert '--master_addr "$(echo' in export(script(body.format(""), TWO)).fields["run"]
    given = export(script(body.format("--master_addr $HEAD "), TWO)).fields["run"]
    assert given.count("master_addr") == 1


def test_nodes_without_work_are_reported() -> None:
    comment = "no command uses the other nodes"
    assert comment in export(script("samtools view x.bam", "-N2")).yaml
    assert comment not in export(script("srun hostname\nsamtools view x.bam", "-N2")).yaml
    assert comment not in export(script("mpirun ./a.out", TWO)).yaml


def test_a_deactivate_goes_with_its_environment() -> None:
    found = export(script("source ~/venv/bin/activate\npython a.py\ndeactivate"))
    assert found.fields["run"] == "python a.py\n"


def test_mambas_start_files_and_activations_are_condas() -> None:
    body = '. "${HOME}/micromamba/etc/profile.d/mamba.sh"\nmamba activate R4\nRscript a.R'
    assert export(script(body)).fields["run"] == "conda activate R4\nRscript a.R\n"


def test_programs_that_print_a_nodes_state_start_once() -> None:
    found = export(script("srun -l /bin/hostname\nsrun nvidia-smi\npython a.py", "-n4"))
    assert not found.needs and found.fields["run"] == "/bin/hostname\nnvidia-smi\npython a.py\n"
    assert "prints the same 4 times" in found.yaml
