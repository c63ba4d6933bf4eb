"""Names that sites give to modules and GPUs, and their meaning."""

from __future__ import annotations

import pytest

from slurmsky.site import load
from slurmsky.site.gpunames import known_gpu
from slurmsky.site.modules import find

SITE = load("", "none")


@pytest.mark.parametrize(
    "word, gpu",
    [
        ("a100", "A100"), ("nvidia_a100-sxm4-80gb", "A100-80GB"), ("v100-32g", "V100-32GB"), ("gpu80", "A100-80GB"),
        ("TESLA_V100", "V100"), ("VOLTA", "V100"), ("HOPPER", "H100"), ("MI250", "MI250"), ("1G.5GB", "A100"),
        ("MI300A", "MI300X"), ("gfx90a", "MI250"), ("gpu_a100", "A100"), ("nvidia-geforce-rtx-3090", "RTX3090"),
        ("rtx6000-ada", "RTX6000-Ada"), ("skylake", ""), ("debug", ""), ("gpu", ""), ("ib", ""), ("haswell", ""),
        ("GTX2080TI", "RTX2080Ti"), ("a100nv", "A100"),
    ],
)  # fmt: skip
def test_gpu_names(word: str, gpu: str) -> None:
    assert known_gpu(word) == gpu


@pytest.mark.parametrize(
    "name, part",
    [
        ("lang/Python/3.11", "python=3.11"), ("toolchain/foss", "libopenmpi-dev"), ("cde/v3/gcc/10.3.0", "gfortran"),
        ("cuda/12.9", "12.9.1"), ("cuda/10.1", "cuda10.1"), ("nvhpc", "nvhpc:24"),
        ("PrgEnv-amd", "rocm"), ("anaconda3", "numpy"), ("GROMACS/2021", "gromacs"), ("openmpi4/4.1", "openmpi"),
        ("cuda-10.2-gcc-8.3.0-nxzzh52", "cuda10.2"), ("py-torchvision/0.15", "torchvision"),
        ("pytorch/v1.5.0-gpu", "1.5.1"),
        ("py-requests", "requests"), ("mpi/openmpi-x86_64", "openmpi"), ("cuda11.2-cudnn8.1.0", "11.2.2"),
        ("openmind/cuda/9.1", "cuda9"), ("rocm-5.4.2/ucx-1.13.1/ompi/4.1.4", "5.4.2"), ("gompi/2020", "openmpi"),
        ("any/python/3.8.3-conda", "python=3.8"), ("python/2019", "python"), ("cuda/112", "11.2.2"),
        ("gromacs-gcc-8.2.0-openmpi-4.0.1-cuda-10.1/2020", "gromacs"), ("stack-intel/2021.5.0", "hpckit"),
        ("sloan/python/modules/2.7", "python=2.7"), ("quantum_espresso/7.1_nix2", " qe"),
        ("nlpl-transformers/4.14.1-foss-2019b", "transformers"), ("python-mpi4py-3.0.3", "mpi4py"),
        ("UHTS/Analysis/samtools/1.8", "samtools=1.8"), ("py-netcdf4", "bioconda netcdf4"), ("r-mass/7.3", "r-mass"),
        ("mpi/latest", "openmpi"), ("bio/sratoolkit.2.3.3-4", "sra-tools"), ("qiime2/2021.11", "quay.io/qiime2"),
        ("/apps/dom/UES/modules/all/CMake/3.18.4", "cmake"), ("UHTS/Analysis/GenomeAnalysisTK/4.1.3.0", "gatk4"),
        ("cde/v2/gcc/7.2.0/openmpi/4.0.5", "gfortran"), ("cdt-cuda", "cuda"), ("gcccuda/9.2.0_11.0.228", "11.8.0"),
    ],
)  # fmt: skip
def test_modules_and_their_replacements(name: str, part: str) -> None:
    module = find(SITE, name)
    assert module is not None and part in module.image + module.setup


@pytest.mark.parametrize("name", ["math/Gurobi", "knitro", "sas", "IDL", "orca", "schrodinger", "tools/ArmForge"])
def test_licensed_modules_are_known_as_such(name: str) -> None:
    module = find(SITE, name)
    assert module is not None and module.kind == "licensed" and not module.complete


@pytest.mark.parametrize("name", ["cuda/8.0", "pytorch/0.2"])
def test_a_version_without_an_image_is_no_other_version(name: str) -> None:
    module = find(SITE, name)
    assert module is not None and not module.image and not module.complete


@pytest.mark.parametrize("name", ["craype-dl-plugin-py3", "python-build-bundle", "nvidia-apex", "caffe/cuda", "mndo/x"])
def test_a_word_of_a_name_does_not_stand_for_the_whole_name(name: str) -> None:
    assert find(SITE, name) is None


@pytest.mark.parametrize(
    "name", ["2019", "2022r2", "eth_proxy", "cpuarch/amd", "rhel8/default-icl", "system", "darshan/3.0.1"]
)
def test_a_software_tree_of_the_old_cluster_needs_nothing(name: str) -> None:
    module = find(SITE, name)
    assert module is not None and module.complete and not (module.image or module.setup)


def test_a_category_alone_names_no_program() -> None:
    assert find(SITE, "tools/nobody-knows-it") is None
