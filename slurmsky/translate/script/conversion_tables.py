"""Tables of programs for idioms, and the record of a conversion."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...site.modules import Module
from ..shell.word_sets import words


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Slurm commands that need slurmsky
CLIENTS = _words(
    """
    sbatch squeue sacct scancel sinfo salloc sattach sstat sprio sacctmgr sreport seff sshare
    """
)
#: queries that only print the queue and the accounting
QUERIES = _words("squeue sacct sinfo sstat sprio seff sshare sreport")
#: filters of a query's output
FILTERS = _words("grep egrep head tail awk sed cut tr sort uniq wc column cat true")
#: commands that may run on all nodes
ANYWHERE = _words(
    """
    : [ [[ test true false export set unset shopt ulimit umask cd pushd popd pwd echo printf source
    . eval trap hostname date uname whoami id nvidia-smi rocm-smi lscpu free df nproc which type
    command env printenv sleep wait local declare typeset readonly read mapfile readarray return
    break continue shift exit let mkdir ls module ml conda alias head tail cut tr sed awk grep sort
    uniq wc seq basename dirname realpath readlink cat rm touch
    """
)
#: commands that every node needs before a program starts, as the nodes share no file system
COPIERS = _words("cp ln mv tar unzip gunzip")
WRAPPERS = _words(
    """
    xargs parallel timeout time env nice nohup numactl exec command stdbuf taskset sudo
    """
)
LAUNCHERS = frozenset(("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun"))
#: name endings of secrets, without TOKENIZERS_PARALLELISM and MAX_TOKENS
SECRET = re.compile(
    r"(^|_)(API_?KEY|TOKEN|SECRET|SECRET_KEY|PASSWORD|PASSWD|ACCESS_KEY|ACCESS_KEY_ID|CREDENTIALS?)$", re.IGNORECASE
)
#: variables that name network interfaces, adapters and transports of the old cluster
NETWORK = re.compile(
    r"(?:(?:SINGULARITY|APPTAINER)ENV_)?(?:(NCCL|GLOO|TP|OMPI_MCA_btl_tcp_if)_?\w*(SOCKET_IFNAME|include|exclude)|NCCL_IB_\w+|NCCL_NET(_\w+)?|NCCL_TOPO_FILE"
    r"|NCCL_CROSS_NIC|NCCL_COLLNET_ENABLE|UCX_(NET_DEVICES|TLS)|OMPI_MCA_\w+|FI_(PROVIDER|EFA\w*|CXI\w*|MR\w*)|MPICH_\w+"
    r"|I_MPI_(FABRICS|OFI_\w+|DAPL\w*|PMI_LIBRARY|PMI2?)|OPAL_PREFIX|PSM2_\w+|SHARP_\w+|HCOLL_\w+)"
)
#: programs that run once per node under any launcher: their instances connect to each other, or are independent
EACH_NODE = re.compile(
    r"^(python[\d.]*|torchrun|accelerate|deepspeed|bash|sh|hostname|nvidia-smi|rocm-smi|echo|ray|date|env|printenv|mkdir|cp"
    r"|rm|ls|cat|sleep|pip3?|conda|uv|git|wget|curl|whoami|uname|lscpu|free|df|singularity|apptainer|docker|composer|tar"
    r"|test|true|sudo|numactl|nsys|ncu|export|cd|source)$"
)
#: programs whose login writes a key to the node; the libraries read the secret -> (verbs, secret)
LOGINS = {
    "wandb": (("login", "online", "on"), "WANDB_API_KEY"),
    "huggingface-cli": (("login",), "HF_TOKEN"),
    "hf": (("login", "auth"), "HF_TOKEN"),
}
INSTALLERS: dict[str, tuple[str, ...] | None] = {
    "pip": ("install",),
    "pip3": ("install",),
    "conda": ("create", "install", "env"),
    "mamba": ("create", "install", "env"),
    "uv": ("pip", "sync", "venv"),
    "apt-get": ("install", "update"),
    "apt": ("install", "update"),
    "git": ("clone",),
    "huggingface-cli": ("download",),
    "hf": ("download",),
    "wget": None,
    "curl": None,
    "poetry": ("install",),
}
#: text of a statement that prepares the old cluster's shell or launcher -> its name and the reason to omit it
OMITTED_BLOCKS = {
    "__conda_setup": ("the block of conda init", "SkyPilot's shell knows conda already"),
    "generate_pbs_nodefile": ("generate_pbs_nodefile", "lists the old cluster's nodes for a launcher"),
}
MODULE_INIT = re.compile(r"(modules\.sh|/lmod/|/[Mm]odules/init/|lmod\.sh|modules/[\d.]+/init)")
COMPILERS = words(
    "gcc g++ gfortran cc c++ mpicc mpicxx mpic++ mpif90 mpifort nvcc clang clang++ icc ifort nvc nvfortran hipcc"
)
#: names of variables that mean something on the old cluster only, and the reason to omit them
FOREIGN = (
    (NETWORK, "names network interfaces or transports of the old cluster; the nodes have others"),
    (re.compile(r"(?i)(https?|ftp|all|no|rsync)_proxy"), "a proxy of the old cluster; the nodes reach the internet"),
    (re.compile("NXF_EXECUTOR"), "nextflow's processes run on this node"),
)
CHECKPOINT = re.compile(
    r"^--?(save|load|ckpt|checkpoint|output|out|resume|log)[-_]?(dir|path|folder)?s?$|ckpt|checkpoint"
)


#: options that read a checkpoint; the folder belongs to the job if an option that writes has an equal path
LOAD = re.compile(r"load|resume|restor|restart|continue")
INPUT = re.compile(r"hf|init|pretrain|from|model|data|ref")


@dataclass(frozen=True)
class Dropped:
    """Omitted part of a script, with the reason. ``to_do``: the user has to replace it."""

    line: int
    text: str
    why: str
    to_do: bool = False


@dataclass
class Reading:
    """Result of a conversion. ``edits`` are (start, end, new text); ``needs`` lists why slurmsky is required."""

    edits: list[tuple[int, int, str]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    needs: list[Dropped] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    activate: list[str] = field(default_factory=list)
    envs: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    unknown_modules: list[tuple[int, str]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    loaded: list[tuple[int, str]] = field(default_factory=list)  # checkpoints that a program begins with
    paths: list[tuple[int, str]] = field(default_factory=list)
    calculates: bool = False  # the script computes with the job's id
    ranks: bool = False  # an mpirun replaced an srun
    looped: bool = False  # a loop starts the tasks of a node, with Slurm's variables
    restarts: bool = False  # the script submits itself again after a failure
    workdir: bool = False  # the submit folder is needed
    devices: int = 0  # GPUs that the script chooses by their numbers
    former: str = ""  # path of the workdir on the old cluster
    links: list[str] = field(default_factory=list)  # further ones, which started files name
    unchanged: set[str] = field(default_factory=set)  # names of started scripts that need no change
    brought: set[str] = field(default_factory=set)  # programs that the project itself defines
    notes: list[str] = field(default_factory=list)  # comments at the start of run

    def drop(self, line: int, text: str, why: str, to_do: bool = False) -> None:
        """Record an omitted part of the script, without repetition."""
        entry = Dropped(line, one_line(text), why, to_do)
        if entry not in self.dropped:
            self.dropped.append(entry)

    def need(self, line: int, text: str, why: str) -> None:
        """Record a part that needs slurmsky on the nodes."""
        self.needs.append(Dropped(line, one_line(text), why))

    def edit(self, start: int, end: int, text: str) -> None:
        """Replace the script from ``start`` to ``end`` by ``text``."""
        self.edits.append((start, end, text))


def one_line(text: str, limit: int = 100) -> str:
    """Make a text safe for a comment.

    The result is one line, without characters that a terminal or YAML would interpret.
    """
    clean = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def quoted(text: str) -> str:
    """Quote a text as one shell word."""
    return text if re.fullmatch(r"[\w./:@%+=,-]+", text, re.ASCII) else "'" + text.replace("'", "'\\''") + "'"
