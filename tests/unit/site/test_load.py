"""Site files: their values, and the messages about faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.model.spec import INFINITE
from slurmsky.site import MachineHardware, SiteError, default_site, load

ORACLE = Path(__file__).parents[2] / "oracle" / "site.toml"
MACHINE = MachineHardware(
    "box.example.org", cpus=8, sockets=1, cores=4, threads=2, memory_mib=16000, gpus=("h100", "h100")
)


def test_the_oracles_site():
    site = load(ORACLE.read_text(), "site.toml")
    assert site.engine == "local"
    assert [node.name for node in site.cluster.nodes] == ["n1", "n2", "n3", "n4"]
    node = site.cluster.node("n3")
    assert (node.cpus, node.cores, node.memory_mib, node.gres) == (8, 8, 4000, (("gpu", "h100", 4),))
    debug, gpu = site.cluster.partitions
    assert (debug.name, debug.default, debug.nodes, debug.max_time_min) == (
        "debug",
        True,
        ("n1", "n2", "n3", "n4"),
        INFINITE,
    )
    assert (gpu.nodes, gpu.nodes_text, gpu.max_time_min, gpu.default) == (("n3", "n4"), "n[3-4]", 1440, False)
    assert site.cluster.max_array_size == 100001 and site.first_job_id == 70001


def test_a_machine_without_a_site_file_is_one_node_in_debug():
    site = default_site(MACHINE)
    assert site.source == ""
    (node,) = site.cluster.nodes
    assert (node.name, node.host_name, node.cpus, node.cores, node.threads) == (
        "box",
        "box.example.org",
        8,
        4,
        2,
    )
    assert node.gres == (("gpu", "h100", 2),)
    (partition,) = site.cluster.partitions
    assert (partition.name, partition.default, partition.max_time_min) == ("debug", True, INFINITE)
    assert partition.nodes == ("box",) and site.engine == "auto"


def test_cpus_alone_are_sockets_as_in_slurm_conf():
    (node,) = load('[[node]]\nnames="a"\ncpus=6', "f").cluster.nodes
    assert (node.cpus, node.sockets, node.cores, node.threads) == (6, 6, 1, 1)


def test_skypilots_side_of_a_partition_falls_back_to_the_sites():
    site = load(
        """
engine = "sky"
[sky]
infra = ["kubernetes/a", "aws/us-east-1"]
spot = true
price_ceiling = 12
[gpus]
default = "H100"
names = { big = "H200" }
[[partition]]
name = "cheap"
max_nodes = 4
price_ceiling = 1.5
[[partition]]
name = "gpu"
infra = "slurm/oracle/gpu"
spot = false
gpu = "A100"
engine = "local"
""",
        "f",
    )
    cheap, gpu = site.sky_partition("cheap"), site.sky_partition("gpu")
    assert (cheap.infra, cheap.spot, cheap.price_ceiling, cheap.gpu) == (
        ("kubernetes/a", "aws/us-east-1"),
        True,
        1.5,
        "H100",
    )
    assert (gpu.infra, gpu.spot, gpu.price_ceiling, gpu.gpu) == (("slurm/oracle/gpu",), False, 12.0, "A100")
    assert site.cluster.partition("cheap").max_nodes == 4
    assert (site.engine_of("cheap"), site.engine_of("gpu")) == ("sky", "local")
    assert [site.gpus.sky_name(word) for word in ("BIG", "nvidia_a100-sxm4-80gb", "l4", "xyz1")] == [
        "H200",
        "A100-80GB",
        "L4",
        "XYZ1",
    ]


def test_modules_paths_options_licenses():
    site = load(
        """
[licenses]
matlab = 4
[modules]
"cuda/12.1" = "docker:nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04"
[modules."gcc/13"]
setup = "apt-get install -y g++-13"
environment = { CC = "gcc-13" }
[paths]
"/scratch/" = "s3://team/scratch"
"/home" = "volume:home"
[[option]]
name = "project"
argument = "required"
help = "charged project"
""",
        "f",
    )
    assert site.cluster.licenses == (("matlab", 4),)
    cuda, gcc = site.modules
    assert cuda.image == "docker:nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04"
    assert (gcc.setup, gcc.environment) == ("apt-get install -y g++-13", (("CC", "gcc-13"),))
    assert [(path.path, path.target) for path in site.paths] == [
        ("/scratch", "s3://team/scratch"),
        ("/home", "volume:home"),
    ]
    (option,) = site.cluster.declared_options
    assert (option.name, option.argument, option.policy) == (
        "project",
        "required",
        "recorded",
    )


@pytest.mark.parametrize(
    "text, where, words",
    [
        ("cluster = ", "1:11", "Invalid value"),
        ("x = 1\n", "1:1", "x is not known here"),
        ('cluster = "a"\nengin = "sky"', "2:1", "Did you mean engine?"),
        ('engine = "cloud"', "1:1", "one of auto, sky, local is expected"),
        ('[[node]]\nnames="a"\n[[node]]\nnames="b"\n  cpu=2', "5:3", "cpu is not known here. Did you mean cpus?"),
        ("[[node]]\ncpus=2", "1:3", "names is missing"),
        ('[[qos]]\nname="a"\nmax_tres="cpu"', "3:1", "resources are expected"),
        ('[[qos]]\nname="a"\nmax_tres="energy=4"', "3:1", "resources are expected"),
        (
            '[[qos]]\nname="a"\nflags=["NoDecay"]',
            "3:1",
            ", PartitionTimeLimit, RequiresReservation, OverPartQOS, NoReserve is expected",
        ),
        ('[[qos]]\nname="a"\nmax_jobs=4', "3:1", "max_jobs is not known here. Did you mean max_jobs_per_user?"),
        ('[[qos]]\nname="a"\n[[qos]]\nname="a"', "4:1", "QOS a is described twice"),
        ('[[account]]\nname="a"\nqos="b"', "3:1", "there is no QOS b"),
        ('[[qos]]\nname="b"\n[[account]]\nname="a"\nqos="b"\ndefault_qos="normal"', "6:1", "not one of its own"),
        ('[[account]]\nname="a"\ndefault=true\n[[account]]\nname="b"\ndefault=true', "6:1", "only one account"),
        ('[[qos]]\nname="b"\n[[partition]]\nname="a"\nallow_qos="c"', "5:1", "there is no QOS c"),
        ('[[partition]]\nname="a"\npreempt_mode="CANCEL"', "3:1", "no job is preempted here"),
        ('[[partition]]\nname="a"\noversubscribe="FORCE:2"', "3:1", "never given to several jobs"),
        ('[limits]\nenforce_part_limits="MOST"', "2:1", "one of NO, ANY, ALL"),
        ("[limits]\nmax_job_count=10", "2:1", "max_submit_jobs"),
        ('[[node]]\nnames="n[x-y]"', "2:1", "a host list is expected"),
        ('[[node]]\nnames="n[1-2]"\n[[node]]\nnames="n2"', "4:1", "node n2 is described twice"),
        (
            '[[node]]\nnames="a"\ncpus=7\ncores=4',
            "3:1",
            "7 cpus are not boards x sockets x cores x threads = 4",
        ),
        ('[[node]]\nnames="a"\ngres="gpu:a:b:2"', "3:1", "gres is expected"),
        ('[[node]]\nnames="a"\n[[partition]]\nname="p"\nnodes="b"', "5:1", "there is no node b"),
        ('[[partition]]\nname="p"\nmax_time="soon"', "3:1", "a Slurm time is expected"),
        ('[[partition]]\nname="p"\n[[partition]]\nname="p"', "4:1", "partition p is described twice"),
        (
            '[[partition]]\nname="p"\ndefault=true\n[[partition]]\nname="q"\ndefault=true',
            "6:1",
            "only one partition",
        ),
        ('[partition]\nname="p"', "1:2", "partition must be written as [[partition]]"),
        ('[limits]\nkill_wait_s = "30"', "2:1", "a number of 0 or more"),
        ('[licenses]\nmatlab = "many"', "1:2", "a number of 0 or more is expected"),
        ('[paths]\nscratch = "s3://x"', "2:1", "not an absolute path"),
        ('[paths]\n"/scratch" = "nowhere"', "2:1", "a bucket URL"),
        ('[[option]]\nname = "--x"', "2:1", "cannot be an option's name"),
        ('[[option]]\nname = "x"\npolicy = "environment"', "3:1", "the key environment, with the variable's name"),
        ("[sky]\nprice_ceiling = -1", "2:1", "a number of dollars above 0"),
    ],
)
def test_a_fault_is_named_with_its_place(text, where, words):
    with pytest.raises(SiteError) as caught:
        load(text, "site.toml")
    assert str(caught.value).startswith(f"site.toml:{where}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("key", ["prolog", "epilog"])
def test_hooks_that_nothing_would_run_are_refused(key: str) -> None:
    with pytest.raises(SiteError) as caught:
        load(f'cluster = "c"\n[hooks]\n{key} = "/etc/x"\n', "site.toml")
    assert str(caught.value).startswith(f"site.toml:3:1: {key}: nothing runs it here")
