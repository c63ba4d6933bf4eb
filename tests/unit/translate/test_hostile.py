"""Malicious values and scripts: explained or refused, never run, and never interpreted as YAML or shell."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from moving_script import moving
from polling import PATIENCE_S

from slurmsky.options.table import load as options
from slurmsky.options.usage_errors import CommandError
from slurmsky.site import load
from slurmsky.translate.explain.explain_text import page_text, table_text, to_html, to_json
from slurmsky.translate.explain.explanation import explain
from slurmsky.translate.sky_task.translation_notes import Refused

SITE = load(
    """
[gpus]
default = "H100"
[[partition]]
name = "main"
default = true
infra = "kubernetes/lab"
""",
    "site.toml",
)
BODY = "srun python train.py\n"
#: what a task of SkyPilot is made of, as far as slurmsky writes it
TASK = {"name", "num_nodes", "resources", "file_mounts", "volumes", "config", "setup", "run", "envs", "workdir"}
RESOURCES = {
    "cpus", "memory", "accelerators", "infra", "ordered", "labels", "image_id", "disk_size", "instance_type",
    "use_spot", "priority", "priority_class", "max_hourly_cost", "job_recovery", "ports",
}  # fmt: skip
VALUES = [
    "$(>canary)", "`>canary`", "'; >canary; '", '"; >canary; "', "x; >canary", "x\n>canary", "${IFS}$(>canary)",
    "a: b\nrun: >canary\n- x", "x\nresources:\n  cloud: evil", "../../../etc", "-x", "--", "{{a}}", "$SKYPILOT_X",
    "\u2028x", "\x1b[31mx", "%(x)s", "!touch", "&a *b", "~/x", "a" * 10_000, "|", "# c", "---", "\udcff",
    "<img src=x onerror=y>", "<script>alert(1)</script>",
]  # fmt: skip
OPTIONS = """
job-name output error input chdir comment partition account qos constraint export mail-user nodelist exclude licenses
container-image container-mounts container-workdir container-name container-env gres gpus gpu-bind dependency time mem
reservation wckey nodes array clusters begin signal tmp mcs-label extra network bb container distribution prefer
tres-per-task hint
""".split()  # noqa: SIM905
BODIES = [
    "module load $(x)", "module load 'a\nb'", "srun --container-image=$(x) a",
    "srun --container-image='x\nrun: y' --container-mounts=../..:/etc a",
    'srun --container-mounts="/a b:/c;d" --container-image=u a', "cd '/x\ny'", "ulimit $(", '"', "'", "`", "${", "$((",
    "<<EOF\n", "cat <<'EOF'\nx: {{y}}\n---\n- a\n", "\t- : [", "y" * 100_000, "$(" * 5000, "(" * 5000, "{" * 3000,
    "if " * 3000, "\\" * 9999, '"' + "$(" * 300, 'a="' + "${b:-" * 200, " \u00a0", "---\nrun: x\n...\n",
    'conda activate "$(x"', 'pip install "a;b"', "#SBATCH -n1\r", "\x7f\x01\x02", "\udcff\udcfe $(",
]  # fmt: skip


def look(script: str, *words: str, folder: Path) -> None:
    """Explain and translate a script; the results are only pages and tasks."""
    data = script.encode("utf-8", "surrogateescape")
    try:
        specs, refusal = moving.request(data, "job.sh", *words).components, ""
    except CommandError as error:
        specs, refusal = (), "\n".join(error.lines)
    for engine in ("local", "sky"):
        page = explain(data, specs, SITE, options("sbatch"), file="job.sh", engine=engine, refusal=refusal)
        shown = page_text(page) + table_text([page])
        assert "\x1b" not in shown
        assert not re.search("<(script|img)", to_html([page, page]))
        assert json.loads(to_json([page], False))["file"] == "job.sh"
        if page.task_yaml:
            task(page.task_yaml, folder)
        load("\n".join(page.suggestions), "suggestions.toml")
    try:
        kept = moving.exported(data, SITE, "job.sh", *words)
    except (CommandError, Refused):
        return
    task(kept.yaml, folder)


def task(text: str, folder: Path) -> None:
    """A task has valid fields, and its shell runs only what the script has."""
    value = yaml.load(text, yaml.CSafeLoader)
    assert set(value) <= TASK
    assert set(value.get("resources", {})) <= RESOURCES
    assert all(isinstance(label, str) and re.fullmatch(r"[a-z0-9_-]{1,63}", label)
               for label in value.get("resources", {}).get("labels", {}).values())  # fmt: skip
    assert re.fullmatch(r"[a-z][a-z0-9-]*", value["name"])
    for part in ("setup", "run"):
        shell = value.get(part, "")
        if "canary" in shell:
            surroundings = {"PATH": "/nonexistent", "HOME": str(folder), "SKYPILOT_NODE_RANK": "0"}
            subprocess.run(["/bin/bash", "-c", shell], cwd=folder, env=surroundings, stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=PATIENCE_S)  # fmt: skip
            assert not [path for path in folder.rglob("*") if "canary" in path.name], shell


@pytest.mark.parametrize("name", OPTIONS)
def test_values_of_options(name: str, tmp_path: Path) -> None:
    for value in VALUES:
        look("#!/bin/bash\n" + BODY, f"--{name}={value}", folder=tmp_path)


@pytest.mark.parametrize("name", OPTIONS)
def test_values_in_directives(name: str, tmp_path: Path) -> None:
    for value in VALUES:
        if "\n" not in value:
            look(f"#!/bin/bash\n#SBATCH --{name}={value}\n{BODY}", folder=tmp_path)
            if set(value) & set(" '\"\\#"):  # quotes change the value
                look(f"#!/bin/bash\n#SBATCH --{name}='{value}'\n{BODY}", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_bodies(number: int, tmp_path: Path) -> None:
    for directive in ("", "#SBATCH -N2 --gpus-per-node=1\n"):
        look(f"#!/bin/bash\n{directive}{BODIES[number]}\n{BODY}", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
