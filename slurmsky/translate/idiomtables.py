"""What the idioms of batch scripts are made of: programs by kind, and the record of what came of a script."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..site.modules import Module


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: commands of Slurm that need slurmsky to answer them
CLIENTS = _words(
    """
    sbatch squeue sacct scancel sinfo salloc sattach sstat sprio sacctmgr sreport
    """
)
#: what may run on every node as well as on one
ANYWHERE = _words(
    """
    : [ [[ test true false export set unset shopt ulimit umask cd pushd popd pwd echo printf source
    . eval trap hostname date uname whoami id nvidia-smi rocm-smi lscpu free df nproc which type
    command env printenv sleep wait local declare typeset readonly read mapfile readarray return
    break continue shift exit let mkdir ls module ml conda alias head tail cut tr sed awk grep sort
    uniq wc seq basename dirname realpath readlink cat rm touch
    """
)
WRAPPERS = _words(
    """
    xargs parallel timeout time env nice nohup numactl exec command stdbuf taskset sudo
    """
)
LAUNCHERS = frozenset(("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun"))
#: names of secrets end so: TOKENIZERS_PARALLELISM and MAX_TOKENS are none
SECRET = re.compile(
    r"(^|_)(API_?KEY|TOKEN|SECRET|SECRET_KEY|PASSWORD|PASSWD|ACCESS_KEY|ACCESS_KEY_ID|CREDENTIALS?)$", re.IGNORECASE
)
#: variables that name network cards, adapters and transports of the old cluster
NETWORK = re.compile(
    r"(NCCL|GLOO|TP|OMPI_MCA_btl_tcp_if)_?\w*(SOCKET_IFNAME|include|exclude)|NCCL_IB_\w+|NCCL_NET(_\w+)?|NCCL_TOPO_FILE"
    r"|NCCL_CROSS_NIC|NCCL_COLLNET_ENABLE|UCX_(NET_DEVICES|TLS)|OMPI_MCA_\w+|FI_(PROVIDER|EFA\w*|CXI\w*|MR\w*)|MPICH_\w+"
    r"|I_MPI_FABRICS|PSM2_\w+|SHARP_\w+|HCOLL_\w+"
)
#: programs of which each node runs one of its own, whatever starts them: they find each other, or need not
EACH_NODE = re.compile(
    r"^(python[\d.]*|torchrun|accelerate|deepspeed|bash|sh|hostname|nvidia-smi|rocm-smi|echo|ray|date|env|printenv|mkdir|cp"
    r"|rm|ls|cat|sleep|pip3?|conda|uv|git|wget|curl|whoami|uname|lscpu|free|df|singularity|apptainer|docker|composer|tar"
    r"|test|true|sudo|numactl|nsys|ncu|export|cd|source)$"
)
INSTALLERS: dict[str, tuple[str, ...] | None] = {
    "pip": ("install",),
    "pip3": ("install",),
    "conda": ("create", "install", "env"),
    "mamba": ("create", "install", "env"),
    "uv": ("pip", "sync", "venv"),
    "apt-get": ("install", "update"),
    "apt": ("install", "update"),
    "git": ("clone",),
    "huggingface-cli": ("download", "login"),
    "hf": ("download",),
    "wget": None,
    "curl": None,
    "poetry": ("install",),
}
MODULE_INIT = re.compile(r"(modules\.sh|/lmod/|/modules/init/|lmod\.sh|modules/[\d.]+/init)")
CHECKPOINT = re.compile(
    r"^--?(save|load|ckpt|checkpoint|output|out|resume|log)[-_]?(dir|path|folder)?s?$|ckpt|checkpoint"
)


INPUT = re.compile(r"hf|init|pretrain|from|model|data|ref")


@dataclass(frozen=True)
class Dropped:
    """Something of the script that the YAML does not hold, and why."""

    line: int
    text: str
    why: str


@dataclass
class Reading:
    """What came of a script. ``edits`` are (start, end, new text); ``needs`` is why slurmsky must be there."""

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
    paths: list[tuple[int, str]] = field(default_factory=list)
    workdir: bool = False  # the submit folder is wanted
    notes: list[str] = field(default_factory=list)  # comments at the head of run

    def drop(self, line: int, text: str, why: str) -> None:
        """Something of the script is left out; said once."""
        entry = Dropped(line, one_line(text), why)
        if entry not in self.dropped:
            self.dropped.append(entry)

    def need(self, line: int, text: str, why: str) -> None:
        """Something works with Slurm's own machinery only: slurmsky must be on the nodes."""
        self.needs.append(Dropped(line, one_line(text), why))

    def edit(self, start: int, end: int, text: str) -> None:
        """The script from ``start`` to ``end`` becomes ``text``."""
        self.edits.append((start, end, text))


def one_line(text: str, limit: int = 100) -> str:
    """A text as it may stand in a comment: one line, nothing that a terminal or YAML would act on."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def quoted(text: str) -> str:
    """A text as one shell word."""
    return text if re.fullmatch(r"[\w./:@%+=,-]+", text, re.ASCII) else "'" + text.replace("'", "'\\''") + "'"
