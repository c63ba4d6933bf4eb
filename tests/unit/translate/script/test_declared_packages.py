"""Packages that a project's files declare, and the Python and the commands that install them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slurmsky.site import load
from slurmsky.translate.script import needs
from slurmsky.translate.script.declared_packages import PythonPackages
from slurmsky.translate.script.python_packages import packages
from slurmsky.translate.sky_task.setup_commands import environment_packages, preparation

CONDA = """
name: fit
channels: [conda-forge, defaults]
dependencies:
  - python=3.9
  - pip
  - _libgcc_mutex=0.1=main
  - python_abi=3.9=*cp*
  - r-base=4.1.3  # R
  - numpy=1.21.2=py39h20f2e39_0
  - bioconda::samtools
  - pytorch=1.10=py3.9_cuda11.3_cudnn8.2.0_0
  - pip:
      - einops==0.4.1
      - git+https://github.com/me/tool.git
      - torchmetrics>=0.7
prefix: /home/me/.conda/envs/fit
"""


def setup_of(text: str, folder: Path) -> list[str]:
    found = packages(text, folder)
    return preparation(load("", "none"), replace(needs.of(text), python=found))[1]


def test_conda_installs_what_its_environment_file_names_and_pip_the_rest(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(CONDA)
    (tmp_path / "a.py").write_text("import numpy\n")
    assert setup_of("#!/bin/bash\nconda activate fit\npython a.py\n", tmp_path) == [
        "conda env list | grep -q '^fit ' || conda create -y -n fit -c conda-forge -c bioconda python=3.9 pip "
        "r-base numpy samtools",
        "conda run -n fit pip install torch einops==0.4.1 git+https://github.com/me/tool.git 'torchmetrics>=0.7' || "
        "conda run -n fit pip install torch einops git+https://github.com/me/tool.git torchmetrics",
    ]
    (tmp_path / "requirements.txt").write_text("scipy\n")
    assert packages("conda activate fit\npython a.py", tmp_path).conda, "the file that has the environment's name"
    assert packages("conda activate other\npython a.py", tmp_path).pip == ("scipy",)


def test_an_environment_that_conda_did_not_make_gets_conda_s_python_packages_from_pip(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(CONDA)
    setup = setup_of("#!/bin/bash\nsource /home/me/fit/bin/activate\npython a.py\n", tmp_path)
    assert setup[-1].startswith("/home/me/fit/bin/pip install numpy samtools torch einops==0.4.1 ")


def test_without_an_environment_the_node_s_conda_installs_them(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(CONDA)
    (tmp_path / "a.py").write_text("import numpy\n")
    setup = setup_of("#!/bin/bash\npython a.py\n", tmp_path)
    assert setup[0] == "conda install -y -n base -c conda-forge -c bioconda r-base numpy samtools"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("python==3.8.5", ()),
        ("torch==1.10.0+cu113", ("torch==1.10.0",)),
        ("asttokens==3.0.0 \\\n    --hash=sha256:0287e9", ("asttokens==3.0.0",)),
        ("pywin32==306 ; sys_platform == 'win32'", ()),
        ("uvloop ; sys_platform == 'linux'", ("uvloop",)),
        ("timm @ git+git://github.com/me/timm@9a1b", ("timm",)),
        ("-e git+https://github.com/me/x.git#egg=x", ("git+https://github.com/me/x.git#egg=x",)),
        ("# numpy", ()),
    ],
)
def test_lines_of_requirements(line: str, kept: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"{line}\nnumpy\n")
    (tmp_path / "a.py").write_text("")
    assert packages("python a.py", tmp_path).pip == (*kept, "numpy")


@pytest.mark.parametrize(
    ("pins", "python"),
    [
        ("numpy~=1.19.2\ntorch~=1.7.1", "3.8"),
        ("tensorflow-gpu==1.15", "3.7"),
        ("torch==2.4\nnumpy<2", ""),
        ("torch>=1.11,<1.12", "3.10"),
        ("numpy>=1.15", ""),
        ("python==3.8.5\nnumpy", "3.8"),
        ("scikit-learn==1.0.2", "3.10"),
    ],
)
def test_old_pins_choose_an_older_python(pins: str, python: str, tmp_path: Path) -> None:
    """A package has wheels for the Pythons of its time only."""
    (tmp_path / "requirements.txt").write_text(pins)
    (tmp_path / "a.py").write_text("")
    found = packages("conda activate old\npython a.py", tmp_path)
    assert found.python == python
    made = f"conda create -y -n old python={python or '3.11'} pip"
    assert setup_of("#!/bin/bash\nconda activate old\npython a.py", tmp_path)[0].endswith(made)


def test_the_node_s_own_python_gets_no_versions_that_need_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("torch==1.7.1\nnumpy>=1.1\n")
    (tmp_path / "a.py").write_text("")
    assert setup_of("#!/bin/bash\npython a.py\n", tmp_path) == ["pip install torch numpy"]
    (tmp_path / "requirements.txt").write_text("torch~=1.13.1\nnumpy~=1.24.2\n")
    assert setup_of("#!/bin/bash\npython a.py\n", tmp_path) == ["pip install torch numpy"]
    (tmp_path / "requirements.txt").write_text("torch==2.6\n")
    assert setup_of("#!/bin/bash\npython a.py\n", tmp_path) == ["pip install torch==2.6 || pip install torch"]


def test_a_module_names_the_python_of_an_environment() -> None:
    text = "#!/bin/bash\nmodule load python/3.9\nconda activate e\npython a.py\n"
    assert any(line.endswith("-n e python=3.9 pip") for line in preparation(load("", "none"), needs.of(text))[1])


def test_packages_of_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=3.8,<3.10"\ndependencies = ["rich>=12"]\n'
    )
    (tmp_path / "a.py").write_text("")
    assert packages("python a.py", tmp_path) == PythonPackages(("rich>=12",), python="3.9")


@pytest.mark.parametrize(
    ("body", "known"),
    [
        ("make all", False),
        ("./run.py", False),
        ("python -m tool", False),
        ("python gone.py", False),
        ("python two.py", False),
        ('"$CONDA_PREFIX/bin/Rscript" a.R', False),
        ("samtools sort x", True),
        ("python a.py", True),
        ("python -m venv x", True),
    ],
)
def test_an_environment_is_known_if_its_users_are(body: str, known: bool, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\n")
    (tmp_path / "two.py").write_text("print 'Python 2'\n")
    text = f"#!/bin/bash\nconda activate e\n{body}\n"
    wants = replace(needs.of(text), python=packages(text, tmp_path))
    assert (environment_packages(load("", "none"), "e", wants) is not None) == known
    (tmp_path / "requirements.txt").write_text("numpy\n")
    wants = replace(needs.of(text), python=packages(text, tmp_path))
    assert environment_packages(load("", "none"), "e", wants) == PythonPackages(("numpy",))


def test_own_modules_that_the_project_lacks_are_no_packages(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "lib" / "far_away").mkdir(parents=True)
    (tmp_path / "a.py").write_text("import Toolbox, worm_dynamics, torch_geometric, k_means_constrained, far_away\n")
    found = packages("python a.py", tmp_path)
    assert found.pip == ("torch-geometric", "k-means-constrained")
    assert found.absent == ("Toolbox", "worm_dynamics")


def test_code_for_tensorflow_1_gets_its_last_python(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import tensorflow as tf\nimport pandas\ntf.placeholder(tf.float32)\n")
    assert packages("python a.py", tmp_path).python == "3.7"
    made, installed = setup_of("#!/bin/bash\nsource ~/tf/bin/activate\npython a.py\n", tmp_path)[:2]
    assert "~/.conda/envs/python3.7/bin/python -m venv ~/tf" in made
    assert "pip install tensorflow==1.15.5" in installed and "pandas" in installed
    (tmp_path / "a.py").write_text("import tensorflow as tf\ntf.constant(1)\n")
    assert packages("python a.py", tmp_path).python == ""
