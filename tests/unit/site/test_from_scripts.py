"""Site file for a folder of scripts: recurring names, at most twenty lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slurmsky.site import MachineHardware, load
from slurmsky.site.assumed import partition_for
from slurmsky.site.from_scripts import MAX_LINES, Need, gather, render

MACHINE = MachineHardware("laptop", cpus=2)
SCRATCH = '[paths]\n"/scratch" = "s3://BUCKET/scratch"'
STORE = '[environment]\nSCRATCH = "/scratch"\n[paths]\n"/scratch" = "s3://BUCKET/scratch"'


def test_partitions_gpus_and_paths_by_the_scripts_that_need_them() -> None:
    wanted = gather([
        Need(("gpu",), ("A100",), wants_gpus=True, suggestions=(SCRATCH, SCRATCH)),
        Need(("gpu", "long"), wants_gpus=True, suggestions=(STORE,)),
        Need(("v100q",), hints=(("v100q", "V100"),), wants_gpus=True,
             suggestions=('[environments]\n"tf" = "PACKAGES"',)),
        Need(("gpu",), suggestions=('[modules]\n"own/1" = "docker:IMAGE"', '[modules]\nfftw = "docker:fftw"')),
    ])  # fmt: skip
    assert wanted.unknown("paths") == ["/scratch"]
    text = render(wanted, "jobs", bucket="s3://team/old/", gpu="A100", packages="numpy")
    site = load(text, "slurmsky.toml", MACHINE)
    assert [(part.name, part.default) for part in site.cluster.partitions] == [("gpu", True), ("long", False),
                                                                                ("v100q", False)]  # fmt: skip
    assert site.sky_partition("gpu").gpu == site.gpus.default == "A100"
    assert site.sky_partition("v100q").gpu == "V100" and dict(site.environments) == {"tf": "numpy"}
    assert [(path.path, path.target) for path in site.paths] == [("/scratch", "s3://team/old/scratch")]
    assert dict(site.environment) == {"SCRATCH": "/scratch"}
    assert [module.name for module in site.modules] == ["fftw"], "an image that nobody knows is not written"
    assert site.cluster.open and partition_for(site.cluster, "other") is not None
    assert '"/scratch" = "s3://team/old/scratch"  # 2 scripts' in text


def test_the_rarest_suggestions_are_omitted() -> None:
    needs = [Need((f"p{n}",), suggestions=tuple(f'[paths]\n"/d{m}" = "s3://BUCKET/d{m}"' for m in range(n)))
             for n in range(60)]  # fmt: skip
    text = render(gather(needs), "jobs", bucket="s3://b", gpu="T4")
    assert len(text.splitlines()) <= MAX_LINES
    assert '"/d0"' in text and '"/d50"' not in text
    load(text, "slurmsky.toml", MACHINE)


def test_images_and_values_that_the_user_names_are_written() -> None:
    wanted = gather([Need(suggestions=('[modules]\n"matlab" = "docker:IMAGE"', '[environment]\nDB = "VALUE"'))])
    assert wanted.unknown("modules") == ["matlab"] and wanted.unknown("environment") == ["DB"]
    values = {("modules", "matlab"): "docker:own/matlab", ("environment", "DB"): "/db"}
    site = load(render(wanted, "jobs", values=values), "slurmsky.toml", MACHINE)
    assert [(module.name, module.image) for module in site.modules] == [("matlab", "docker:own/matlab")]
    assert dict(site.environment) == {"DB": "/db"}


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=8), st.text())
def test_any_name_gives_a_file_that_can_be_read(names: list[tuple[str, str]], folder: str) -> None:
    needs = [Need((name,), (kind,), wants_gpus=bool(kind), suggestions=("[[", "not toml")) for name, kind in names]
    wanted = gather(needs)
    assert load(render(wanted, folder, bucket="s3://b", gpu="H100"), "slurmsky.toml", MACHINE).cluster.name


def test_options_of_the_old_site_keep_their_argument() -> None:
    own = [
        f'[[option]]\nname = "{name}"\nargument = "{kind}"' for name, kind in (("image", "required"), ("ccm", "none"))
    ]
    site = load(render(gather([Need(suggestions=tuple(own))]), "jobs"), "slurmsky.toml", MACHINE)
    declared = {(option.name, option.argument) for option in site.cluster.declared_options}
    assert declared == {("image", "required"), ("ccm", "none")}
