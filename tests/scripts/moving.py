"""Reads scripts for explain and translate as the commands do, without a controller."""

from __future__ import annotations

from pathlib import Path

from slurmsky.options import submit
from slurmsky.options.table import load as options
from slurmsky.options.usage_errors import CommandError
from slurmsky.options.values import ReadContext
from slurmsky.site.record import Site
from slurmsky.translate.explain.explanation import Page, explain
from slurmsky.translate.export.yaml_export import ExportedYaml, SubmittedScript, export_yaml


def surroundings() -> ReadContext:
    """A caller without variables or files of earlier commands."""
    return ReadContext(
        now=0,
        cwd="/submit",
        env={},
        read_file=lambda name: b"",
        is_root=False,
        find_user=lambda name: 0,
        find_group=lambda name: 0,
        max_array_size=1001,
    )


def request(data: bytes, name: str, *words: str) -> submit.Submission:
    """The request that sbatch reads from a script."""
    return submit.parse_sbatch([*words, name], submit.ScriptText(name, data), surroundings())


def exported(data: bytes, site: Site, name: str = "job.sh", *words: str) -> ExportedYaml:
    """translate."""
    requested = request(data, name, *words)
    default = site.cluster.default_partition
    partition = requested.components[0].partition or (default.name if default else "")
    text = data.decode("utf-8", "surrogateescape")
    submitted = SubmittedScript(text, requested.components, file=name, arguments=requested.argv)
    return export_yaml(submitted, site, partition)


def explained(data: bytes, site: Site, name: str = "job.sh", engine: str = "sky") -> Page:
    """explain."""
    try:
        specs, refusal = request(data, name).components, ""
    except CommandError as error:
        specs, refusal = (), "\n".join(error.lines)
    return explain(data, specs, site, options("sbatch"), file=name, engine=engine, refusal=refusal)


def scripts(folder: Path) -> list[Path]:
    """The batch scripts of a folder of examples."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.read_bytes()[:2] == b"#!")
