"""Variables, arguments and secrets in exported YAML."""

from __future__ import annotations

import pytest
from yaml_exports import NONE, export, script


def test_secrets_do_not_reach_the_file() -> None:
    found = export(script("export HF_TOKEN=hf_abcdef\nexport WANDB_API_KEY='k y'\n./a"))
    assert "hf_abcdef" not in found.yaml and "k y" not in found.yaml
    assert found.fields["secrets"] == {"HF_TOKEN": None, "WANDB_API_KEY": None}


def test_arguments() -> None:
    text = script("corpus=$1\nawk '{print $2}' f")
    assert "set --" in export(text).fields["run"]
    assert "set --" not in export(script("awk '{print $2}' f\nf() { echo $1; }")).fields["run"]


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "TOKEN_COUNT", "SECRETARY"])
def test_names_that_only_sound_secret(name: str) -> None:
    found = export(script(f"export {name}=false\npython a.py"))
    assert "secrets" not in found.fields and found.fields["envs"] == {name: "false"}


def test_variables_of_an_export_option_and_declared_inputs_are_envs() -> None:
    found = export(script(': "${DATA:?}"\npython a.py --lr $LR', "--export=ALL,LR=0.1,BS=32"))
    assert found.fields["envs"] == {"LR": "0.1", "BS": "32", "DATA": None}


def test_variables_that_slurm_sets_only_with_an_option_stay_empty() -> None:
    found = export(script('echo "SLURM_NNODES" $SLURM_CPUS_PER_TASK\n./a.out'))
    assert not found.needs and "Slurm sets it only with --cpus-per-task" in found.yaml


def test_variables_of_the_script_may_begin_as_slurms_do() -> None:
    found = export(script("SLURM_INOUT_DIR=data\npython a.py $SLURM_INOUT_DIR"))
    assert not found.needs and "python a.py $SLURM_INOUT_DIR" in found.fields["run"]


def test_inputs_of_a_script_are_required_envs_and_single_ones_are_named() -> None:
    many = export(script("python a.py $LR $TARGET $SEED"))
    assert many.fields["envs"] == {"LR": None, "TARGET": None, "SEED": None}
    one = export(script("python a.py $LR"))
    assert "$LR (line 3): nothing in the script sets it" in one.yaml and "envs" not in one.fields


def test_variables_that_are_not_slurms_stay_empty() -> None:
    found = export(script('[ "$SLURM_JOBTMP" ] && cd $SLURM_JOBTMP\npython a.py'))
    assert not found.needs and "not a variable of Slurm" in found.yaml


def test_variables_of_modules_have_a_value_or_are_named() -> None:
    known = export(script("module load cuda trimmomatic\n./a $CUDA_HOME $TRIMMOMATIC_HOME/adapters"), site=NONE)
    assert "export CUDA_HOME=/usr/local/cuda\n" in known.fields["run"]
    assert "export TRIMMOMATIC_HOME=$(ls -d $CONDA_PREFIX/share/trimmomatic-* | head -n 1)\n" in known.fields["run"]
    found = export(script("module load vasp\n./a $EBROOTVASP/bin"), site=NONE).yaml
    assert "$EBROOTVASP (line 4): a module of the old cluster set it" in found


@pytest.mark.parametrize(
    "line, secret", [("wandb login abc123", "WANDB_API_KEY"), ("huggingface-cli login --token $T", "HF_TOKEN")]
)
def test_logins_are_secrets(line: str, secret: str) -> None:
    found = export(script(f"{line}\npython a.py"))
    assert found.fields["secrets"] == {secret: None}
    assert "login" not in found.fields["run"] and "abc123" not in found.yaml


def test_variables_that_bash_ignores_in_its_environment_stay_in_run() -> None:
    found = export(script("export IFS=,\nexport LR=0.1\nfor a in $LIST; do echo $a; done"))
    assert "export IFS=," in found.fields["run"]
    assert found.fields["envs"].keys() == {"LR"}
