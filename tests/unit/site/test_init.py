"""A first site file from slurm.conf, sinfo's output and `module avail`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmsky.site import load
from slurmsky.site.init import Old, read_module_avail, read_sinfo, read_slurm_conf, render

CONF = """
ClusterName=oldone   # the cluster
MaxArraySize=2001
MailProg=/usr/bin/mail
Licenses=matlab:5,ansys*2
NodeName=DEFAULT Sockets=2
NodeName=c[01-10] CPUs=64 RealMemory=256000 Feature=avx512,intel State=UNKNOWN
NodeName=g[1-2] Sockets=2 CoresPerSocket=16 ThreadsPerCore=2 \\
    Gres=gpu:a100:4(S:0-1),lustre:1
PartitionName=DEFAULT MaxTime=7-0
PartitionName=cpu Nodes=c[01-10] Default=YES MaxTime=2-00:00:00 MaxNodes=4
partitionname=gpu nodes=g[1-2] maxtime=1-0
PartitionName=all Nodes=ALL MaxTime=INFINITE
NodeName=bad CPUs=many
"""

SINFO = """PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST
debug*       up      30:00      2   idle n[1-2]
debug*       up      30:00      1  alloc n3
long         up   infinite      9   down* m[1-9]
"""

AVAIL = """
----------------------- /usr/share/Modules/modulefiles ------------------------
dot  module-git  null
--------------------------- /apps/modulefiles ----------------------------------
 cuda/11.8   cuda/12.1(default)   gcc/12.2.0 (L)   teamtool/3.1 <aL>

  Where:
   L:  Module is loaded
"""


def old() -> Old:
    found = Old()
    read_slurm_conf(CONF, found)
    read_sinfo(SINFO, found)
    read_module_avail(AVAIL, found)
    return found


def test_what_is_read() -> None:
    found = old()
    assert found.cluster == "oldone"
    assert list(found.partitions) == ["cpu", "gpu", "all", "debug", "long"]
    gpu = found.partitions["gpu"]
    assert (gpu.cpus, gpu.gpu, gpu.gpus, gpu.max_time) == (64, "a100", 4, "1-0")
    assert found.partitions["all"].cpus == 64
    assert found.partitions["debug"].nodes == "n[1-2],n3"
    assert found.features == ["avx512", "intel"]
    assert found.licenses == [("matlab", 5), ("ansys", 2)]
    assert found.modules == ["cuda/11.8", "cuda/12.1", "gcc/12.2.0", "teamtool/3.1"]
    assert len(found.problems) == 1 and found.problems[0].startswith("slurm.conf line ")


def test_what_is_written_can_be_read() -> None:
    found = old()
    found.partitions["debug"].default = False
    text = render(found, infra=["kubernetes/ctx", "aws"], gpu="H100")
    site = load(text, "new.toml")
    assert site.cluster.name == "oldone"
    assert site.sky.infra == ("kubernetes/ctx", "aws")
    assert site.gpus.default == "H100"
    assert dict(site.cluster.licenses) == {"matlab": 5, "ansys": 2}
    assert [part.name for part in site.cluster.partitions] == list(found.partitions)
    assert site.sky_partition("gpu").gpu == "A100"
    cpu = site.cluster.partition("cpu")
    assert cpu is not None and cpu.default and cpu.max_time_min == 2880 and cpu.max_nodes == 4
    assert '# "teamtool/3.1" = "docker:IMAGE"' in text and '"gcc' not in text


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_strange_names_cannot_break_the_file(name: str) -> None:
    found = Old(cluster=name, mail_program=name, modules=[name], features=[name])
    read_sinfo(f"{name}* up infinite 1 idle {name}", found)
    load(render(found, infra=[name], gpu=name), "new.toml")


@pytest.mark.parametrize(
    "text", ["", "NodeName=", "PartitionName=x Nodes=]", "Licenses=:", "MaxArraySize=x", "NodeName=a CPUs=x"]
)
def test_broken_configurations_are_told(text: str) -> None:
    found = Old()
    read_slurm_conf(text, found)
    load(render(found), "new.toml")
