"""Partitions with warm nodes: values in the site file, and positions of errors."""

from __future__ import annotations

from random import Random

import pytest

from slurmsky.site import SiteError, load
from slurmsky.site.record import Shape

WARM = """engine = "sky"
[[partition]]
name = "gpu"
infra = ["kubernetes/lab", "aws/us-east-1"]
nodes = "gpu-[1-8]"
shape = { gpus = "H100:8", cpus = "96+", memory = "900+", disk = 512, image = "docker:x", spot = false }
suspend_time = "20:00"
keep_up = 1
resume_timeout = "15:00"
"""


def test_nodes_of_a_shape():
    site = load(WARM, "site.toml")
    kept = dict(site.warm_nodes)["gpu"]
    assert kept.names == tuple(f"gpu-{number}" for number in range(1, 9))
    assert kept.shape == Shape("96+", "900+", "H100:8", 512, "docker:x")
    assert (kept.suspend_time_s, kept.keep_up, kept.resume_timeout_s, kept.cluster) == (1200, 1, 900, "")
    node = site.cluster.node("gpu-3")
    assert (node.cpus, node.memory_mib, node.tmp_mib, node.gres) == (96, 921600, 524288, (("gpu", "h100", 8),))
    assert site.engine_of("gpu") == "nodes" and site.sky_partition("gpu").infra == ("kubernetes/lab", "aws/us-east-1")


@pytest.mark.parametrize(
    ("written", "seconds"), [('"5"', 300), ("5", 5), ('"1-0"', 86400), ('"INFINITE"', None), ("-1", None), ("0", 0)]
)
def test_suspend_time_is_a_slurm_time_or_seconds(written, seconds):
    site = load(f'[[partition]]\nname="a"\nnodes="n1"\nshape={{cpus=1,memory=1}}\nsuspend_time={written}', "f")
    assert dict(site.warm_nodes)["a"].suspend_time_s == seconds


def test_a_node_may_have_a_part_of_a_gib_but_not_of_a_cpu():
    site = load('[[partition]]\nname="a"\nnodes="n1"\nshape={cpus=1.5,memory=0.5}\n', "f")
    node = site.cluster.node("n1")
    assert (node.cpus, node.memory_mib) == (1, 512)


def test_nodes_belong_to_one_user_unless_the_site_file_says_otherwise():
    other = '[[partition]]\nname = "shared"\nnodes = "d1"\ncluster = "dev"\nexclusive_user = false\n'
    partitions = load(WARM + other, "site.toml").cluster.partitions
    assert [(part.name, part.exclusive_user) for part in partitions] == [("gpu", True), ("shared", False)]
    (debug,) = load("", "site.toml").cluster.partitions
    assert not debug.exclusive_user


def test_a_second_partition_may_name_warm_nodes():
    site = load(WARM + '[[partition]]\nname = "short"\nnodes = "gpu-[1-2]"\nmax_time = 10\n', "site.toml")
    assert site.engine_of("short") == "nodes" and site.cluster.partition("short").nodes == ("gpu-1", "gpu-2")


MUTATED = """[[partition]]
name = "gpu"
default = true
infra = ["kubernetes/lab", "aws/us-east-1"]
nodes = "gpu-[1-8]"
suspend_time = "20:00"
keep_up = 1
resume_timeout = "15:00"
max_nodes = 2
exclusive_user = true
[partition.shape]
gpus = "H100:8"
cpus = "96+"
memory = "900+"
disk = 512
spot = false
[[partition]]
name = "dev"
nodes = "dev-[1-2]"
cluster = "dev"
[[budget]]
account = "poor"
hourly = 1.5
[limits]
kill_wait_s = 30
"""


@pytest.mark.parametrize(
    ("lines", "reported"),
    [
        ('infra = "aws"\nnodes = "n[1-2]"', "4:1: nodes needs the shape of the nodes"),
        ('infra = "aws"\nnodes = "n1"\n[[node]]\nnames = "m1"', "4:1: nodes needs the shape of the nodes"),
        ('nodes = "n[1-2]"\nsuspend_time = 3', "4:1: suspend_time needs the shape of the nodes"),
        ('nodes = "n[1-2]"\nkeep_up = 1', "4:1: keep_up needs the shape of the nodes"),
        ('nodes = "n1"\nshape = { cpus = 1 }', "4:1: shape: memory is missing"),
        ('nodes = "n1"\nshape = { cpus = 1, memory = 1, gpu = "H100" }', "4:1: shape: gpu is not known here; "),
        ('nodes = "n1"\nshape = { cpus = "many", memory = 1 }', "4:1: shape: cpus: a number such as 8 or"),
        ('nodes = "n1"\nshape = { cpus = 0.5, memory = 1 }', "4:1: shape: cpus: a node has at least one CPU, not 0.5"),
        ('nodes = "n1"\nshape = { cpus = 1, memory = 0 }', "4:1: shape: memory: a number such as 8 or"),
        ('nodes = "n1"\nshape = { cpus = 1, memory = 1, gpus = "H100:" }', "4:1: shape: gpus: an accelerator and its"),
        ('nodes = "n1"\nshape = "large"', "4:1: shape: a table is expected"),
        ("shape = { cpus = 1, memory = 1 }", '3:1: warm nodes need names: nodes = "gpu-[1-8]"'),
        ('nodes = "n[1-2]"\nshape = { cpus = 1, memory = 1 }\nkeep_up = 3', "5:1: keep_up = 3 is more than the"),
        ('nodes = "n1"\nshape = { cpus = 1, memory = 1 }\nresume_timeout = 0', "5:1: resume_timeout: a Slurm"),
        ('nodes = "n1"\nshape = { cpus = 1, memory = 1 }\nsuspend_time = "soon"', "5:1: suspend_time: a Slurm"),
        ('nodes = "n1"\ncluster = "dev"\nkeep_up = 1', "5:1: keep_up cannot be combined with cluster"),
        ('nodes = "n1"\ncluster = "dev"\nengine = "local"', "5:1: engine cannot be combined with shape or cluster"),
        ('nodes = "n[2-1]"\ncluster = "dev"', "3:1: nodes: a host list is expected"),
        ('nodes = "n[1-"\ncluster = "dev"', "3:1: nodes: a host list is expected"),
        ('nodes = "n1"\ncluster = ""', "4:1: cluster: the name of a SkyPilot cluster is expected"),
        ('nodes = "n1"\ncluster = "de v/x"', "4:1: cluster: the name of a SkyPilot cluster is expected"),
        ('nodes = "n1"\n\n[partition.shape]\ncpus = 1\nmemory = "x"', "5:2: shape: memory: a number such as 8 or"),
        ('nodes = "n1"\nshape = { cpus = 1, memory = 1 }\nspot = true', "5:1: spot cannot be combined with warm nodes"),
        ('nodes = "n1"\nshape = { cpus = 1, memory = 1 }\npool = "p"', "5:1: pool cannot be combined with warm nodes"),
        ('nodes = "n1"\nshape = { cpus = 1, memory = 1 }\nexclusive_user = "YES"', "5:1: exclusive_user: true or"),
    ],
)
def test_a_faulty_line_is_named_with_its_place(lines, reported):
    with pytest.raises(SiteError) as caught:
        load(f'[[partition]]\nname = "a"\n{lines}\n', "site.toml")
    assert str(caught.value).startswith(f"site.toml:{reported}")


#: values that no key of these tables takes where it takes another kind
VALUES = ("-2", "inf", "nan", "[1]", "{ a = 1 }", "99999999999999999999", '"9"9', "1979-05-27")


@pytest.mark.parametrize("seed", range(40))
def test_changed_characters_and_values_are_named_with_their_place_or_have_a_meaning(seed):
    """Five changes of each file: a changed character, or a refused value of another kind."""
    random = Random(seed)
    for _ in range(5):
        lines = MUTATED.splitlines()
        row = random.choice([number for number, line in enumerate(lines) if " = " in line])
        key = lines[row].split(" = ")[0]
        refused = random.random() < 0.5
        if refused:
            lines[row] = f"{key} = {random.choice(VALUES)}"
        else:
            place = random.randrange(len(lines[row]))
            lines[row] = lines[row][:place] + random.choice("abz09-_+[]{}\"'=.,:# é\x00") + lines[row][place + 1 :]
        try:
            load("\n".join(lines), "site.toml")
            assert not refused, lines[row]
            assert lines[row].split(" = ")[0].strip() == key or lines[row].lstrip().startswith("#"), lines[row]
        except SiteError as error:
            assert 1 <= error.line <= len(lines) and error.column >= 1, error


def test_warm_nodes_and_described_nodes_do_not_mix():
    node = '[[node]]\nnames = "n1"\n'
    warm = WARM.partition("\n")[2]
    with pytest.raises(SiteError, match=r"described by a \[\[node\]\] table"):
        load(node + '[[partition]]\nname = "a"\nnodes = "n1"\nshape = { cpus = 1, memory = 1 }', "f")
    with pytest.raises(SiteError, match=r"do not mix"):
        load(node + warm + '[[partition]]\nname = "b"\nnodes = "n1,gpu-1"\n', "f")
