"""A first site file from slurm.conf, sinfo's output and `module avail`."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slurmsky.site import load
from slurmsky.site.init import (
    OldCluster,
    read_module_avail,
    read_sacctmgr,
    read_sinfo,
    read_sky_check,
    read_slurm_conf,
    render,
)

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


def old() -> OldCluster:
    found = OldCluster()
    read_slurm_conf(CONF, found)
    read_sinfo(SINFO, found)
    read_module_avail(AVAIL, found)
    return found


def test_old_configurations_are_read() -> None:
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


def test_written_site_files_are_valid() -> None:
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


@given(st.text(max_size=80))
@example("\x1bp")
@example(',"')
def test_strange_names_cannot_break_the_file(name: str) -> None:
    found = OldCluster(cluster=name, mail_program=name, modules=[name], features=[name])
    read_sinfo(f"{name}* up infinite 1 idle {name}", found)
    read_slurm_conf(f"PartitionName=p AllowQOS={name} QOS={name} AllowAccounts={name} PriorityTier={name}", found)
    qos = f"Name|Descr|MaxTRES|MaxWall|GrpJobs|Flags\n{name}|{name}|{name}|{name}|{name}|{name}"
    read_sacctmgr(f"{qos}\nAccount|Descr\n{name}|{name}", found)
    read_sky_check(f"Enabled infra\n  {name} [compute]\n  Kubernetes [compute]\n   \u2514\u2500\u2500 {name}\n", found)
    assert load(render(found, infra=[name], gpu=name), "new.toml").cluster.partitions
    assert load(render(found), "new.toml").cluster.partitions


@pytest.mark.parametrize(
    "text", ["", "NodeName=", "PartitionName=x Nodes=]", "Licenses=:", "MaxArraySize=x", "NodeName=a CPUs=x"]
)
def test_broken_configurations_are_reported(text: str) -> None:
    found = OldCluster()
    read_slurm_conf(text, found)
    assert load(render(found), "new.toml").cluster.name


SINFO_WIDE = """PARTITION TIMELIMIT NODES CPUS MEMORY GRES AVAIL_FEATURES
debug* infinite 2 8 4000 gpu:h100:4(S:0-1) (null)
long 2-00:00:00 9 64+ 256000 (null) avx512,intel
"""
SACCTMGR = """Name|Priority|GraceTime|X|Flags|UsageFactor|GrpTRES|GrpJobs|MaxTRES|MaxWall|MaxTRESPU|MaxJobsPU|MinTRES
normal|0|00:00:00|||1.000000|||||||
long|10|00:00:00||DenyOnLimit|1.000000|cpu=4,mem=1000M|3|cpu=2,gres/gpu=1|1-02:00:00|node=1|1|cpu=2
odd|0|00:00:00||NoDecay|1.000000|energy=7||||||
Account|Descr|Org
root|default root account|root
vision|computer "vision"|vision
"""
SKY_CHECK = """Checking credentials to enable infra for SkyPilot.
  AWS: enabled [compute, storage]

\x1b[32m\U0001f389 Enabled infra \U0001f389\x1b[0m
  \x1b[32mAWS [compute, storage]\x1b[0m
  Cloudflare (for R2 object store) [storage]
  Kubernetes [compute]
    Allowed contexts:
    \u251c\u2500\u2500 kind-a
    \u2514\u2500\u2500 lab_ctx
  SSH [compute]
    SSH Node Pools:
    \u2514\u2500\u2500 rack1
  RunPod [compute]

To enable a cloud, follow the hints above and rerun: sky check
"""


def test_sinfo_is_read_by_its_headings() -> None:
    found = OldCluster()
    read_sinfo(SINFO_WIDE, found)
    debug, long = found.partitions["debug"], found.partitions["long"]
    assert (debug.default, debug.max_time, debug.cpus, debug.gpu, debug.gpus) == (True, "infinite", 8, "h100", 4)
    assert (long.max_time, long.cpus, long.gpu, found.features) == ("2-00:00:00", 64, "", ["avx512", "intel"])


def test_defaults_of_slurm_conf_hold_for_the_lines_below() -> None:
    found = OldCluster()
    read_slurm_conf(
        "NodeName=DEFAULT CPUs=4\nNodeName=a\nPartitionName=DEFAULT MaxTime=60 AllowQOS=long\nPartitionName=p Nodes=a",
        found,
    )
    part = found.partitions["p"]
    assert (part.cpus, part.max_time, part.more) == (4, "60", {"allow_qos": "long"})


def test_qos_and_accounts_of_the_old_cluster() -> None:
    found = OldCluster()
    read_slurm_conf("PartitionName=p QOS=gone AllowQOS=long,normal AllowAccounts=vision PriorityTier=3", found)
    read_sacctmgr(SACCTMGR, found)
    text = render(found)
    site = load(text, "new.toml")
    long = next(one for one in site.cluster.qos if one.name == "long")
    assert (long.priority, long.flags, long.limits.grp_jobs) == (10, ("DenyOnLimit",), 3)
    assert long.limits.max_wall_min == 1560
    assert (long.limits.grp_tres, long.limits.min_tres) == ((("cpu", 4), ("mem", 1000)), (("cpu", 2),))
    assert "# flags was NoDecay" in text and "# grp_tres was energy=7" in text and "# qos was gone" in text
    assert [(one.name, one.description) for one in site.cluster.accounts] == [("vision", 'computer "vision"')]
    part = site.cluster.partitions[0]
    assert (part.allow_qos, part.allow_accounts, part.priority_tier) == (("long", "normal"), ("vision",), 3)


def test_what_sky_check_has_enabled() -> None:
    found = OldCluster()
    read_sky_check(SKY_CHECK, found)
    assert found.infra == ["aws", "kubernetes/kind-a", "kubernetes/lab_ctx", "ssh/rack1", "runpod"]
    assert load(render(found), "new.toml").sky.infra == tuple(found.infra)
