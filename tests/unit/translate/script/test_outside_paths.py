"""Paths outside the submit folder: words of a script that are such paths, and their use."""

from __future__ import annotations

import pytest

from slurmsky.translate.script.mount_points import mount_of, on_every_node
from slurmsky.translate.script.outside_paths import places
from slurmsky.translate.shell.script_commands import parse
from slurmsky.translate.shell.script_variables import Scope


def found(text: str) -> list[tuple[str, str]]:
    script = parse(f"#!/bin/bash\n{text}\n")
    return [(place.text, place.role) for place in places(script, Scope.of(script)) if not on_every_node(place.text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("python train.py --data /gpfs/set1", [("/gpfs/set1", "read")]),
        ("python x.py --url file:///gpfs/m_$SLURM_JOB_ID.txt", [("/gpfs/m_$SLURM_JOB_ID.txt", "written")]),
        ("bbmerge.sh in=/gpfs/a.fq out=/gpfs/m.fq", [("/gpfs/a.fq", "read"), ("/gpfs/m.fq", "written")]),
        ("python x.py --in /gpfs/$SLURM_JOB_ID", [("/gpfs/$SLURM_JOB_ID", "read")]),
        ("HOROVOD_TIMELINE=/gpfs/t.json python x.py", [("/gpfs/t.json", "cache")]),
        ("java -jar /apps/picard/2.8/picard-2.8.jar", [("/apps/picard/2.8/picard-2.8.jar", "program")]),
        ("java -jar /apps/gatk/GenomeAnalysisTK.jar", [("/apps/gatk/GenomeAnalysisTK.jar", "read")]),
        ("/home/me/lammps/build/lmp_intel_cpu -in x", [("/home/me/lammps/build/lmp_intel_cpu", "program")]),
        ("/home/me/lammps/build/lmp_heat -in x", [("/home/me/lammps/build/lmp_heat", "run")]),
        ("""R -e "dir.create('~/libs')" """, []),
        ("python train.py --output_dir=/gpfs/out", [("/gpfs/out", "written")]),
        ("python train.py --load-dir /gpfs/ckpt", [("/gpfs/ckpt", "read")]),
        ("D=/gpfs/set1\npython train.py $D/x", [("/gpfs/set1/x", "read")]),
        (': "${D:=/gpfs/set1}"\ncp $D/x .', [("/gpfs/set1/x", "read")]),
        ("mkdir -p /scratch/me/run\ncd /scratch/me/run\ncp a /scratch/me/run/a", [("/scratch/me/run", "written")]),
        ("cd $HOME/code && ls ~/data", [("~/code", "read"), ("~/data", "read")]),
        ("/opt/tool/bin/run x", [("/opt/tool/bin/run", "run")]),
        ("source ~/venv/bin/activate", [("~/venv/bin/activate", "venv")]),
        (". /apps/conda/etc/profile.d/conda.sh", [("/apps/conda/etc/profile.d/conda.sh", "conda")]),
        ("export HF_HOME=/fsx/hf", [("/fsx/hf", "cache")]),
        ("export CUDA_HOME=/apps/cuda-11.8", [("/apps/cuda-11.8", "cuda")]),
        ("/home/me/julia-1.7/bin/julia x.jl", [("/home/me/julia-1.7/bin/julia", "program")]),
        ("source /apps/gromacs/bin/GMXRC", [("/apps/gromacs/bin/GMXRC", "software")]),
        ('jobs+=( "python x.py --data=/gpfs/in" )', [("/gpfs/in", "read")]),
        ('u="file:///gpfs/me/m_$J"\npython x.py --dist-url $u', [("/gpfs/me/m_$J", "read")]),
        ('python x.py --device "/device:cpu:0"', []), ('python -c "print(float(${N})/float(${M}))"', []),
        ("export PYTHONUSERBASE=/work/me/base", [("/work/me/base", "cache")]),
        (". /vol/cuda/11.7.1/setup.sh", [("/vol/cuda/11.7.1/setup.sh", "software")]),
        ("/home/me/envs/x/bin/python train.py", [("/home/me/envs/x/bin/python", "venv")]),
        ("snakemake --conda-prefix /gpfs/envs", [("/gpfs/envs", "written")]),
        ("export MODEL_PATH=/gpfs/m", [("/gpfs/m", "read")]), ("export A_LIB_PATH=/gpfs/m", [("/gpfs/m", "entry")]),
        ("export A_PATH=/gpfs/m:$A_PATH", [("/gpfs/m", "entry")]),
        ('cmd="singularity run -B /scratch-x:/data,/gpfs/in:/in /apps/x.sif /data/out"\neval $cmd',
         [("/scratch-x", "bound"), ("/gpfs/in", "read"), ("/apps/x.sif", "image")]),
        ('run="singularity exec --nv /apps/images/monai python"\nsrun ./node.sh "$run"',
         [("/apps/images/monai", "image")]),
        ('run="t.py -root /mnt/x"\npy="singularity exec -B /gpfs/d:/mnt a.sif python"\n$py $run',
         [("/gpfs/d", "read")]),
        ('bams=( $(ls -d "/gpfs/bam"/A*) )\ncat /gpfs/*/x.txt', [("/gpfs/bam", "read"), ("/gpfs", "read")]),
        ("singularity build --sandbox /gpfs/box docker://a/b", [("/gpfs/box", "written")]),
        ("export SINGULARITYENV_HOME=/templateflow", []), ("export D=$SCRATCH", [("/scratch", "cache")]),
        ("N=$(sed -n \"${I}p\" /gpfs/list)\nawk '{print $1}' /gpfs/table", [("/gpfs/list", "read"),
         ("/gpfs/table", "read")]),
        ("export PYTHONPATH=$unknown/a:/${PYTHONPATH}", []),
        ("export PATH=/apps/x/bin:$PATH", [("/apps/x/bin", "entry")]),
        ("apptainer exec -B /gpfs/data:/data /apps/img.sif python /data/x.py",
         [("/gpfs/data", "read"), ("/apps/img.sif", "image")]),
        ("srun --container-image=a/b --container-mounts=/fsx/d:/d python /workspace/x.py", [("/fsx/d", "read")]),
        ("tool < /gpfs/in > /gpfs/out", [("/gpfs/in", "read"), ("/gpfs/out", "written")]),
        ("source /home/me/.bashrc", [("/home/me/.bashrc", "shell")]),
        ("singularity exec -B /project,/scratch/x:/y x.sif true", [("/project", "bound"), ("/scratch/x", "read")]),
        ('CMD="t.py --data /gpfs/in --save-path /gpfs/out"\nbash -c "run $CMD"',
         [("/gpfs/in", "read"), ("/gpfs/out", "written")]),
        ("data=/gpfs/in\necho $data\nsource tests.sh", [("/gpfs/in", "read")]),
        ("[ -d /gpfs/x ] || exit\nls /gpfs/x", [("/gpfs/x", "read")]),
        ("export D=/gpfs/$USER/$SLURM_JOB_ID\nmkdir -p $D/out\ncd $D", [("/gpfs/$USER/$SLURM_JOB_ID", "written"),
         ("/gpfs/$USER/$SLURM_JOB_ID/out", "written")]),
        ("export D=/gpfs/run\nmkdir -p $D\ncd $D", [("/gpfs/run", "written")] * 2),
        ("export PYTHONPATH=/home/me/x/lib/python3.9/site-packages/:$PYTHONPATH",
         [("/home/me/x/lib/python3.9/site-packages", "entry")]),
        ('cmd="srun /home/me/envs/x/bin/python a.py"\neval $cmd', [("/home/me/envs/x/bin/python", "venv")]),
        ("V='~kim +mpi'\nrun $V", []), ("ldd /home/me/x.so", []),
        ("python x.py --tmp /mnt/storage-ssd/x", [("/mnt/storage-ssd/x", "written")]),
        ("for f in /gpfs/in/*.gz; do gunzip -c $f > ${f%.gz}; done", [("/gpfs/in", "read")]),
        ("F=/gpfs/in/*.gz\nfor f in $F; do echo $f; wc -l $f; done", [("/gpfs/in", "read")]),
        ("for d in /gpfs/a /gpfs/b /vol/c; do cd $d/src; done", [("/gpfs/a/src", "read"), ("/vol/c/src", "read")]),
        ("for d in /gpfs/a /vol/b; do mkdir -p $d; done", [("/gpfs/a", "written"), ("/vol/b", "written")]),
        ("for f in /gpfs/in/*.gz; do echo $f; done\nfor i in 1 2; do run $i; done", []),
        ("cp /gpfs/{a,b/c}/x.txt .", [("/gpfs/a/x.txt", "read"), ("/gpfs/b/c/x.txt", "read")]),
        ("mkdir -p /gpfs/{in,out}\ncd /gpfs/out", [("/gpfs/in", "written"), ("/gpfs/out", "written")]),
        ("cat /gpfs/{1..9}.txt", [("/gpfs/1.txt", "read")]),
        ("run --fasta_paths=/gpfs/a.fa,/vol/b.fa", [("/gpfs/a.fa", "read"), ("/vol/b.fa", "read")]),
    ],
)  # fmt: skip
def test_places_and_their_roles(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        'echo "results are in /gpfs/out"', "awk '/Command=/{print $2}' log", "sed 's/a/b/' x", 'cp "$DIR"/x .',
        "cp $(pwd)/x .", "cat <X>/x", "[ -d /gpfs/x ] || exit", "DEFAULT=/workspace/ssd", "cat /etc/hosts /tmp/x",
        "srun --container-image=a/b bash -c 'cd /workspace && python /starting/x.py'",
        'ARGS=(--container-image a/b)\nsrun "${ARGS[@]}" python /workspace/x.py', "ls ~/.bashrc", "cat '~/x'",
        "/usr/bin/time /usr/local/cuda/bin/nvcc x.cu", "spack load /xgcbqft",
        "if [ -f /gpfs/.env ]; then . /gpfs/.env; fi",
    ],
)  # fmt: skip
def test_texts_that_are_no_places(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "path, mount",
    [("/home/me/a/b", "/home/me"), ("/scratch/$USER/x", "/scratch"), ("/opt/tool/bin/x", "/opt/tool"),
     ("/usr/local/gib/x", "/usr/local/gib"), ("~/data/a", "~/data"), ("/gpfs/a/b", "/gpfs"),
     ("/gpfs/{1}/b", "/gpfs"), ("/{}/b", "/")],
)  # fmt: skip
def test_what_one_mounts(path: str, mount: str) -> None:
    assert mount_of(path) == mount
