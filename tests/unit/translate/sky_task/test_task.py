"""sbatch options -> SkyPilot task: the rows of the migration advice, and more."""

from __future__ import annotations

import dataclasses

import pytest

from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.site import load
from slurmsky.translate.script.needs import Needs
from slurmsky.translate.sky_task import option_support
from slurmsky.translate.sky_task.geometry import geometry
from slurmsky.translate.sky_task.sky_names import docker_image, sky_name
from slurmsky.translate.sky_task.task import SLURM_INFRA_FIELDS, plan
from slurmsky.translate.sky_task.translation_notes import Refused

SITE = load(
    """
[gpus]
default = "H100"
names = { big = "H200" }
[modules]
"cuda/12.1" = "docker:nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04"
[paths]
"/scratch" = "s3://team/scratch"
"/home" = "volume:home"
[[partition]]
name = "gpu"
default = true
infra = "kubernetes/ctx"
kueue_queue = "team-a"
priority_class = "high"
features = { highmem = "r6i.8xlarge", ampere = "A100" }
[[partition]]
name = "slurm"
infra = "slurm/oracle/debug"
[[partition]]
name = "spot"
infra = ["aws/us-east-1", "gcp"]
spot = true
price_ceiling = 2.5
[[partition]]
name = "small"
max_nodes = 4
max_cpus_per_node = 16
""",
    "site.toml",
)
NO_GPU_SITE = load('[[partition]]\nname="gpu"\ndefault=true', "f")
GB = 1024


@pytest.mark.parametrize(
    "fields, resources, nodes",
    [
        # migration rows
        ({"mem_mib": 64 * GB}, {"memory": "64+", "cpus": "1+"}, 1),
        ({"cpus_per_task": 4}, {"cpus": "4+"}, 1),
        ({"gpus_per_node": "8"}, {"accelerators": "H100:8"}, 1),
        (
            {"nodes_min": 2, "gpus_per_node": "8", "cpus_per_task": 32, "mem_mib": 256 * GB},
            {"accelerators": "H100:8", "cpus": "32+", "memory": "256+"},
            2,
        ),
        # every GPU spelling
        ({"gres": "gpu:a100:4"}, {"accelerators": "A100:4"}, 1),
        ({"gres": "gpu:4"}, {"accelerators": "H100:4"}, 1),
        ({"gres": "gpu"}, {"accelerators": "H100:1"}, 1),
        ({"gres": "gres/gpu:l4:2"}, {"accelerators": "L4:2"}, 1),
        ({"gpus": "a100:4"}, {"accelerators": "A100:4"}, 1),
        ({"gpus": "16"}, {"accelerators": "H100:8"}, 2),
        ({"gpus": "8", "nodes_min": 2}, {"accelerators": "H100:4"}, 2),
        ({"gpus": "h100:16", "gpus_per_node": "h100:4"}, {"accelerators": "H100:4"}, 4),
        ({"gpus_per_task": "1", "ntasks": 4}, {"accelerators": "H100:4", "cpus": "4+"}, 1),
        ({"gpus_per_task": "1", "ntasks": 16}, {"accelerators": "H100:8", "cpus": "8+"}, 2),
        ({"gpus_per_task": "1", "ntasks": 8, "nodes_min": 2}, {"accelerators": "H100:4", "cpus": "4+"}, 2),
        ({"gpus_per_socket": "2", "sockets_per_node": 2}, {"accelerators": "H100:4"}, 1),
        ({"gpus": "4", "ntasks_per_gpu": 2}, {"accelerators": "H100:4"}, 1),
        ({"gpus_per_task": "2", "ntasks": 2}, {"accelerators": "H100:4"}, 1),
        ({"gpus": "4", "constraint": "a100"}, {"accelerators": "A100:4"}, 1),
        ({"gpus": "4", "constraint": "ampere"}, {"accelerators": "A100:4"}, 1),
        ({"gpus": "big:1"}, {"accelerators": "H200:1"}, 1),
        ({"constraint": "highmem"}, {"instance_type": "r6i.8xlarge"}, 1),
        # nodes and tasks
        ({"ntasks": 8}, {"cpus": "8+"}, 1),
        ({"ntasks": 8, "ntasks_per_node": 2}, {"cpus": "2+"}, 4),
        ({"ntasks": 7, "nodes_min": 2, "cpus_per_task": 2}, {"cpus": "8+"}, 2),
        ({"nodes_min": 3, "ntasks_per_node": 4, "cpus_per_task": 2}, {"cpus": "8+"}, 3),
        ({"nodes_min": 4, "ntasks": 2}, {"cpus": "1+"}, 2),
        ({"nodelist": "a[1-3]"}, {"cpus": "1+"}, 3),
        ({"mincpus": 6}, {"cpus": "6+"}, 1),
        ({"gpus": "2", "cpus_per_gpu": 6}, {"cpus": "12+", "accelerators": "H100:2"}, 1),
        # memory
        ({"mem_per_cpu_mib": 2000, "cpus_per_task": 4}, {"memory": "8+"}, 1),
        ({"mem_per_gpu_mib": 20 * GB, "gpus": "2"}, {"memory": "40+"}, 1),
        ({"mem_mib": 1}, {"memory": "1+"}, 1),
        ({"mem_mib": 1025}, {"memory": "2+"}, 1),
        ({"tmp_mib": 100 * GB}, {"disk_size": 120}, 1),
        ({"nice": 100}, {"priority": -100}, 1),
        ({"nice": 5000}, {"priority": -1000}, 1),
    ],
)
def test_resources(fields, resources, nodes):
    task = plan(JobSpec(**fields), SITE, "gpu")
    assert {key: task.fields["resources"].get(key) for key in resources} == resources
    assert task.fields.get("num_nodes", 1) == nodes


@pytest.mark.parametrize("fields", [{"mem_mib": 0}, {}])
def test_memory_left_open(fields):
    assert "memory" not in plan(JobSpec(**fields), SITE, "gpu").fields["resources"]


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"gres": "gpu:a100:1,gpu:h100:1"}, "Requested node configuration is not available"),
        ({"gpus": "a100:2,h100:2"}, "Requested node configuration is not available"),
        ({"gpus": "2", "nodes_min": 4}, "Requested node configuration is not available"),
        ({"gres": "shard:4"}, "Invalid generic resource (gres) specification"),
        ({"constraint": "gpu&ib"}, "Invalid feature specification"),
    ],
)
def test_refused_in_slurms_words(fields, text):
    with pytest.raises(Refused) as caught:
        plan(JobSpec(**fields), SITE, "gpu")
    assert str(caught.value) == text and caught.value.hint


def test_a_gpu_without_a_type_needs_a_default():
    with pytest.raises(Refused) as caught:
        plan(JobSpec(gpus="1"), NO_GPU_SITE, "gpu")
    assert "gpus.default" in caught.value.hint


@pytest.mark.parametrize("fields, nodes", [({"ntasks": 64}, 4), ({"ntasks": 10, "cpus_per_task": 8}, 5)])
def test_a_partitions_node_size_decides_how_many_are_needed(fields, nodes):
    partition = dataclasses.replace(SITE.cluster.partition("small"), max_nodes=INFINITE)
    assert geometry(JobSpec(**fields), partition).nodes == nodes


@pytest.mark.parametrize(
    "fields, nodes, ntasks, gpus",
    [
        ({"gpus": "8", "gpus_per_task": "2"}, 1, 4, 8),
        ({"gpus": "8", "gpus_per_node": "4", "gpus_per_task": "2"}, 2, 4, 4),
        ({"ntasks": 4, "gpus_per_node": "2", "gpus_per_task": "1"}, 2, 4, 2),
        ({"gpus": "16", "gpus_per_node": "8"}, 2, 2, 8),
        ({"gpus": "4", "ntasks_per_gpu": 2}, 1, 8, 4),
    ],
)
def test_numbers_that_follow_from_devices(fields, nodes, ntasks, gpus):
    size = geometry(JobSpec(**fields), SITE.cluster.partition("gpu"))
    assert (size.nodes, size.ntasks, size.gpus) == (nodes, ntasks, gpus)


def test_a_partitions_node_limit():
    with pytest.raises(Refused, match="Node count specification invalid"):
        plan(JobSpec(nodes_min=5), SITE, "small")


def test_slurm_infra_gets_slurms_options():
    task = plan(
        JobSpec(
            account="a",
            qos="q",
            constraint="ib&x",
            exclude="n1",
            comment="c",
            exclusive="",
            time_limit_min=60,
            contiguous=True,
        ),
        SITE,
        "slurm",
    )
    assert task.fields["config"] == {
        "slurm": {
            "sbatch_options": {
                "account": "a",
                "qos": "q",
                "constraint": "ib&x",
                "exclude": "n1",
                "comment": "c",
                "exclusive": True,
                "contiguous": True,
                "time": "75",
            }
        }
    }
    assert task.fields["resources"]["infra"] == "slurm/oracle/debug"
    assert not [note for note in task.notes if note.option in ("exclude", "exclusive", "contiguous")]


def test_kubernetes_queue_and_priority_class():
    task = plan(JobSpec(exclude="n1"), SITE, "gpu")
    assert task.fields["config"] == {"kubernetes": {"kueue": {"local_queue_name": "team-a"}}}
    assert task.fields["resources"]["priority_class"] == "high"
    assert [note.option for note in task.notes] == ["exclude"]


def test_a_list_of_infras_is_tried_in_order():
    resources = plan(JobSpec(), SITE, "spot").fields["resources"]
    assert resources["ordered"] == [{"infra": "aws/us-east-1"}, {"infra": "gcp"}]
    assert resources["use_spot"] is True and resources["max_hourly_cost"] == 2.5


def test_paths_of_the_site_are_mounted():
    fields = plan(JobSpec(), SITE, "gpu").fields
    assert fields["file_mounts"] == {"/scratch": {"source": "s3://team/scratch", "mode": "MOUNT"}}
    assert fields["volumes"] == {"/home": "home"}


@pytest.mark.parametrize(
    "given, image",
    [
        ("nvcr.io#nvidia/pytorch:24.01-py3", "docker:nvcr.io/nvidia/pytorch:24.01-py3"),
        ("docker://user@ghcr.io#a/b:c", "docker:ghcr.io/a/b:c"),
        ("ubuntu:22.04", "docker:ubuntu:22.04"),
        ("docker:x", "docker:x"),
    ],
)
def test_images(given, image):
    spec = JobSpec(site_options=(("container-image", given),))
    assert plan(spec, SITE, "gpu").fields["resources"]["image_id"] == image == docker_image(given)


def test_an_image_file_is_refused():
    with pytest.raises(Refused):
        docker_image("/images/torch.sqsh")


def test_modules_become_images_or_a_note():
    task = plan(JobSpec(), SITE, "gpu", wants=Needs(modules=("cuda/12.1", "matlab")))
    assert task.fields["resources"]["image_id"] == "docker:nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04"
    assert [note.text for note in task.notes if note.effect == "recorded"] == ["the site file maps no module matlab"]


@pytest.mark.parametrize(
    "name, sky",
    [
        ("train", "train"),
        ("My Job_1.sh", "my-job-1-sh"),
        ("1", "j-1"),
        ("", "job"),
        ("ü", "job"),
        ("x" * 40, "x" * 20),
    ],
)
def test_names(name, sky):
    assert sky_name(name) == sky


def test_every_field_of_a_spec_has_an_effect_or_a_note():
    fields = {field.name for field in dataclasses.fields(JobSpec)}
    supported = (
        option_support.TASK | option_support.AGENT | option_support.CONTROLLER | set(option_support.WITHOUT_EFFECT)
    )
    assert fields - supported == set() and supported - fields == set()
    assert option_support.ON_SLURM <= SLURM_INFRA_FIELDS


def test_the_yaml_to_keep_is_what_is_sent():
    yaml = pytest.importorskip("yaml")
    task = plan(JobSpec(job_name="train", nodes_min=2, gpus_per_node="8", comment='a "quoted": #x'), SITE, "slurm")
    more = {"run": "echo a\n\necho b\n", "envs": {"A": "1", "B": "yes", "C": "1e3", "D": "0x1", "E": ""}}
    assert yaml.safe_load(task.yaml(**more)) == {**task.fields, **more}


def test_qos_and_account_come_before_the_partition() -> None:
    site = load(
        """
[[partition]]
name = "main"
default = true
infra = "kubernetes/lab"
kueue_queue = "part-queue"
priority_class = "part-class"
labels = { team = "part", place = "lab" }
[[qos]]
name = "long"
kueue_queue = "long-queue"
max_hourly_cost = 8
labels = { tier = "batch" }
[[account]]
name = "vision"
priority_class = "vision-class"
kueue_queue = "vision-queue"
labels = { team = "vision" }
""",
        "site.toml",
    )
    fields = plan(JobSpec(nodes_min=2, nodes_max=2), site, "main", qos="long", account="vision").fields
    assert fields["config"] == {"kubernetes": {"kueue": {"local_queue_name": "long-queue"}}}
    resources = fields["resources"]
    assert (resources["priority_class"], resources["max_hourly_cost"]) == ("vision-class", 4.0)
    assert {key: resources["labels"][key] for key in ("team", "place", "tier", "slurmsky-qos", "slurmsky-account")} == {
        "team": "vision", "place": "lab", "tier": "batch", "slurmsky-qos": "long", "slurmsky-account": "vision",
    }  # fmt: skip
    plain = plan(JobSpec(), site, "main").fields
    assert plain["config"] == {"kubernetes": {"kueue": {"local_queue_name": "part-queue"}}}
    assert "max_hourly_cost" not in plain["resources"]
