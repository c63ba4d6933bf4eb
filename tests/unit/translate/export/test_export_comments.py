"""Comments of exported YAML: omitted lines and what the user must bring."""

from __future__ import annotations

import pytest
from yaml_exports import export, script


@pytest.mark.parametrize(
    "line", ["--time=1:00:00", "--mail-type=END", "--dependency=singleton", "--signal=USR1@60", "--exclusive", "-o x"]
)
def test_nothing_is_left_out_in_silence(line: str) -> None:
    found = export(script("./a", line))
    assert found.dropped, line


@pytest.mark.parametrize("name", ["NCCL_SOCKET_IFNAME", "OMPI_MCA_btl", "NCCL_IB_HCA", "UCX_NET_DEVICES"])
def test_network_cards_of_the_old_cluster_are_left_out_and_reported(name: str) -> None:
    found = export(script(f"export {name}=ib0\npython a.py"))
    assert "envs" not in found.fields and f"export {name}=ib0" in found.yaml.split("name:")[0]


def test_directives_that_sbatch_does_not_read_are_named() -> None:
    found = export("#!/bin/bash\n# SBATCH --mem=4G\nset -e\n#SBATCH --nodes=2\npython a.py\n")
    assert "num_nodes" not in found.fields and found.yaml.count("sbatch reads no directives") == 1
    assert "without a blank" in found.yaml


def test_programs_that_the_user_must_bring_are_named() -> None:
    yaml = export(script("M=g16\n$M x\nmytool --fast")).yaml
    assert "g16: licensed software" in yaml and "mytool: no package is known" in yaml


def test_scripts_that_run_unchanged_are_named_once() -> None:
    found = export(script("bash a.sh\nbash b.sh\nsource c.sh")).yaml
    assert "# translate what is Slurm's and the old cluster's in a.sh, b.sh, c.sh, too\n" in found


def test_named_nodes_are_left_out_with_a_word() -> None:
    assert "--nodelist=n7: nodes do not exist before the job does" in export(script("./prog", "-w n7")).yaml
