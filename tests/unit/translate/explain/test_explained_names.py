"""Findings about programs, variables, environments and paths of a script."""

from __future__ import annotations

import pytest
from explained_pages import BARE, explain, one
from moving_script import moving

from slurmsky.model.spec import JobSpec
from slurmsky.options.table import load as options
from slurmsky.site import load
from slurmsky.translate.explain.explanation import explain as explain_script
from slurmsky.translate.script import needs
from slurmsky.translate.script.declared_packages import PythonPackages
from slurmsky.translate.script.project_folder import Project
from slurmsky.translate.sky_task.setup_commands import environment_setup


@pytest.mark.parametrize(
    ("card", "effect"), [("ib0", "decision"), ("^docker0,lo", "kept"), ("eth0", "kept"), ("hsn", "decision")]
)
def test_a_network_card_of_the_old_cluster_is_reported(card: str, effect: str) -> None:
    page = explain(f"#!/bin/bash\nexport NCCL_SOCKET_IFNAME={card}\npython a.py\n")
    (found,) = [entry for entry in page.findings if entry.text == "NCCL_SOCKET_IFNAME"]
    assert found.effect == effect


def test_a_network_card_of_a_container_is_reported() -> None:
    page = explain("#!/bin/bash\nsingularity exec --env NCCL_SOCKET_IFNAME=ib0 docker://python python a.py\n")
    assert [entry.effect for entry in page.findings if entry.text == "NCCL_SOCKET_IFNAME"] == ["decision"]


def test_a_batch_script_in_a_here_document_is_read() -> None:
    script = "#!/bin/bash\nsbatch <<EOF\n#!/bin/bash\n#SBATCH -n 1\ncat /fsx/data/x\nEOF\n"
    (found,) = [entry for entry in explain(script, site=BARE).findings if entry.effect == "decision"]
    assert found.line == 3 and "/fsx/data/x" in found.text


def test_code_for_tensorflow_1_needs_an_environment() -> None:
    packages = PythonPackages(("tensorflow==1.15.5",), python="3.7")
    for first, effects in (("", ["decision"]), ("conda activate old\n", [])):
        data = f"#!/bin/bash\n{first}python a.py\n".encode()
        page = explain_script(
            data, [JobSpec()], load("", "none"), options("sbatch"), file="x", engine="sky", packages=packages
        )
        assert [one.effect for one in page.findings if "TensorFlow 1" in one.text] == effects


def test_a_folder_is_reported_for_each_use_that_needs_more() -> None:
    script = "#!/bin/bash\nsource /fsx/env/bin/activate\npython /fsx/data/x.py\n"
    lines = [found.line for found in explain(script, site=BARE).findings if found.effect == "decision"]
    assert lines == [3]


def test_a_python_package_brings_only_programs_of_its_name() -> None:
    page = explain("#!/bin/bash\nmodule load tensorflow\nncvd a\ntensorboard --logdir x\n", site=BARE)
    effects = {found.text.split()[0]: found.effect for found in page.findings if found.kind == "command"}
    assert effects["ncvd"] == "decision" and effects["tensorboard"] != "decision"


def test_a_virtual_environment_beside_the_script_is_made_in_the_submit_folder() -> None:
    task = explain("#!/bin/bash\nsource venv/bin/activate\npython -c pass\n", site=BARE)
    assert [found.effect for found in task.findings if found.kind == "environment"] == ["changed"]
    assert "conda create" not in task.task_yaml
    wanted = needs.needs_in_folder(needs.of("source ../venv/bin/activate\n"), Project("/work/job"))
    assert wanted.environments == ("/work/venv",)
    assert any("python3 -m venv /work/venv" in line for line in environment_setup(BARE, "/work/venv", wanted))


def test_a_program_that_only_reports_does_not_stop_a_script_unless_it_stops_at_errors() -> None:
    script = "#!/bin/bash\nmyquota\necho on\n"
    assert explain(script, site=BARE).unchanged
    assert not explain(script.replace("\n", "\nset -eu\n", 1), site=BARE).unchanged


def test_variables_that_a_loaded_module_sets_need_no_value() -> None:
    script = "#!/bin/bash\nmodule load bio/picard/2.9.2\njava -jar $PICARD MarkDuplicates\n"
    found = next(one for one in explain(script, site=BARE).findings if one.text == "PICARD")
    assert (found.effect, found.reason) == ("changed", "module bio/picard/2.9.2 sets it")
    assert not explain(script.replace("bio/picard", "gcc"), site=BARE).unchanged


@pytest.mark.parametrize(
    "shown",
    ["# sbatch --export=PLACE=/a,N=3 job.sh", "# PLACE=$(pwd) sbatch job.sh", 'true || sbatch --export=PLACE=x "$0"'],
)
def test_a_variable_that_a_shown_sbatch_line_gives_is_an_input(shown: str) -> None:
    assert explain(f"#!/bin/bash\n{shown}\ncd $PLACE\n", site=BARE).unchanged
    assert not explain(f"#!/bin/bash\n{shown.replace('PLACE', 'OTHER')}\ncd $PLACE\n", site=BARE).unchanged


@pytest.mark.parametrize("words", ["--interface 'ib0'", "--interface=ib0", "-x --gloo-socket-ifname hsn0"])
def test_an_option_that_names_a_network_card_is_a_decision(words: str) -> None:
    page = explain(f"#!/bin/bash\nmpirun -np 2 dask-mpi {words} --nthreads=2\n", site=BARE)
    assert [one.effect for one in page.findings if "network interface" in one.reason] == ["decision"]
    here = explain("#!/bin/bash\ndask-mpi --interface eth0\n", site=BARE)
    assert not [one for one in here.findings if "network interface" in one.reason]


def test_let_sets_a_variable() -> None:
    page = explain("#!/bin/bash\nlet n=64/$OMP_NUM_THREADS\nsrun -n $n hostname\n", site=BARE)
    assert "n" not in [found.text for found in page.findings if found.kind == "variable"]


def test_folders_of_module_use_need_no_value() -> None:
    page = explain("#!/bin/bash\nmodule use $OTHERSTAGES\nmodule use --append $MORE\ncat $INDEX\n")
    unset = [one.text for one in page.findings if one.kind == "variable" and one.effect == "decision"]
    assert unset == ["INDEX"]


def test_a_line_after_a_broken_continuation_names_no_program() -> None:
    page = explain("#!/bin/bash\ncat x \\ \n  --gsize mm\n")
    assert page.unchanged and [one.text for one in page.findings if one.kind == "command"] == ["cat x"]


def test_conda_can_enter_an_environment_that_setup_makes_in_a_folder() -> None:
    text = "#!/bin/bash\nconda activate /work/me/env\npython x.py\n"
    made = next(iter(environment_setup(BARE, "/work/me/env", needs.of(text))))
    assert made.endswith(
        "venv /work/me/env && mkdir -p /work/me/env/conda-meta && touch /work/me/env/conda-meta/history)"
    )


def test_an_environment_beside_the_script_by_its_folder() -> None:
    found = one("#!/bin/bash\nconda activate tools/env1\npython x.py\n", "environment", site=BARE)
    assert (found.text, found.effect) == ("./tools/env1", "changed")


@pytest.mark.parametrize(
    ("module", "program", "effect"),
    [
        ("lammps", "lmp_bigbig", "decision"),
        ("lammps", "lmp_mpi", "kept"),
        ("gromacs", "gmx_mpi_d", "decision"),
        ("star", "star-fusion", "kept"),
        ("samtools", "own_tool", "kept"),
        ("samtools", "enable_lmod", "kept"),
    ],
)
def test_a_package_has_no_sites_own_builds(module: str, program: str, effect: str) -> None:
    found = one(f"#!/bin/bash\nmodule load {module}\nsrun {program} -in x\n", "command", site=BARE)
    assert (found.text.partition(" ")[0], found.effect) == (program, effect), found


def test_an_environment_above_the_submit_folder_is_made() -> None:
    page = explain("#!/bin/bash\nsource ../venv/bin/activate\npython x.py\n", site=BARE)
    assert page.unchanged and [one.effect for one in page.findings if one.kind == "environment"] == ["changed"]


@pytest.mark.parametrize(
    "use, effect",
    [
        ("python x.py --seed $SEED", "kept"),
        ('python x.py --tag "run_${SEED}_a"', "kept"),
        ("cp $SEED/x.dat .", "decision"),
        ("cd $SEED", "decision"),
        ("$SEED x.dat", "decision"),
        ("singularity run $SEED python x.py", "decision"),
        ("module load seed/1.0\npython x.py --seed $SEED", "decision"),
    ],
)
def test_a_variable_that_is_a_value_alone_is_an_input(use: str, effect: str) -> None:
    assert one(f"#!/bin/bash\n{use}\n", "variable").effect == effect


def test_the_number_of_a_job_of_another_scheduler_is_no_input() -> None:
    assert one("#!/bin/bash\npython x.py --id $BRIDGE_MSUB_JOBID\n", "variable").effect == "decision"


def test_an_empty_list_and_a_name_with_an_underscore_are_nothing_on_any_cluster() -> None:
    page = explain('#!/bin/bash\nA=1\npython x.py "${MORE[@]}" --out $A_$A\n')
    assert not [found for found in page.findings if found.kind == "variable"]


@pytest.mark.parametrize("command", ["srun fesom.x", "mpirun ideal.exe"])
def test_a_program_that_its_user_builds_is_searched_in_the_submit_folder(command: str) -> None:
    assert one(f"#!/bin/bash\n{command}\n", "command").effect == "kept"


@pytest.mark.parametrize(
    "body, effect", [("python x.py", "changed"), ("nvcc x.cu", "decision"), ("./simulate", "decision")]
)
def test_an_old_cuda_is_no_decision_of_python(body: str, effect: str) -> None:
    text = f"#!/bin/bash\nmodule load cuda/8.0\n{body}\n"
    data, site = text.encode(), load('modules = "shipped"', "site.toml")
    specs = moving.request(data, "x").components
    page = explain_script(
        data, specs, site, options("sbatch"), file="x", engine="sky", packages=PythonPackages(("torch",))
    )
    assert next(found for found in page.findings if found.kind == "module").effect == effect


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ('cmd="srun -n 2 nosuch a"\ntime $cmd\n', "decision"),
        ('run="srun -n 4"\ncom="$run nosuch a"\n$com\n', "decision"),
        ("EXE=nosuch\nsrun ${EXE} a\n", "decision"),
        ('args="-n 4"\nsrun $args nosuch a\n', "decision"),
        ("export PATH=/old/bin:$PATH\nnosuch a\n", "decision"),
        ("export PATH=$PWD/bin:$PATH\nnosuch a\n", "kept"),
        ("export PATH=/data/bin:$PATH\nnosuch a\n", "kept"),
        ('cmd="gmx mdrun"\ncmd="nosuch a"\n$cmd\n', ""),
        ("P=$(which nosuch)\n$P a\n", "decision"),
        ("$(which nosuch) a\n", "decision"),
        ('if [ -z "$(which nosuch)" ]; then exit 1; fi\n', ""),
        ("singularity exec a.sif bash -c 'nosuch a'\n", ""),
    ],
)
def test_a_program_is_found_by_its_variable_and_by_path(text: str, effect: str) -> None:
    page = explain("#!/bin/bash\n" + text)
    found = [entry.effect for entry in page.findings if entry.kind == "command" and entry.text.startswith("nosuch")]
    assert found == ([effect] if effect else [])


def test_setup_installs_the_programs_of_variables() -> None:
    assert needs.of('#!/bin/bash\nrun="torchrun --nnodes 2"\nsrun bash -c "$run a.py"\n').programs == ("torchrun",)


@pytest.mark.parametrize(
    "text", ['D=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)', 'cd "$(dirname "$0")"', "cd ${0%/*}", "cd `dirname $0`"]
)
def test_the_place_of_the_script_is_that_of_the_jobs_copy(text: str) -> None:
    for engine in ("local", "sky"):
        found = one(f"#!/bin/bash\n{text}\n", "variable", engine)
        assert found.effect == "kept" and "copy of the script" in found.reason and found.text in ("BASH_SOURCE", "$0")


@pytest.mark.parametrize("program, effect", [("start-head.sh", "changed"), ("metawrap", "decision")])
def test_a_script_of_the_user_is_not_what_an_environment_has(program: str, effect: str) -> None:
    text = f"#!/bin/bash\nconda activate tools\n{program} x\n"
    assert one(text, "environment", site=load('modules = "shipped"', "site.toml")).effect == effect


def test_a_julia_project_needs_its_packages() -> None:
    found = one("#!/bin/bash\njulia --project=. x.jl\n", "environment", site=BARE)
    assert found.effect == "decision" and "Pkg.instantiate()" in found.reason
    made = "#!/bin/bash\njulia --project=. -e 'using Pkg; Pkg.instantiate()'\njulia --project=. x.jl\n"
    assert explain(made, site=BARE).unchanged


@pytest.mark.parametrize("name", ["LOCAL", "SNIC_TMP", "TMP", "WORK2"])
def test_file_systems_of_old_clusters_are_folders_of_the_nodes(name: str) -> None:
    found = one(f"#!/bin/bash\ncp x.dat ${name}\n", "variable", site=BARE)
    assert (found.text, found.effect) == (name, "changed")


@pytest.mark.parametrize(
    "line, kinds", [("export model={{model}}", ["form"]), ("{{ RUN }}", ["form"]), ("docker ps --format '{{.ID}}'", [])]
)
def test_a_field_of_a_template_is_a_placeholder(line: str, kinds: list[str]) -> None:
    found = [one.kind for one in explain(f"#!/bin/bash\n{line}\n").findings if "placeholder" in one.reason]
    assert found == kinds
