"""Determines packages of Julia and R files, as setup lines. Reads files of one folder, and runs none."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..shell.launched_program import launched
from ..shell.script_commands import Script, parse
from ..shell.script_variables import Scope
from ..shell.shell_elements import Command
from ..shell.word_sets import words
from .conversion_tables import one_line, quoted
from .programs import APT
from .project_folder import Project
from .project_root import candidates
from .python_packages import MAX_FILES
from .small_files import read_small
from .started_scripts import started_by

JULIA, R = "julia", "R"
#: packages that come with Julia, and with R
_JULIA = words(
    """
    Base Core Main Pkg Dates DelimitedFiles Distributed LinearAlgebra Logging Printf Profile Random Serialization
    SharedArrays Sockets SparseArrays Statistics Test UUIDs InteractiveUtils REPL Libdl Mmap Markdown Base64 Unicode
    SuiteSparse Future FileWatching Artifacts TOML LibGit2 Threads
    """
)
_R = words("base stats graphics grDevices utils datasets methods parallel grid splines stats4 tcltk tools compiler")
#: packages of Bioconductor, which CRAN lacks
_BIOCONDUCTOR = words(
    """
    AnnotationDbi AnnotationHub BSgenome Biobase BiocGenerics BiocManager BiocParallel BiocSingular BiocNeighbors
    Biostrings
    ChIPseeker ChIPpeakAnno ComplexHeatmap ConsensusClusterPlus DelayedArray DelayedMatrixStats DEGseq DESeq2 DEXSeq
    DNAcopy DiffBind DirichletMultinomial DropletUtils EBImage EDASeq EnhancedVolcano EnsDb.Hsapiens.v86 GEOquery GO.db
    GOSemSim GOstats GSEABase GSVA GenomeInfoDb GenomicAlignments GenomicFeatures GenomicRanges Glimma HDF5Array
    IHW IRanges KEGGREST LoomExperiment MAST MOFA2 MSnbase MultiAssayExperiment NOISeq Rhdf5lib Rsamtools Rsubread
    RUVSeq S4Vectors SC3 SNPRelate SPIA SeqArray ShortRead SingleCellExperiment SingleR SummarizedExperiment
    TCGAbiolinks
    TrajectoryUtils VariantAnnotation XVector affy annotate apeglm ballgown batchelor biomaRt bluster bsseq celldex
    clusterProfiler csaw cummeRbund dada2 dmrseq edgeR enrichplot fgsea flowCore gdsfmt ggtree glmGamPoi goseq graph
    impute limma lumi maftools metagenomeSeq methylKit mia minfi miloR monocle msa muscat org.Hs.eg.db
    org.Mm.eg.db pathview pcaMethods phyloseq preprocessCore qvalue rhdf5 rtracklayer scDblFinder scater scran scuttle
    slingshot splatter sva systemPipeR topGO tradeSeq treeio tximeta tximport variancePartition vsn xcms zellkonverter
    """
)
#: packages of R that need further libraries of the system, by themselves or by what they import
_R_LIBRARIES = words(
    """
    tidyverse devtools curl openssl xml2 httr httr2 rvest ragg systemfonts textshaping Seurat SeuratObject Signac units
    sf
    terra raster ggrastr svglite magick gert usethis googledrive plotly shiny rmarkdown clusterProfiler biomaRt DESeq2
    SingleCellExperiment scran scater scuttle splatter GenomicRanges phyloseq dada2 targets brms rstan
    """
)
_LIBRARIES = (
    "libcurl4-openssl-dev libssl-dev libxml2-dev libfontconfig1-dev libharfbuzz-dev libfribidi-dev libfreetype6-dev"
    " libpng-dev libtiff-dev libjpeg-dev"
)
#: packages of R that are at GitHub only
_GITHUB = {
    "ArchR": "GreenleafLab/ArchR", "Azimuth": "satijalab/azimuth", "CellChat": "jinworks/CellChat",
    "DoubletFinder": "chris-mcginnis-ucsf/DoubletFinder", "SeuratData": "satijalab/seurat-data",
    "SeuratDisk": "mojaveazure/seurat-disk", "SeuratWrappers": "satijalab/seurat-wrappers",
    "TwoSampleMR": "MRCIEU/TwoSampleMR", "cmdstanr": "stan-dev/cmdstanr", "condensier": "osofr/condensier",
    "ggsankey": "davidsjoberg/ggsankey", "hdWGCNA": "smorabit/hdWGCNA", "monocle3": "cole-trapnell-lab/monocle3",
    "presto": "immunogenomics/presto", "rethinking": "rmcelreath/rethinking", "sl3": "tlverse/sl3",
    "spacexr": "dmcable/spacexr", "tmle3": "tlverse/tmle3", "tmle3shift": "tlverse/tmle3shift",
}  # fmt: skip
#: files of a project that say where its packages come from
_TEXTS = ("README*", "*.R", "*.Rmd", "R/*.R", "scripts/*.R", "code/*.R")
_INSTALLED = re.compile(r"install_github\(\s*(?:repo *= *)?[\"']([\w.-]+/([\w.-]+))")
_SOURCED = re.compile(r"(?m)^[^#\n]*?\bsource\([^)\n]*?[\"']([^\"'\n]+\.[Rr])[\"']")
_USING = re.compile(r"(?m)^\s*(?:@everywhere\s+)?(?:using|import)\s+([A-Z][\w., :]*)")
_LIBRARY = re.compile(r"(?m)^[^#\n]*?\b(?:library|require|requireNamespace|loadNamespace)\(\s*[\"']?([A-Za-z][\w.]*)")
_CRAN = 'repos = "https://cloud.r-project.org"'


class SetupLine(NamedTuple):
    """A setup line for packages of a language. ``language`` "": libraries of the system."""

    text: str
    language: str
    #: the line reads a file of the submit folder, which must be on the node before
    reads_folder: bool = False
    #: the user has to complete the line, a comment
    incomplete: bool = False


def language_setup(script: Script, folder: str) -> list[str]:
    """Setup lines for the packages of Julia and R. ``folder``: the submit folder, if known."""
    return [*dict.fromkeys(line.text for line in (*_of_julia(script, folder), *_of_r(script, folder)))]


def named_packages(source: str, folder: Path) -> tuple[SetupLine, ...]:
    """Setup lines for packages that R and Julia files name.

    Setup runs before the submit folder is copied, so no line reads renv.lock or Project.toml.
    """
    script = parse(source)
    lines = (*_of_julia(script, str(folder)), *_of_r(script, str(folder), lock_file=False))
    named = (line for line in dict.fromkeys(lines) if not (line.reads_folder or line.incomplete))
    return tuple(
        line._replace(text=f'PATH="$HOME/.juliaup/bin:$PATH" {line.text}') if line.language == JULIA else line
        for line in named
    )


def julia_projects(script: Script, scope: Scope) -> Iterator[tuple[int, str]]:
    """Lines and folders of ``julia --project`` without ``Pkg.instantiate``."""
    for command, _, project in _julia_runs(script, scope):
        if project:
            yield command.line, project.partition("=")[2]


def _julia_runs(script: Script, scope: Scope) -> Iterator[tuple[Command, list[str], str]]:
    """Commands that start Julia, their arguments, and --project[=FOLDER] or "".

    Nothing if the script installs Julia's packages itself.
    """
    if re.search(r"\bPkg\.(add|instantiate|develop)", script.source):
        return
    for command in script.commands:
        found = launched(command, scope.containers)
        if found.name == "julia" and not found.inside:
            texts = [scope.expand(word) for word in found.arguments]
            yield command, texts, next((text for text in texts if re.match(r"--proj(ect)?(=|$)", text)), "")


def _of_julia(script: Script, folder: str) -> Iterator[SetupLine]:
    for command, texts, project in _julia_runs(script, Scope.of(script)):
        files = [text for text in texts if text.endswith(".jl")][:1]
        run = f"julia {quoted(project)}" if project else "julia"
        in_project = bool(project) or "JULIA_PROJECT" in script.source
        if "$" in project:
            instead = f"julia --project=FOLDER -e 'using Pkg; Pkg.instantiate()' with the folder of {project}"
            yield SetupLine(f"# TODO: {instead}", JULIA, incomplete=True)
            continue
        if in_project:
            yield SetupLine(f"{run} -e 'using Pkg; Pkg.instantiate()'", JULIA, reads_folder=True)
        elif files:
            used = _using(folder, files[0])
            if used is None:
                file = one_line(posixpath.basename(files[0]))
                instead = f"julia -e 'using Pkg; Pkg.add([\"NAME\"])' for each package that {file} uses"
                yield SetupLine(f"# TODO: {instead}", JULIA, incomplete=True)
            elif used:
                listed = ", ".join(f'"{name}"' for name in used)
                yield SetupLine(f"julia -e 'using Pkg; Pkg.add([{listed}])'", JULIA)
        if command.name in ("srun", "mpirun", "mpiexec") and re.search(r"(?i)mpi", script.source):
            add = 'using Pkg; Pkg.add("MPIPreferences"); using MPIPreferences; MPIPreferences.use_system_binary()'
            yield SetupLine(f"{run} -e '{add}'  # MPI.jl with the MPI of mpirun", JULIA, reads_folder=in_project)


def _using(folder: str, file: str) -> list[str] | None:
    """Packages that a Julia file loads; None if unreadable."""
    text = _read(folder, file)
    if text is None:
        return None
    listed = (name for line in _USING.findall(text) for name in line.partition(":")[0].split(","))
    named = (name.partition(".")[0].strip() for name in listed)
    return [name for name in dict.fromkeys(named) if name and name not in _JULIA]


def _of_r(script: Script, folder: str, lock_file: bool = True) -> Iterator[SetupLine]:
    """Setup lines for the packages of a script's R files.

    Shell scripts of the folder that it starts count, too.
    """
    if re.search(r"install\.packages|renv::|BiocManager", script.source):
        return
    files = list(_r_files(script, Scope.of(script), ""))
    for one in started_by(script, Scope.of(script), Project(folder)) if folder else ():
        files += _r_files(one.script, one.scope, one.folder)
    if files and lock_file and folder and (Path(folder) / "renv.lock").is_file():
        yield SetupLine(f"sudo Rscript -e 'install.packages(\"renv\", {_CRAN})'", R)
        yield SetupLine("sudo Rscript -e 'renv::restore(prompt = FALSE)'", R, reads_folder=True)
        return
    names, unread = _named_by(files, folder)
    for file in unread:
        short = one_line(posixpath.basename(file))
        instead = f"sudo Rscript -e 'install.packages(\"NAME\", {_CRAN})' for each package that {short} loads"
        yield SetupLine(f"# TODO: {instead}", R, incomplete=True)
    if _R_LIBRARIES & set(names):
        yield SetupLine(APT.format(_LIBRARIES), "")
    repositories = r_repositories(folder)
    others = [name for name in names if name not in repositories]
    if _BIOCONDUCTOR & set(others):  # its installer finds CRAN's packages, too
        yield SetupLine(f"sudo Rscript -e 'install.packages(\"BiocManager\", {_CRAN})'", R)
        yield SetupLine(f"sudo Rscript -e 'BiocManager::install({_vector(others)})'", R)
    elif others:
        yield SetupLine(f"sudo Rscript -e 'install.packages({_vector(others)}, {_CRAN})'", R)
    for line in _from_repositories([repositories[name] for name in names if name in repositories]):
        yield SetupLine(f"sudo {line}", R)


def r_environment(script: Script, folder: str) -> tuple[str, list[str]] | None:
    """R packages of a script in a conda environment.

    These are conda's packages, and setup lines for the others; None without R files whose packages are known.
    """
    files = [*_r_files(script, Scope.of(script), "")]
    names, unread = _named_by(files, folder)
    if not files or unread:
        return None
    repositories = r_repositories(folder)
    built = [f"bioconductor-{name.lower()}" for name in names if name in _BIOCONDUCTOR]
    built += [f"r-{name.lower()}" for name in names if name in _R_LIBRARIES - _BIOCONDUCTOR]
    others = [name for name in names if name not in repositories.keys() | _BIOCONDUCTOR | _R_LIBRARIES]
    lines = [f"Rscript -e 'install.packages({_vector(others)}, {_CRAN})'"] if others else []
    lines += _from_repositories([repositories[name] for name in names if name in repositories])
    return " ".join(("r-base", *built)), lines


def _vector(names: Iterable[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"c({listed})"


def _from_repositories(places: Sequence[str]) -> list[str]:
    """Lines that install R packages from repositories."""
    hosted = [place for place in places if not place.startswith(".")]
    lines = [f"Rscript -e 'install.packages(\"remotes\", {_CRAN})'"] if places else []
    lines += [f"Rscript -e 'remotes::install_github({_vector(hosted)})'"] if hosted else []
    lines += [f"Rscript -e 'remotes::install_local(\"{place}\")'" for place in places if place not in hosted]
    return lines


def r_repositories(folder: str) -> dict[str, str]:
    """Sources of R packages that CRAN lacks.

    A source is owner/name at GitHub, or the path of the project's folder.
    """
    found = dict(_GITHUB)
    for level, base in enumerate(map(Path, candidates(folder)) if folder else ()):
        texts = [read_small(path) or "" for pattern in _TEXTS for path in sorted(base.glob(pattern))[:MAX_FILES]]
        found.update((match[2], match[1]) for text in texts for match in _INSTALLED.finditer(text))
        if own := re.search(r"(?m)^Package: *([A-Za-z][\w.]*)", read_small(base / "DESCRIPTION") or ""):
            found[own[1]] = "/".join([".."] * level) or "."
    return found


def _named_by(files: Iterable[str], folder: str) -> tuple[list[str], list[str]]:
    """Packages that R files load, and unreadable files."""
    named: list[str] = []
    unread = []
    for file in dict.fromkeys(files):
        texts = _r_texts(folder, file)
        named += [name for text in texts for name in _LIBRARY.findall(text)]
        unread += [] if texts else [file]
    return [name for name in dict.fromkeys(named) if name not in _R], unread


def _r_files(script: Script, scope: Scope, folder: str) -> Iterator[str]:
    """R files that one script's commands start in ``folder``."""
    for command in script.commands:
        found = launched(command, scope.containers)
        if found.name in ("Rscript", "R") and not found.inside:
            words = [*found.arguments, *(word for operator, word in command.redirects if operator == "<")]
            files = (text for word in words if (text := scope.expand(word)).endswith((".R", ".r")))
            yield from (posixpath.join(folder, name) for name in [next(files, "")] if name)


def _r_texts(folder: str, file: str) -> list[str]:
    """Texts of an R file and its sourced files; [] if unreadable."""
    found: dict[str, str] = {}
    waiting = [file]
    while waiting and len(found) < MAX_FILES:
        name = waiting.pop(0)
        text = None if name in found else _read(folder, name)
        if text is not None:
            found[name] = text
            for inner in _SOURCED.findall(text):
                beside = posixpath.dirname(name)
                waiting += [inner, posixpath.join(beside, inner), posixpath.join(beside, posixpath.basename(inner))]
    return list(found.values())


def _read(folder: str, file: str) -> str | None:
    """Content of a file in the submit folder, or None."""
    return read_small(Path(folder) / file) if folder and not file.startswith("$") else None
