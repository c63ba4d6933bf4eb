"""Determines the packages of a script's Python files.

The sources are the packages that the project declares, or the files' imports. The module reads a bounded number of
files below one folder, and runs none of them.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ..shell.launched_program import in_containers, launched
from ..shell.script_commands import Script, parse
from ..shell.script_variables import Scope
from ..shell.word_sets import words
from .declared_packages import NO_PACKAGES, PythonPackages, declared
from .entered_environments import environments
from .project_folder import Project
from .project_root import candidates
from .small_files import read_small
from .started_scripts import makefiles_of, started_by

MAX_FILES = 40
MAX_AGENT_FILES = 10
_PYTHON = re.compile(r"^(python[\d.]*|torchrun|accelerate|deepspeed|ipython|pytest|horovodrun|ray|uv)$")
#: import name -> package name, if the names differ
_NAMES = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml",
    "skimage": "scikit-image", "Bio": "biopython", "dotenv": "python-dotenv", "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil", "git": "gitpython", "OpenSSL": "pyopenssl", "Crypto": "pycryptodome",
    "serial": "pyserial", "usb": "pyusb", "zmq": "pyzmq", "attr": "attrs", "google": "protobuf", "jwt": "pyjwt",
    "pl_bolts": "lightning-bolts", "pytorch_lightning": "pytorch-lightning", "tensorflow": "tensorflow[and-cuda]",
    "jax": "jax[cuda12]", "ray": "ray[default]", "hydra": "hydra-core", "omegaconf": "omegaconf",
    "faiss": "faiss-cpu", "ot": "pot", "umap": "umap-learn", "rdkit": "rdkit",
    "igraph": "python-igraph", "MDAnalysis": "MDAnalysis", "sentence_transformers": "sentence-transformers",
    "flash_attn": "flash-attn", "lightning_fabric": "lightning", "torch_geometric": "torch-geometric",
    "backpack": "backpack-for-pytorch", "pybullet_envs": "pybullet", "mpl_toolkits": "matplotlib", "fitz": "pymupdf",
    "docx": "python-docx", "slugify": "python-slugify", "community": "python-louvain", "psycopg2": "psycopg2-binary",
    "pywt": "PyWavelets", "OpenGL": "pyopengl", "magic": "python-magic", "cupy": "cupy-cuda12x",
    "cupyx": "cupy-cuda12x", "pylab": "matplotlib",
    "absl": "absl-py", "bayes_opt": "bayesian-optimization", "skbio": "scikit-bio", "sksurv": "scikit-survival",
    "esm": "fair-esm", "MySQLdb": "mysqlclient", "simtk": "openmm", "iris": "scitools-iris", "wrf": "wrf-python",
    "scvi": "scvi-tools", "pyro": "pyro-ppl", "cleanfid": "clean-fid", "ignite": "pytorch-ignite", "pyximport":
    "cython", "nvidia_smi": "nvidia-ml-py3", "cairo": "pycairo", "ffmpeg": "ffmpeg-python", "kerastuner":
    "keras-tuner", "github": "pygithub", "googleapiclient": "google-api-python-client", "sklearn_extra":
    "scikit-learn-extra", "imblearn": "imbalanced-learn", "shapefile": "pyshp", "snappy": "python-snappy", "bids":
    "pybids", "nrrd": "pynrrd", "past": "future", "kan": "pykan", "pynvml": "nvidia-ml-py", "local_attention":
    "local-attention", "xdg": "pyxdg",
}  # fmt: skip
#: standard modules, or modules that a cluster provides
UNPACKAGED = words("pkg_resources setuptools pip distutils slurmsky apex __future__ amp_C nvidia")
#: names of a project's own modules; the packages of these names on PyPI are unrelated
LOCAL = words(
    """
    src lib libs util utils utilities helper helpers common core config configs settings constants params parameters
    options args opts data dataset dataloader dataloaders data_loader data_utils model models network networks net nets
    modules layers loss losses metrics train trainer training test tests eval evaluation preprocess preprocessing
    transforms tools scripts main base functions func plot plotting plots visualization visualize solver solvers engine
    optim optimizer logger logging_utils misc agent agents env envs environment environments policy policies baselines
    experiments experiment runner sampler samplers losses_utils vis io_utils tasks task toolbox stats helper_functions
    """
)
#: first words of modules with an underscore that PyPI has; a module with another one is a project's own
_FAMILIES = words(
    """
    absl accelerated adversarial agent aiohttp albumentations ale alive allen ansible ast async auto autogluon ax
    azure backports baml bayes behavior bert bio biom bit bitarray boto brian bz2 catalyst category clean click clip
    cma cmd colored conda confuse contextual copy cuda cvxpy cython dask dataclasses datasets dateparser deap
    decision deep deepspeed detect diff diffusers discrete dm doc docker dolfin dtaidistance dynamic e3nn edit
    efficientnet einops einx email entmax eth evo face factor fair fast faster fenics ffmpeg fft finufft flash flask
    flax functional fuzzy fvcore gaussian gdown geo geopandas git google gpu grad graph grpc gym gymnasium h5 hdf5
    hf hipscat hnsw html huggingface hydra hyper igraph imageio imbalanced inflect intel interpret intervaltree iso
    jax jaxlib joblib json jsonschema jupyter k kafka kaggle keras kmeans kornia langchain langdetect langgraph
    language lazy libsvm lightning lime linear lion llama lm loguru lpips lz4 mamba markdown mdanalysis med memory
    mercantile midi minepy mir mistral mkl ml mlir mlp mmcv monotonic more mpi mpl mujoco multidict multiprocess
    music natsort neo nest netcdf networkx neural neuron ngboost nltk numpy nvidia oauth onnx onnxruntime open opt
    optax optuna orjson osgeo packaging pandas parallel pdf peft phe pip pl plotly pmdarima polars positional power
    prefix pretty prettytable progressbar prometheus prompt proplot proto psycopg pt py pyadjoint pycuda pydantic
    pympler pynvml pyqt5 pyro pytest python pytorch qiskit qpsolvers quant ray recbole requests rich robust rotary
    rouge rq ruamel s3 sacred sampling scanpy scikit scikits scvi segmentation semantic sentence setuptools shap
    simple sk sklearn skopt slack smac smart snntorch spacy sphinx sqlalchemy stable statsmodels stop straight
    stream streamlit surface sympy tables tensor tensorboard tensorflow tensorly text tf thop timeout tokenizers
    toml torch torchvision tqdm transformer transformers tree triton tsai tweepy typing umap uncertainties unsloth
    vector vega video vit wandb web word wurlitzer xarray xgboost yaml youtube zarr zstd
    """
)


_TENSORFLOW_1 = re.compile(
    r"(?m)^import tensorflow as tf\b(?s:.)*\btf\.(contrib|placeholder|Session|app\.run|get_variable)\b"
)
#: its last version, and what this needs that newer packages replaced
OF_TENSORFLOW_1 = ("tensorflow==1.15.5", "protobuf<3.21", "numpy<1.19")


def packages(source: str, folder: Path) -> PythonPackages:
    """Packages of a script's environment or Python files."""
    script = parse(source)
    files = started_python_files(source, str(folder))
    entered = next((name for _, name in environments(script, Scope.of(script))), "")
    if not files and not entered:
        return NO_PACKAGES
    listed = declared(folder, entered.rpartition("/")[2])
    if listed.pip or listed.conda:
        return listed
    near = [name for name in files if not name.startswith(("/", "~", "$"))]
    read = bool(near) and all(_is_python_3(folder / name) for name in near)
    if any(_TENSORFLOW_1.search(read_small(path) or "") for path, _ in python_files(files, folder)):
        others = (name for name in imported(files, folder) if not name.startswith(("tensorflow", "keras")))
        return PythonPackages((*OF_TENSORFLOW_1, *dict.fromkeys(others)), python="3.7")
    own = dict.fromkeys(name for name in foreign_modules(files, folder) if _is_own(name))
    absent = tuple(name for name in own if not _is_below(name, folder))
    return PythonPackages(tuple(dict.fromkeys(imported(files, folder))), unknown=not read, absent=absent)


def _is_python_3(path: Path) -> bool:
    """Return whether a file exists and can be parsed; files of Python 2 cannot."""
    try:
        return isinstance(ast.parse(read_small(path) or ":"), ast.Module)
    except (SyntaxError, ValueError, RecursionError):
        return False


def started_python_files(source: str, folder: str = "") -> list[str]:
    """Python files that a script starts outside of containers.

    Shell scripts of ``folder`` that it starts count, too.
    """
    script = parse(source)
    scope = Scope.of(script)
    files = _files_of(script, scope)
    own = Project(folder)
    for one in (*started_by(script, scope, own), *makefiles_of(script, scope, own)) if folder else ():
        files += [posixpath.normpath(posixpath.join(one.folder, name)) for name in _files_of(one.script, one.scope)]
    if folder and re.search(r"(?m)^[^#\n]*\bwandb +agent\b", source):  # it starts a program that its sweep names
        files += sorted(path.name for path in Path(folder).glob("*.py"))[:MAX_AGENT_FILES]
    files = [name[len(former) + 1 :] if folder and (former := own.former(name)) else name for name in files]
    return list(dict.fromkeys(files))


def _files_of(script: Script, scope: Scope) -> list[str]:
    files = []
    contained = in_containers(script.commands, scope.containers)
    where = ""  # the working directory
    for command in script.commands:
        found = launched(command, scope.containers)
        if any(start < command.start < end for start, end in contained):
            continue
        if found.name == "cd" and found.arguments and not command.blocks:
            target = scope.expand(found.arguments[0])
            where = "" if target[:1] in ("/", "~", "$", "-") else posixpath.join(where, target)
        direct = found.name.endswith(".py")  # a file that its first line starts
        if not found.inside and (direct or _PYTHON.match(found.name)):
            words = found.words if direct else found.arguments
            texts = [scope.expand(word).removeprefix("$PWD/") for word in words]
            named = (text for text in texts if text.endswith(".py"))
            files += [posixpath.normpath(posixpath.join(where, text)) for text in named]
    return files


def own_files(source: str, folder: Path) -> list[Path]:
    """Python files that a script starts, with those they import."""
    return [path for path, _ in python_files(started_python_files(source, str(folder)), folder)]


def python_files(files: list[str], folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """The project's Python files and their imports."""
    seen: set[Path] = set()
    waiting = [folder / name for name in files if not name.startswith(("/", "~", "$"))]
    while waiting and len(seen) < MAX_FILES:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        text = read_small(path)
        if text is None:
            continue
        names = list(imported_modules(text))
        yield path, names
        for name in names:
            inner = name.replace(".", "/")
            for base in places_of_modules(path, folder):
                here = (base / f"{inner}.py", base / inner / "__init__.py")
                waiting += [place for place in here if place.is_file()]


def places_of_modules(path: Path, folder: Path) -> list[Path]:
    """Folders of a Python file's own modules.

    These are its folder and those above, up to ``folder``, and ``src`` there.
    """
    above = [place for place in path.parents if place == folder or folder in place.parents]
    return [*dict.fromkeys((path.parent, *above, folder)), folder / "src"]


def holds_module(place: Path, top: str) -> bool:
    """Return whether a folder has a module of this name."""
    return (place / f"{top}.py").is_file() or (place / top).is_dir()


_IMPORT = re.compile(r"(?m)^[ \t]*(?:from[ \t]+(?P<base>\w[\w.]*)[ \t]+import\b|import[ \t]+(?P<names>\w[\w., \t]*))")


def imported_modules(text: str) -> Iterator[str]:
    """The modules that a file imports by their whole names.

    A file that this Python cannot parse, such as one for Python 2 or a newer Python, is searched line by line.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        for match in _IMPORT.finditer(text):
            listed = match["base"] or match["names"]
            yield from (name.split()[0] for name in listed.split(",") if name.strip())
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imported(files: list[str], folder: Path) -> Iterator[str]:
    """Packages of modules that are neither standard nor own."""
    return (_NAMES.get(name, name.replace("_", "-")) for name in foreign_modules(files, folder) if not _is_own(name))


def _is_own(module: str) -> bool:
    """Return whether a module's name is one that projects give their own modules."""
    first, underscore, _ = module.partition("_")
    return module.lower() in LOCAL or bool(underscore and module not in _NAMES and first.lower() not in _FAMILIES)


def _is_below(module: str, folder: Path) -> bool:
    """Return whether a folder within the project has a module, which code finds by ``sys.path``."""
    bases = [Path(base) for base in candidates(str(folder))]
    places = (f"{depth}/{module}{ending}" for depth in ("*", "*/*") for ending in (".py", "/__init__.py", ""))
    return any(next(base.glob(place), None) for place in places for base in bases)


def foreign_modules(files: list[str], folder: Path) -> Iterator[str]:
    """Imported modules that are neither standard nor in the project's folders."""
    standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    above = [place for base in candidates(str(folder)) for place in (Path(base), Path(base) / "src")]
    for path, names in python_files(files, folder):
        for name in names:
            top = name.partition(".")[0]
            if any(holds_module(place, top) for place in (*places_of_modules(path, folder), *above)):
                continue
            if top not in standard and top not in UNPACKAGED and top.isidentifier() and not top.startswith("_"):
                yield top
