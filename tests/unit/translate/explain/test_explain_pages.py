"""Pages of slurmsky explain: text, HTML, JSON, headlines, prices and folders of scripts."""

from __future__ import annotations

import html.parser
import json
import time
from pathlib import Path

import pytest
from explained_pages import BARE, explain
from moving_script import moving

from slurmsky.options.table import load as options
from slurmsky.site import Site, load
from slurmsky.translate.explain import explain_html
from slurmsky.translate.explain.explain_text import page_text, table_text, to_html, to_json, verdict
from slurmsky.translate.explain.explanation import DECISION, EFFECTS, Page, with_prices
from slurmsky.translate.explain.explanation import explain as explain_script
from slurmsky.translate.explain.finding import LocalLookup
from slurmsky.translate.script.project_folder import Project
from slurmsky.translate.sky_task.price_table import read_prices

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


def test_a_folder_begins_with_the_suggested_lines() -> None:
    pages = [explain("#!/bin/bash\ncat /gpfs/x\n"), explain("#!/bin/bash\ncat /gpfs/y\nmodule load matlab\n")]
    text = table_text(pages)
    assert text.index("scripts run unchanged") < text.index("What keeps scripts") < text.index("verdict")
    assert "      1     2  path: is on the old cluster" in text
    lines = text.splitlines()
    head, row = (next(line for line in lines if word in line) for word in ("verdict", "1 to decide"))
    assert row[head.index("decide") : head.index("decide") + 6].strip() == "1"


def test_a_script_that_lacks_many_variables_is_started_by_one_that_exports_them() -> None:
    driven = explain("#!/bin/bash\npython x.py --a $A_DIR --b $B_DIR --c $EPOCHS\n", site=BARE)
    assert driven.unchanged and verdict(driven) == "runs unchanged, given A_DIR, B_DIR, EPOCHS"
    assert not explain("#!/bin/bash\npython x.py --a $A_DIR\n", site=BARE).unchanged


def test_the_html_page_names_effects_in_the_words_of_the_table() -> None:
    """Headings are the effects with a capital letter, except for open decisions."""
    shown = {effect: head.lower() for effect, head in explain_html._HEADS.items()}
    assert shown == {effect: {DECISION: "to decide"}.get(effect, effect) for effect in EFFECTS}


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
        ('top="$SLURM_SUBMIT_DIR"\ncd $top\napptainer exec x.sif a', ["x.sif"]),
        ("run=./\nmpirun $run/sim", ["sim"]),
        ("srun $SLURM_SUBMIT_DIR/ior/src/ior", ["ior/src/ior"]),
        ('[ -f "$SLURM_SUBMIT_DIR/my.sh" ] && source "$SLURM_SUBMIT_DIR/my.sh"', []),
        ('eval "$(conda shell.bash hook)"\npython here.py', []),
        ("[ -f old.csv ] && cat old.csv", []),
        ("echo 1 > made.txt\ncat made.txt", []),
        ("singularity exec x.sif python /app/x.py", ["x.sif"]),
        ("python here.py", []),
        ("srun pw.x < scf.in", ["scf.in"]),
    ],
)
def test_files_that_the_submit_folder_lacks(body: str, expected: list[str]) -> None:
    assert lacking(f"#!/bin/bash\n{body}\n", ("here.py",)) == expected


def test_a_missing_folder_of_the_log_is_created() -> None:
    assert not lacking("#!/bin/bash\n#SBATCH --output=logs/%j.out\nhostname\n")


def page_without_files(body: str, engine: str) -> Page:
    """Explain a script that finds its programs, but no file."""
    data = f"#!/bin/bash\n{body}".encode()
    lookup = LocalLookup(lambda _: False, lambda _: True, lambda _: True, lambda _: None)
    specs = moving.request(data, "x").components
    return explain_script(data, specs, BARE, options("sbatch"), file="x", engine=engine, lookup=lookup)


def test_the_headline_names_what_this_machine_lacks() -> None:
    page = page_without_files("#SBATCH --output=/scratch/logs/%j.out\npython train.py\n", "local")
    assert verdict(page) == "runs unchanged; this machine lacks the folder of --output, train.py"


def test_the_headline_of_a_cloud_job_names_what_its_submit_folder_lacks() -> None:
    page = page_without_files("source activate\nsource activate env\npython train.py\n", "sky")
    assert verdict(page) == "runs unchanged; the submit folder lacks train.py"
    assert "1 of 1 scripts names files, programs or variables that are not here" in table_text([page])
    assert "Not all here" in to_html([page, page])
    assert json.loads(to_json([page], True))["lacking"] == 1


def test_what_a_compiler_writes_is_not_missing() -> None:
    page = page_without_files("gcc a.c -o a.exe\n./a.exe\n", "sky")
    assert verdict(page) == "runs unchanged; the submit folder lacks a.c"


def test_the_headline_names_a_missing_program_without_its_arguments_and_a_missing_environment() -> None:
    data = b'#!/bin/bash\neval "$(conda shell.bash hook)"\nconda activate embed\njupyter lab --no-browser\n'
    specs = moving.request(data, "x").components
    lookup = LocalLookup(lambda _: True, lambda _: False, lambda _: False, lambda _: None)
    page = explain_script(data, specs, BARE, options("sbatch"), file="x", engine="local", lookup=lookup)
    assert verdict(page) == "runs unchanged; this machine lacks conda, environment embed"
    data = b"#!/bin/bash\njupyter lab --no-browser\n"
    specs = moving.request(data, "x").components
    page = explain_script(data, specs, BARE, options("sbatch"), file="x", engine="local", lookup=lookup)
    assert verdict(page) == "runs unchanged; this machine lacks jupyter"


def test_a_launcher_that_this_machine_lacks_is_reported() -> None:
    lookup = LocalLookup(lambda _: True, lambda name: name == "a", lambda _: True, lambda _: None)
    data = b"#!/bin/bash\nmpirun ./a\nibrun ./a\nsrun ./a\n"
    specs = moving.request(data, "x").components
    page = explain_script(data, specs, BARE, options("sbatch"), file="x", engine="local", lookup=lookup)
    assert [found.text for found in page.missing_names] == ["mpirun ./a"]


def test_setup_installs_the_mpi_of_a_launcher() -> None:
    assert "apt-get install -y openmpi-bin" in page_without_files("mpirun ./a\n", "sky").task_yaml
    assert "openmpi" not in page_without_files("module load intel\nmpirun ./a\n", "sky").task_yaml


def test_a_site_script_around_a_program_is_in_no_image() -> None:
    page = page_without_files("module load alphafold/2.3.1\nalphafold_full_db.sh --help\n", "sky")
    assert [one.text for one in page.findings if one.effect == DECISION] == ["alphafold_full_db.sh --help"]


def test_a_launcher_starts_a_program_that_the_project_builds() -> None:
    lookup = LocalLookup(lambda _: False, lambda _: True, lambda _: True, lambda _: None, lambda name: name == "heat")
    data = b"#!/bin/bash\nibrun heat -n 3\n"
    specs = moving.request(data, "x").components
    page = explain_script(data, specs, BARE, options("sbatch"), file="x", engine="sky", lookup=lookup)
    assert page.unchanged


def test_an_environment_reaches_the_programs_of_condas_base() -> None:
    setup = page_without_files("conda activate utils\nvcftools --vcf a.vcf\n", "sky").task_yaml
    assert "for p in vcftools; do" in setup and "/usr/local/bin/" in setup
    assert "for p in" not in page_without_files("vcftools --vcf a.vcf\n", "sky").task_yaml


@pytest.mark.parametrize(("shell", "unchanged"), [("bash", True), ("zsh", False)])
def test_a_module_sets_variables_in_bash_only(shell: str, unchanged: bool) -> None:
    text = f"#!/bin/{shell}\nmodule load OpenMPI\n$MPIEXEC $FLAGS_MPI_BATCH ./a\n"
    assert explain(text, site=BARE).unchanged == unchanged


@pytest.mark.parametrize(("kind", "unchanged"), [("tesla", False), ("v100", True), ("mig_1g.10gb", True)])
def test_a_word_that_names_no_gpu_is_a_decision(kind: str, unchanged: bool) -> None:
    assert explain(f"#!/bin/bash\n#SBATCH --gres=gpu:{kind}:1\npython -c 1\n", site=BARE).unchanged == unchanged


def test_the_image_of_a_program_replaces_one_with_cuda_alone() -> None:
    page = explain("#!/bin/bash\nmodule load cuda/11.2\ncolabfold_batch a b\n", site=BARE)
    assert page.unchanged and "sokrypton/colabfold" in page.task_yaml


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('D="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"\nsource "${D}/x.sh"', ["${D}/x.sh"]),
        ('D=$(dirname "$0")\n. $D/x.sh', ["$D/x.sh"]),
        ('D=$(dirname "$0")\n[ -n "$SLURM_JOB_ID" ] && D=$SLURM_SUBMIT_DIR\n. $D/x.sh', []),
        ("D=$PWD\n. $D/x.sh", []),
        ('D=$(dirname "$0")\nT=$(cd $D/.. && pwd)', []),
        ('D=$(dirname "$0")\nmkdir $D/logs\npython $D/x.py', ["$D/x.py"]),
    ],
)
def test_files_beside_the_jobs_copy_are_not_here(body: str, expected: list[str]) -> None:
    page = page_without_files(body + "\n", "local")
    assert [one.text for one in page.missing_names if "copy of the script" in one.reason] == expected


def test_a_file_above_the_submit_folder_that_is_not_here() -> None:
    page = page_without_files("make -f ../../Makefile\n", "sky")
    assert verdict(page) == "runs unchanged; the submit folder lacks ../../Makefile"


def test_a_folder_in_bin_is_one_of_the_old_cluster() -> None:
    page = page_without_files("source /bin/tool-2.1/setup\n/bin/ls\n", "sky")
    assert [one.text for one in page.findings if one.effect == DECISION] == ["/bin/tool-2.1/setup"]


def test_a_workflow_whose_parts_are_jobs_needs_a_shared_folder(tmp_path: Path) -> None:
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text('executor: "slurm"\njobs: 50\n')
    specs = moving.request(b"#!/bin/bash\n", "x").components

    def effects(line: str, site: Site) -> list[str]:
        data = f"#!/bin/bash\n{line}\n".encode()
        page = explain_script(
            data, specs, site, options("sbatch"), file="x", engine="sky", project=Project(str(tmp_path))
        )
        return [one.effect for one in page.findings if one.kind == "command"]

    for line in ("snakemake --profile profile", "snakemake --cluster 'sbatch -n 1' -j 4", "snakemake --executor slurm"):
        assert effects(line, BARE) == [DECISION], line
    assert effects("snakemake --cores all", BARE) != [DECISION]
    mounted = load(f'[paths]\n"{tmp_path}" = "s3://team/x"\n', "site.toml")
    assert effects("snakemake --profile profile", mounted) != [DECISION]


def test_a_started_script_is_read_where_the_script_names_the_folder_by_an_old_path(tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    folder.mkdir()
    (folder / "inner.sh").write_text("python x.py /data2/run1/in.csv\n")
    data = b'#!/bin/bash\nbase="$HOME/survey"\nsrun bash "$base/inner.sh"\n'
    specs = moving.request(data, "x").components
    page = explain_script(
        data, specs, BARE, options("sbatch"), file="x", engine="sky", project=Project(str(folder), "/root")
    )
    assert [one.text for one in page.findings if one.effect == DECISION] == ["inner.sh:1 /data2/run1/in.csv"]


@pytest.mark.parametrize(
    ("line", "blank"),
    [("conda activate <ENV_NAME>", "<ENV_NAME>"), ("python a.py -d <data dir>/x", "<data dir>"), ("cat <in >out", "")],
)
def test_a_placeholder_in_a_command_is_a_decision(line: str, blank: str) -> None:
    page = page_without_files(f"{line}\n", "sky")
    assert [one.text for one in page.findings if "placeholder" in one.reason] == ([blank] if blank else [])


def test_the_recipes_of_make_are_read(tmp_path: Path) -> None:
    makefile = "all: a b\na:\n\tsnakemake --profile slurm\nb:\n\t@./x /data2/in.csv\nc:\n\t/no/x\n"
    (tmp_path / "Makefile").write_text(makefile)
    specs = moving.request(b"#!/bin/bash\n", "x").components
    data, project = b"#!/bin/bash\nmake -j 4\n", Project(str(tmp_path))
    page = explain_script(data, specs, BARE, options("sbatch"), file="x", engine="sky", project=project)
    found = [one.text for one in page.findings if one.effect == DECISION]
    assert found == ["Makefile:3 snakemake --profile slurm", "Makefile:5 /data2/in.csv"]
    assert "snakemake" in page.task_yaml


def test_files_above_the_submit_folder_that_a_started_script_reads_are_copied(tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (tmp_path / "a.py").write_text("")
    (folder / "inner.sh").write_text("python ../a.py\n")
    data = b"#!/bin/bash\nbash inner.sh\n"
    specs, project = moving.request(data, "x").components, Project(str(folder), "/root")
    page = explain_script(data, specs, BARE, options("sbatch"), file="x", engine="sky", project=project)
    assert page.unchanged


@pytest.mark.parametrize(
    ("body", "decisions"),
    [
        ('singularity exec x.sif bash -c "conda activate py310; python run.py"', []),
        ("python a.py ~/artifacts/${SLURM_ARRAY_JOB_ID}_$1/out", []),
        ("source ${SLURM_TOOLKIT_HOME}/config/rc", ["SLURM_TOOLKIT_HOME"]),
        ("cp a $SLURM_TMPDIR/b", []),
    ],
)
def test_what_no_decision_is(body: str, decisions: list[str]) -> None:
    assert [one.text for one in page_without_files(f"{body}\n", "sky").findings if one.effect == DECISION] == decisions
