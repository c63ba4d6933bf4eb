"""Explains each line of a batch script.

Lines are directives, modules, variables, programs and paths. Each finding has an effect: kept, changed, no effect,
refused, or a decision to make. A script runs unchanged if no part is refused and no decision is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ...language import arrayspec, image_names
from ...language.syntax_errors import LanguageError
from ...model.spec import JobSpec
from ...options.getopt import split
from ...options.table import Option, OptionTable, load
from ...site.record import Site
from ..script import needs
from ..script.conversion_tables import one_line
from ..script.declared_packages import NO_PACKAGES, PythonPackages
from ..script.language_packages import SetupLine
from ..script.mount_points import is_mounted, mount_of
from ..script.project_folder import Project
from ..script.started_scripts import InnerScript, batch_documents, makefiles_of, started_by
from ..shell.script_commands import parse
from ..shell.script_variables import Scope
from ..sky_task.sky_components import plan_all
from ..sky_task.task import SkyTask
from ..sky_task.translation_notes import Refused
from . import folder_prices, form_findings
from .body_findings import Body
from .directive_findings import Directives
from .explain_input import View, sentences
from .file_findings import missing_files
from .finding import CHANGED, DECISION, EFFECTS, KEPT, KINDS, MISSING, NOTHING, REFUSED, Finding, LocalLookup
from .package_findings import environment_findings, package_findings
from .site_suggestions import merged, toml
from .variable_findings import Variables

__all__ = ["DECISION", "EFFECTS", "REFUSED", "Finding", "LocalLookup", "Page", "Project", "explain", "sentences",
           "text_of", "with_prices"]  # fmt: skip

#: Longer scripts are not explained line by line; sbatch itself accepts 4 MiB.
MAX_SOURCE = 1 << 20


@dataclass(frozen=True)
class Page:
    """An explained script."""

    file: str
    findings: tuple[Finding, ...]
    engine: str  # local | sky
    partition: str = ""
    refusal: str = ""  # error of sbatch, if it refuses the script
    exit_code: int = 0  # exit code of sbatch, if it refuses the script
    task_yaml: str = ""  # the SkyPilot task as slurmsky launches it
    infra: tuple[str, ...] = ()
    nodes: int = 0
    elements: int = 1  # number of elements of the job's array
    prices: tuple[Mapping[str, str], ...] = ()
    prices_note: str = ""
    price_question: str = ""  # task to send to SkyPilot's optimizer for a price; "" for none
    remarks: tuple[str, ...] = ()  # remarks on the job as a whole
    time_limit_min: int | None = None

    @property
    def unchanged(self) -> bool:
        """Return whether the script runs unchanged, without the user's decision."""
        return not self.refusal and not any(found.effect in (REFUSED, DECISION) for found in self.findings)

    @property
    def missing_names(self) -> tuple[Finding, ...]:
        """Names that this machine or the submit folder lacks."""
        return tuple(found for found in self.findings if found.effect == MISSING)

    def count(self, effect: str) -> int:
        return sum(found.effect == effect for found in self.findings)

    @property
    def suggestions(self) -> tuple[str, ...]:
        """Suggested site-file lines, without duplicates, grouped by table."""
        return merged(found.suggestion for found in self.findings)


def text_of(source: bytes) -> str:
    """The part of a script that is explained, as text."""
    return source[:MAX_SOURCE].decode("utf-8", "surrogateescape").replace("\0", "\ufffd")


def explain(
    source: bytes,
    specs: Sequence[JobSpec],
    site: Site,
    table: OptionTable,
    *,
    file: str,
    engine: str,
    refusal: str = "",
    lookup: LocalLookup | None = None,
    packages: PythonPackages = NO_PACKAGES,
    languages: tuple[SetupLine, ...] = (),
    project: Project | None = None,
) -> Page:
    """Explain a script.

    ``specs`` is empty if sbatch refuses the script with ``refusal``. ``lookup``: queries about this machine, if
    allowed. ``packages``: Python packages that the files beside the script need; ``languages``: setup lines for those
    of R and Julia. ``project``: the submit folder.
    """
    text = text_of(source)
    spec = specs[0] if specs else JobSpec()
    default = site.cluster.default_partition
    partition = (spec.partition or (default.name if default else "")).split(",")[0]
    script = parse(text)
    scope = Scope.of(script, dict(site.environment))
    wanted = replace(needs.of(text), python=packages, languages=languages)
    wanted = needs.needs_in_folder(needs.with_started(wanted, text, project), project) if project else wanted
    inner = (*started_by(script, scope, project), *makefiles_of(script, scope, project)) if project else ()
    scope.functions.update(*(one.scope.functions for one in inner if one.sourced))
    view = View(site, table, engine, partition, spec, text, script, scope, wanted, project, lookup)
    if engine == "sky" and specs:
        try:
            view.task = plan_all([(part, (part.partition or partition).split(",")[0]) for part in specs], site,
                                 wants=view.wants)  # fmt: skip
        except Refused as error:
            view.refused = error
        except LanguageError:
            pass  # the directive's own finding reports it
    task = view.task
    view.fields = {**task.fields, **task.fields["resources"]} if task else {}
    view.notes = {note.option: note for note in task.notes} if task else {}
    directives, body = Directives(view), Body(view)
    forms = form_findings.forms(source[:MAX_SOURCE], table, view.sky, directives.next_component())
    found = [Finding(one.line, "form", one.text, one.effect, one.reason) for one in forms]
    blanks = form_findings.placeholders(script, lookup.path if lookup else None)
    found += [Finding(one.line, "form", one.text, one.effect, one.reason) for one in blanks]
    found += [*directives.findings(source), *body.modules(), *Variables(view).findings()]
    found += [*environment_findings(view), *body.programs(), *steps(view), *body.paths()]
    found += [*package_findings(view), *missing_files(view)]
    found += _of_started(view, (*inner, *batch_documents(script, scope)), found)
    guessed = task is not None and "GPU_TYPE" in str(task.fields["resources"].get("accelerators"))
    found = list({(one.line, one.kind, one.text, one.effect): one for one in found}.values())
    found.sort(key=lambda entry: (entry.line, KINDS.index(entry.kind)))
    return Page(
        file=file,
        findings=tuple(found),
        engine=engine,
        partition=partition,
        refusal=refusal,
        task_yaml=_task_yaml(task, file) if task else "",
        infra=view.infra,
        nodes=task.geometry.nodes if task else 0,
        elements=_elements(spec),
        time_limit_min=spec.time_limit_min,
        prices_note="no prices: a GPU type must be chosen first" if guessed else "",
        price_question=folder_prices.question(task.fields) if task and not guessed else "",
    )


def _of_started(view: View, scripts: Sequence[InnerScript], found: Sequence[Finding]) -> Iterator[Finding]:
    """Findings to act on in the scripts that the script starts."""
    seen = {(one.kind, one.suggestion or one.text) for one in found}
    for one in scripts:
        part = replace(view, source=one.script.source, script=one.script, scope=one.scope)
        body = Body(part)
        for inner in (*body.modules(), *environment_findings(part), *body.programs(), *body.paths()):
            key = inner.kind, inner.suggestion or inner.text
            if inner.effect in (DECISION, MISSING, REFUSED) and key not in seen:
                seen.add(key)
                yield replace(inner, line=one.line, text=f"{one_line(one.name, 60)}:{inner.line} {inner.text}")


def _elements(spec: JobSpec) -> int:
    try:
        found = arrayspec.parse(spec.array, 1 << 20) if spec.array else None
    except LanguageError:
        found = None
    return sum(len(part) for part in found.ranges) if found else 1


def _task_yaml(task: SkyTask, file: str) -> str:
    return f"# what sbatch launches; run starts slurmsky's agent, which runs {one_line(file)} as it is\n" + task.yaml(
        run=f"sh ~/.slurmsky/{task.name}/start.sh\n"
    )


def with_prices(page: Page, prices: Sequence[Mapping[str, str]], note: str) -> Page:
    """Add the prices of SkyPilot's optimizer to a page."""
    return replace(page, prices=tuple(prices), prices_note=note)


def steps(view: View) -> Iterator[Finding]:
    """Findings for options of the script's steps, without repetition."""
    seen: set[str] = set()
    table = load("srun")
    for command in view.script.commands:
        if command.name != "srun":
            continue
        for option, text in split(table, [view.scope.expand(word) for word in command.words[1:]]).found:
            if option.name not in seen:
                seen.add(option.name)
                shown = f"srun --{option.name}" + ("" if text is None else f"={one_line(text, 60)}")
                yield Finding(command.line, "step", shown, *_step(view, option, text or ""))


def _step(view: View, option: Option, text: str) -> tuple[str, str] | tuple[str, str, str]:
    name = option.name
    if option.policy == "refused":
        return REFUSED, option.why
    reason = view.sentence("step", name)
    if name == "mpi" and text.startswith("pmix"):
        return KEPT, _pmix(view)
    if name == "container-image":
        return _image(view, text, reason)
    if option.policy in ("recorded", "none"):
        return NOTHING, reason or option.why
    return KEPT, reason or ("done by slurmsky's srun on the nodes" if view.sky else "as in Slurm")


def _pmix(view: View) -> str:
    """The source of the PMIx library for --mpi=pmix."""
    if not view.sky:
        return (
            "the PMIx library beside mpirun or of the system; without one the tasks get PMI-2 and srun prints a line "
            "(apt-get install libpmix2, or conda install -c conda-forge openpmix)"
        )
    image = str(view.fields.get("image_id", ""))
    if "nvcr.io/" in image:
        return f"{image.removeprefix('docker:')} brings a PMIx library with its MPI"
    return "setup installs libpmix2 where the node has no PMIx library"


def _image(view: View, text: str, reason: str) -> tuple[str, str] | tuple[str, str, str]:
    """Effect of a step's image: registry name, file, or variable."""
    is_file = image_names.is_path(text) or text.endswith((".sqsh", ".squashfs")) or text.startswith("~")
    if not view.sky:
        if is_file and view.lookup is not None and "$" not in text and not view.lookup.path(text):
            return MISSING, "the file is not on this machine"
        return KEPT, reason
    if "image_id" in view.fields:
        return CHANGED, f"image_id: {view.fields['image_id']}"
    if is_file:
        if is_mounted(text, view.mounted):
            return KEPT, "a file on a mounted path; the node unpacks it"
        if not text.startswith(("/", "~", "$")) or text.startswith("./"):
            return CHANGED, "a file of the submit folder, which is copied if it is small enough"
        top = mount_of(text)
        suggestion = f'[paths]\n"{toml(top)}" = "s3://BUCKET/{toml(top.strip("~/"))}"'
        return (
            DECISION,
            "a container file of the old cluster: set its present place, or name an image of a registry",
            suggestion,
        )
    if "$" in text:
        return KEPT, "its name is known only when the job runs; podman, docker or apptainer of the node download it"
    return KEPT, reason
