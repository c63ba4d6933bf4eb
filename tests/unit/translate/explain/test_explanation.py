"""Each directive, module, variable, command and path, and the finding about it."""

from __future__ import annotations

import html.parser
import itertools
import json
import time
from pathlib import Path

import pytest
from moving_script import moving
from tables import every

from slurmsky.options import table as tables
from slurmsky.options.getopt import split
from slurmsky.options.table import load as options
from slurmsky.site import load
from slurmsky.translate.explain import explain_html
from slurmsky.translate.explain.explain_text import page_text, table_text, to_html, to_json, verdict
from slurmsky.translate.explain.explanation import DECISION, EFFECTS, Finding, Page, sentences, with_prices
from slurmsky.translate.explain.explanation import explain as explain_script
from slurmsky.translate.explain.finding import LocalLookup
from slurmsky.translate.script import needs
from slurmsky.translate.script.project_folder import Project
from slurmsky.translate.sky_task import option_support
from slurmsky.translate.sky_task.price_table import read_prices
from slurmsky.translate.sky_task.setup_commands import environment_setup

SITE = load(
    """
accounts = ["ml"]
[gpus]
default = "H100"
[paths]
"/data" = "s3://team/data"
[modules]
"tool" = "docker:team/tool:1"
[[partition]]
name = "main"
default = true
features = { highmem = "r6i.8xlarge" }
""",
    "site.toml",
)
BARE = load("", "none")

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


def explain(text: str, engine: str = "sky", site: object = SITE) -> Page:
    page: Page = moving.explained(text.encode("utf-8", "surrogateescape"), site, "job.sh", engine)
    return page


def one(text: str, kind: str, engine: str = "sky", site: object = SITE) -> Finding:
    found = [entry for entry in explain(text, engine, site).findings if entry.kind == kind]
    assert found, explain(text, engine, site)
    return found[-1]


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
    assert load(text, "settled").options[0].name == "environment"
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


OPTIMIZER = """\x1b[33mnoise\x1b[0m
Considered resources (2 nodes):
--------------------------------------------------------------------------------------------
 INFRA               INSTANCE        vCPUs   Mem(GB)   GPUS     COST ($)   CHOSEN
--------------------------------------------------------------------------------------------
 AWS (us-east-1)     p4d.24xlarge    96      1152      A100:8   65.54      \x1b[32m   \u2714\x1b[0m
 Slurm (oracle)      -               1       0         -        0.00
--------------------------------------------------------------------------------------------
"""


def test_prices() -> None:
    rows = read_prices(OPTIMIZER)
    assert [row["infra"] for row in rows] == ["AWS (us-east-1)", "Slurm (oracle)"]
    page = with_prices(explain("#!/bin/bash\n#SBATCH --time=2:00:00\n"), rows, "")
    assert (
        "* AWS (us-east-1), p4d.24xlarge, GPUs A100:8: $65.54 an hour for all nodes, $131.08 for the time limit"
        in page_text(page)
    )
    assert read_prices("nothing") == []


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag in ("script", "img", "iframe") or any(name.startswith("on") for name, _ in attrs)


HOSTILE = [
    "#!/bin/bash\n#SBATCH -J '<script>alert(1)</script>'\nmodule load '<img src=x onerror=y>'\n",
    '#!/bin/bash\n#SBATCH -J "never\n',
    "#!/bin/bash\n#SBATCH -o $(rm -rf /)\n#SBATCH -p '\x1b[31mred'\necho\n",
    "#!/bin/bash\n" + "y" * 1_000_000 + "\n",
    "#!/bin/bash\n\udcff\udcfe $(\n",
    "#!/bin/bash\n#SBATCH --container-image=x --mounts=../../etc\n",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_scripts_are_explained(text: str) -> None:
    start = time.process_time()
    page = explain(text)
    shown = page_text(page)
    assert "\x1b" not in shown
    tags = _Tags()
    tags.feed(to_html([page, page]))
    assert tags.scripts == 0
    assert json.loads(to_json([page], False))["file"] == "job.sh"
    assert sum(line.startswith("job.sh") for line in table_text([page]).splitlines()) == 1
    assert time.process_time() - start < 5


def test_a_page_for_browsers_has_the_look_of_reports() -> None:
    page = explain("#!/bin/bash\n#SBATCH -n2\nmodule load nosuch\necho '<b>'\n")
    text = to_html([page])
    style = (Path(__file__).resolve().parents[4] / "slurmsky" / "page" / "style.css").read_text()
    assert style in text and "Content-Security-Policy" in text
    assert '<div class="tiles">' in text and '<span class="pill good">kept</span>' in text
    assert "<b>" not in text
    both = to_html([page, page])
    assert both.index("<h2>What to resolve first</h2>") < both.index("<h2>Scripts</h2>")
    assert both.count("<summary><bdi>job.sh</bdi>") == 2 and "<details open" not in both
    assert both.count("nosuch") > 2 and ">kept</span>" not in both  # lines that are kept are counted, not listed


def test_two_hundred_scripts_take_less_than_five_seconds() -> None:
    examples = Path(__file__).resolve().parents[4] / "examples" / "sbatch"
    texts = [path.read_text() for path in moving.scripts(examples)]
    start = time.process_time()
    for number in range(200):
        explain(texts[number % len(texts)].replace("python", f"python{number % 7}"))
    assert time.process_time() - start < 5


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


@pytest.mark.parametrize(
    ("card", "effect"), [("ib0", "decision"), ("^docker0,lo", "kept"), ("eth0", "kept"), ("hsn", "decision")]
)
def test_a_network_card_of_the_old_cluster_is_reported(card: str, effect: str) -> None:
    page = explain(f"#!/bin/bash\nexport NCCL_SOCKET_IFNAME={card}\npython a.py\n")
    (found,) = [entry for entry in page.findings if entry.text == "NCCL_SOCKET_IFNAME"]
    assert found.effect == effect


def test_a_folder_begins_with_the_suggested_lines() -> None:
    pages = [explain("#!/bin/bash\ncat /gpfs/x\n"), explain("#!/bin/bash\ncat /gpfs/y\nmodule load matlab\n")]
    text = table_text(pages)
    assert text.index("scripts run unchanged") < text.index("What keeps scripts") < text.index("verdict")
    assert "      1     2  path: is on the old cluster" in text
    lines = text.splitlines()
    head, row = (next(line for line in lines if word in line) for word in ("verdict", "1 to decide"))
    assert row[head.index("decide") : head.index("decide") + 6].strip() == "1"


def test_a_folder_is_reported_for_each_use_that_needs_more() -> None:
    script = "#!/bin/bash\nsource /fsx/env/bin/activate\npython /fsx/data/x.py\n"
    lines = [found.line for found in explain(script, site=BARE).findings if found.effect == "decision"]
    assert lines == [3]


def test_any_name_of_a_cluster_is_this_one_where_nothing_describes_it() -> None:
    text = "#!/bin/bash\n#SBATCH -M snowy\n"
    assert one(text, "directive", site=load("", "none")).effect == "kept"
    found = one(text, "directive")
    assert (found.effect, found.reason) == ("refused", "No cluster 'snowy' known by database.")


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


def test_a_script_that_lacks_many_variables_is_started_by_one_that_exports_them() -> None:
    driven = explain("#!/bin/bash\npython x.py --a $A_DIR --b $B_DIR --c $EPOCHS\n", site=BARE)
    assert driven.unchanged and verdict(driven) == "runs unchanged, given A_DIR, B_DIR, EPOCHS"
    assert not explain("#!/bin/bash\npython x.py --a $A_DIR\n", site=BARE).unchanged


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


@pytest.mark.parametrize(
    ("line", "argument"), [("--ccm", "none"), ("--image x/y", "required"), ("--own=b", "required")]
)
def test_the_lines_for_a_sites_own_option_declare_it(line: str, argument: str) -> None:
    text = f"#!/bin/bash\n#SBATCH {line}\n#SBATCH -N2\n"
    found = next(one for one in explain(text).findings if one.suggestion)
    own = load(found.suggestion, "settled").options[0]
    assert own.argument == argument
    option = tables.DeclaredOption(name=own.name, argument=own.argument, help="", policy="")
    words = line.split()
    assert not split(options("sbatch").with_site_options([option]), words).rest


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


def test_the_html_page_names_effects_in_the_words_of_the_table() -> None:
    """Headings are the effects with a capital letter, except for open decisions."""
    shown = {effect: head.lower() for effect, head in explain_html._HEADS.items()}
    assert shown == {effect: {DECISION: "to decide"}.get(effect, effect) for effect in EFFECTS}


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
    page = explain_script(data, specs, site, options("sbatch"), file="x", engine="sky", packages=("torch",))
    assert next(found for found in page.findings if found.kind == "module").effect == effect


def lacking(text: str, here: tuple[str, ...] = ()) -> list[str]:
    """Names in a script that this machine lacks, if it has only these files."""
    data = text.encode()
    lookup = LocalLookup(lambda path: path in here, lambda _: True, lambda _: True, lambda _: None)
    specs = moving.request(data, "x").components
    page = explain_script(data, specs, BARE, options("sbatch"), file="x", engine="local", lookup=lookup)
    assert page.unchanged
    return [found.text for found in page.missing_names]


@pytest.mark.parametrize(
    "body, expected",
    [
        ("python train.py --config run.yaml", ["train.py", "run.yaml"]),
        ("srun ./prog\ncat result.txt", ["./prog"]),
        ("cat input.csv | wc -l", ["input.csv"]),
        ("git clone u r\npython r/train.py", []),
        ("cd build\n./prog", []),
        ("cd $SLURM_SUBMIT_DIR\n./prog", ["./prog"]),
        ("[ -f old.csv ] && cat old.csv", []),
        ("echo 1 > made.txt\ncat made.txt", []),
        ("singularity exec x.sif python /app/x.py", ["x.sif"]),
        ("python here.py", []),
    ],
)
def test_files_that_the_submit_folder_lacks(body: str, expected: list[str]) -> None:
    assert lacking(f"#!/bin/bash\n{body}\n", ("here.py",)) == expected


def test_a_folder_of_the_log_that_is_not_here() -> None:
    assert lacking("#!/bin/bash\n#SBATCH --output=logs/%j.out\nhostname\n") == ["--output=logs/%j.out"]
    assert not lacking("#!/bin/bash\n#SBATCH --output=logs/%j.out\nhostname\n", ("logs",))


def page_without_files(body: str, engine: str) -> Page:
    """Explain a script that finds its programs, but no file."""
    data = f"#!/bin/bash\n{body}".encode()
    lookup = LocalLookup(lambda _: False, lambda _: True, lambda _: True, lambda _: None)
    specs = moving.request(data, "x").components
    return explain_script(data, specs, BARE, options("sbatch"), file="x", engine=engine, lookup=lookup)


def test_the_headline_names_what_this_machine_lacks() -> None:
    page = page_without_files("#SBATCH --output=logs/%j.out\npython train.py\n", "local")
    assert verdict(page) == "runs unchanged; this machine lacks the folder of --output, train.py"


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


def test_the_headline_of_a_cloud_job_names_what_its_submit_folder_lacks() -> None:
    page = page_without_files("source activate\nsource activate env\npython train.py\n", "sky")
    assert verdict(page) == "runs unchanged; the submit folder lacks train.py"
    assert "1 of these 1 name files, programs or variables that are not here" in table_text([page, page][:1])
    assert "Not all here" in to_html([page, page])
    assert json.loads(to_json([page], True))["lacking"] == 1


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
