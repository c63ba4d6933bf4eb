"""The workdir, mounts and old paths in exported YAML."""

from __future__ import annotations

import re

import pytest
from moving_script import moving
from yaml_exports import NONE, SITE, export, script

from slurmsky.site import load
from slurmsky.translate.export.yaml_export import SubmittedScript, export_yaml


def test_julia_reads_its_project_folder() -> None:
    found = export(script("module load julia\njulia --project=. -e 'include(\"a.jl\")'"))
    assert found.fields["workdir"] == "." and "conda" not in found.fields["setup"]


def test_mapped_paths_are_mounted_where_they_are_used() -> None:
    site = load('[paths]\n"/scratch" = "s3://team/scratch"\n"/home" = "volume:home"\n', "site")
    found = export(script("./a /scratch/x/y"), site=site)
    assert found.fields["file_mounts"] == {"/scratch": {"source": "s3://team/scratch", "mode": "MOUNT"}}
    assert "volumes" not in found.fields


def test_the_submit_folder_in_a_container_is_a_link() -> None:
    body = "srun --container-image=a/b --container-mounts=.:/workspace/x,$PWD/out:/results python /workspace/x/t.py"
    found = export(script(body))
    assert found.fields["workdir"] == "." and "ln -sfn ~/sky_workdir /workspace/x" in found.fields["run"]
    assert "ln -sfn ~/sky_workdir/out /results" in found.fields["run"]


@pytest.mark.parametrize("body", ["./a.out", "python a.py", "make", "source env.sh", "Rscript a.R", "cat in.nml"])
def test_files_beside_the_script_are_sent(body: str) -> None:
    assert export(script(body)).fields["workdir"] == "."


def test_the_scripts_own_folder_is_the_submit_folder() -> None:
    found = export(script('here=$(dirname "$0")\npython ${here}/x.py'))
    assert "here=$HOME/sky_workdir" in found.yaml and found.fields["workdir"] == "."


def test_every_place_of_the_old_cluster_is_named_and_its_stores_are_set() -> None:
    found = export(script("CMD='x.py --data /gpfs/in'\npython $CMD $HOME/soft/a $SCRATCH/b"), site=load("", "none"))
    assert "# TODO: /gpfs is on" in found.yaml.replace("/gpfs/in", "/gpfs") and "# TODO: ~/soft is on" in found.yaml
    assert found.fields["envs"]["SCRATCH"] == "/scratch"


@pytest.mark.parametrize(
    ("body", "levels"),
    [
        ("python ../src/main.py", 1),
        ("DATA=../../data\npython main.py --data=$DATA/set", 2),
        ("cd sub\npython ../main.py", 0),
        ("cd ..\npython main.py", 1),
        ("(cd ..; ls)\npython ../main.py", 1),
        ("cd /work/x\npython ../main.py", 0),
        ("echo ../x\npython main.py", 0),
        ("cd $SLURM_SUBMIT_DIR/..\npython main.py", 1),
    ],
)
def test_the_workdir_begins_as_far_above_as_the_script_reads(body: str, levels: int) -> None:
    data = script(body).encode()
    request = moving.request(data, "job.sh")
    folder = "/data/group/project/exp/jobs"
    found = export_yaml(
        SubmittedScript(data.decode(), [request.components[0].evolve(chdir=folder)], folder=folder), SITE, "main"
    )
    names = ["project", "exp", "jobs"][-levels:] if levels else []
    assert found.fields["workdir"] == "/".join([".."] * levels or ["."]) if "cd /work" not in body else True
    assert found.fields["run"].startswith(f"cd {'/'.join(names)}\n") == bool(levels)


def test_a_folder_above_an_unknown_submit_folder_is_named_in_a_comment() -> None:
    assert "../...: above the workdir" in export(script("python ../main.py")).yaml


def test_a_bucket_is_mounted_at_the_folder_of_a_file() -> None:
    found = export(script("python a.py --output /project/me/out/all.vcf.gz"))
    assert list(found.fields["file_mounts"]) == ["/project/me/out"]


def test_a_path_of_gnu_parallel_names_the_folder_before_its_replacement_string() -> None:
    found = export(script("parallel python a.py /work/{1}/x /{2}/y ::: a b ::: c d"))
    mount = {"source": "${DATA_BUCKET}/work", "mode": "MOUNT"}
    assert found.fields["file_mounts"]["/work"] == mount and "BUCKET}/{" not in found.yaml
    assert found.fields["envs"] == {"DATA_BUCKET": None} and "--env DATA_BUCKET=... " in found.yaml


@pytest.mark.parametrize(
    ("option", "run", "comment"),
    [
        ("sub/x", "cd sub/x\npython a.py\n", ""),
        ("/old/place", "python a.py\n", "a copy of /old/place of the old cluster"),
    ],
)
def test_chdir_is_where_run_begins_or_a_comment(option: str, run: str, comment: str) -> None:
    source = script("python a.py", f"--chdir={option}")
    found = export_yaml(
        SubmittedScript(source, moving.request(source.encode(), "job.sh").components, folder="/submit"), SITE, "main"
    )
    assert found.fields["run"] == run and found.fields["workdir"] == "." and comment in found.yaml


@pytest.mark.parametrize(
    ("body", "options", "link"),
    [
        ("python /old/place/a.py --data /old/place/in.csv", "--chdir=/old/place", "/old/place"),
        ("cd /home/me/model\npython a.py --data /home/me/model/x.csv", "", "/home/me/model"),
        ("python /home/me/model/train.py", "", "/home/me/model"),
        ("D=/home/me/model\ncd $D\nmkdir out\ncd out\npython $D/a.py", "", "/home/me/model"),
        ("python ~/model/train.py", "", "~/model"),
        ("cd /scratch/$USER/model\npython /scratch/$USER/model/a.py", "", "/scratch/$USER/model"),
        ("cd /home/me/model\npython a.py", "", ""),
        ("cd /home/me/model\nconda activate model\npython a.py", "", ""),
    ],
)
def test_the_former_path_of_the_workdir_becomes_a_link(body: str, options: str, link: str) -> None:
    source = script(body, options)
    found = export_yaml(
        SubmittedScript(source, moving.request(source.encode(), "job.sh").components, folder="/submit"), SITE, "main"
    )
    last = body.split("\n")[-1]
    assert found.fields["run"].endswith(f"{last}\n") and "DATA_BUCKET" not in found.yaml
    assert found.fields["workdir"] == "."
    assert link in re.findall(r"ln -sfn ~/sky_workdir (\S+)", found.yaml) or [""]


def test_no_mount_contains_the_link_of_the_workdir() -> None:
    found = export(script("cd /home/me/model\npython /home/me/model/a.py --data /home/me/data/x --out /home/me"))
    assert "/home/me/data" in found.fields["file_mounts"] and "/home/me" not in found.fields["file_mounts"]
    found = export(script("python a.py --data /data/me/in --output_dir /data/me/out"))
    assert "/data/me/in" in found.fields["file_mounts"] and "/data/me" not in found.fields["file_mounts"]


def test_a_path_that_the_site_serves_by_nfs_is_mounted() -> None:
    site = load('[paths]\n"/data" = "nfs:10.0.0.5:/export"\n', "site")
    found = export(script("python a.py --data /data/in --output_dir /data/out"), site=site)
    assert found.fields["config"]["kubernetes"] and "file_mounts" not in found.yaml


@pytest.mark.parametrize(
    ("body", "needed"),
    [
        ("/home/me/bin/solver 14 0", True),
        ("EXE=./main.ex\nmpirun $EXE", True),
        ("python -m src.train", True),
        ("python -W ignore -m src.train", True),
        ("python -c 'import os; os.chdir(\"a\")'", True),
        ("unknowntool", True),
        ("module load lammps\nlmp", True),
        ("hostname\nnvidia-smi", False),
        ("python -c 'import torch; print(torch.__version__)'", False),
        ("python -m venv /tmp/e\npython --version\nnvcc --version", False),
        ("cp /data/a /data/b", False),
    ],
)
def test_programs_of_the_user_need_the_workdir(body: str, needed: bool) -> None:
    assert ("workdir" in export(script(body)).fields) is needed


def test_results_that_the_script_names_are_to_be_copied() -> None:
    found = export(script("./a > a.log\npython b.py --output_dir out 2> err.txt")).yaml
    assert "# to keep a.log out, copy to a bucket at the end:" in found
    assert "# to keep" not in export(script("./a > /data/a.log")).yaml


def test_a_checkpoint_that_is_only_loaded_is_no_bucket_for_new_ones() -> None:
    found = export(script("python a.py --load_ckpt /mnt/nfs/me/m.pth"))
    mounts = {"/mnt/nfs/me": {"source": "${DATA_BUCKET}/mnt/nfs/me", "mode": "MOUNT"}}
    assert found.fields["file_mounts"] == mounts and "/mnt/nfs/me is on the old cluster" in found.yaml
    both = export(script("python a.py --load /ckpt/run --save /ckpt/run"))
    assert list(both.fields["file_mounts"]) == ["/ckpt"]


def test_patterns_and_files_of_an_image_are_no_paths_of_the_old_cluster() -> None:
    body = "sed -i '/sample\\tspecies/d' a.txt\nsingularity exec docker://a/b cp /db-1/x/y ./\nnextflow run a.nf"
    assert "DATA_BUCKET" not in export(script(body), site=NONE).yaml


def test_an_unchanged_script_needs_the_folder_of_its_programs() -> None:
    found = export(script("srun -n 8 python /global/homes/me/a.py | tee log", "-N2"))
    assert found.needs and "/global/homes/me is on the old cluster" in found.yaml


def test_matlab_reads_its_working_directory() -> None:
    assert export(script("matlab -batch run_all")).fields["workdir"] == "."


@pytest.mark.parametrize("value", ["References/a.fa", "'fastqList.txt'"])
def test_files_that_variables_name_need_the_workdir(value: str) -> None:
    assert export(script(f"ref={value}\nsome_tool in=$ref")).fields["workdir"] == "."


def test_dot_files_are_copied_and_the_shells_own_are_left_out() -> None:
    found = export(script("source ~/.bashrc\nsource ~/.keys\n./prog"))
    assert found.fields["run"] == "source ~/.keys\n./prog\n"
    assert "file_mounts: {~/.keys: ~/.keys}" in found.yaml and "s3://" not in found.yaml


def test_folders_inside_a_container_are_no_mounts() -> None:
    found = export(script("singularity exec -B /scratch/me:/data x.sif prog /data/in /scratch/me/b"))
    assert "# TODO: /scratch" in found.yaml and "# TODO: /data" not in found.yaml


def test_arguments_name_files_of_the_workdir() -> None:
    found = export(script('runbwa "$@"'))
    assert found.fields["workdir"] == "." and "# $@ of the script" in found.yaml


def test_folders_that_the_script_makes_are_not_sent() -> None:
    cloned = export(script("git clone https://example.org/a/proj.git\ncd proj\nmake\npython tools/run.py\n./build/x"))
    assert "workdir" not in cloned.fields
    assert "TODO: the folder" not in cloned.yaml
    assert "workdir" in export(script("git clone https://example.org/a/proj\ncd proj\ncd ..\npython own.py")).fields


def test_each_path_of_a_list_of_values_is_found() -> None:
    found = export(script("python a.py --model_args checkpoint=/mnt/me/run/$x,config=b/c,vocab=/vol/me/v.txt"))
    assert found.fields["file_mounts"].keys() == {"/mnt/me/run", "/vol/me"}


def test_a_start_file_of_conda_is_no_project() -> None:
    found = export(script("source /scratch/me/miniconda3/etc/profile.d/conda.sh\nconda activate a\npython train.py"))
    assert "a copy of" not in found.yaml


def test_home_and_root_have_different_places_in_the_bucket() -> None:
    mounts = export(script("python a.py -a ~/data/x -b /data/x -c y")).fields["file_mounts"]
    assert [mounts[path]["source"] for path in ("~/data", "/data")] == [
        "${DATA_BUCKET}/home/data",
        "${DATA_BUCKET}/data",
    ]


def test_a_folder_that_setup_makes_is_not_mounted() -> None:
    found = export(script("ls /scratch\necho a > /scratch/a.txt"), site=NONE)
    assert "mkdir -p /scratch" in found.fields["setup"] and "file_mounts" not in found.fields


def test_a_single_file_is_copied_and_a_folder_mounted() -> None:
    mounts = export(script("source ~/setup_all.sh\npython a.py --data /data/me/set")).fields["file_mounts"]
    assert mounts["~/setup_all.sh"] == "${DATA_BUCKET}/home/setup_all.sh"
    assert mounts["/data/me"]["mode"] == "MOUNT"
