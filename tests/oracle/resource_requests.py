"""Hundreds of resource requests: the real sbatch's messages, and the resources of the jobs.

Usage: resource_requests.py > golden/requests.json, by hand, with a real Slurm 25.11 of the shape of site.toml first on
PATH. The jobs begin tomorrow and are cancelled at once: nothing runs, so the nodes need not be free.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from collections.abc import Callable, Sequence

NUMBER = 300

#: how often, and of which one is taken
CHOICES: tuple[tuple[float, str], ...] = (
    (0.5, "-N1 -N2 -N3 -N1-2 -N4 -N2-3 -N5"),
    (0.5, "-n1 -n2 -n3 -n5 -n8 -n9 -n16 -n33"),
    (0.35, "-c1 -c2 -c3 -c4 -c8 -c9"),
    (0.25, "--ntasks-per-node=1 --ntasks-per-node=2 --ntasks-per-node=4 --ntasks-per-node=9"),
    (0.15, "--ntasks-per-socket=1 --ntasks-per-socket=4 --ntasks-per-socket=9"),
    (0.1, "--ntasks-per-core=1 --ntasks-per-core=2"),
    (0.2, "--mem=100 --mem=4000 --mem=4001 --mem=0 --mem=1G"),
    (0.15, "--mem-per-cpu=100 --mem-per-cpu=1000 --mem-per-cpu=5000"),
    (0.15, "--gres=gpu:1 --gres=gpu:h100:2 --gres=gpu:5 --gres=gpu:a100:1 --gres=gpu:4"),
    (0.12, "--gpus=1 --gpus=4 --gpus=8 --gpus=17 --gpus=h100:2 -G3"),
    (0.08, "--gpus-per-node=1 --gpus-per-node=4 --gpus-per-node=5"),
    (0.08, "--gpus-per-task=1 --gpus-per-task=2 --gpus-per-task=5"),
    (0.05, "--cpus-per-gpu=1 --cpus-per-gpu=3 --cpus-per-gpu=9"),
    (0.05, "--mem-per-gpu=100 --mem-per-gpu=3G"),
    (0.05, "--ntasks-per-gpu=1 --ntasks-per-gpu=3"),
    (0.08, "--exclusive --exclusive=user -s"),
    (0.08, "-wn1 -wn[1-2] -wn9 -xn1 -xn[1-4] -xn[1-3]"),
    (0.06, "-pgpu -pdebug,gpu -pnosuch"),
    (0.05, "--mincpus=2 --mincpus=9"),
    (0.06, "-B1:4:1 -B2:4:1 -B1:8:2 -B*:9"),
    (0.03, "--cores-per-socket=4 --sockets-per-node=1 --sockets-per-node=2 --threads-per-core=2"),
    (0.04, "-Cgpu -Cnosuch -Cfast|big"),
    (0.03, "-S1 -S8 --core-spec=2"),
    (0.03, "--hint=nomultithread --hint=compute_bound --hint=memory_bound"),
    (0.03, "--tmp=1G --tmp=1 -O -k --use-min-nodes --contiguous"),
    (0.05, "-t10 -t2-0 -tUNLIMITED"),
)
#: of `scontrol show job`
KEYS = (
    "Partition", "TimeLimit", "ReqNodeList", "ExcNodeList", "NumNodes", "NumCPUs", "NumTasks", "CPUs/Task",
    "ReqB:S:C:T", "ReqTRES", "Socks/Node", "NtasksPerN:B:S:C", "MinCPUsNode", "MinMemoryNode", "MinMemoryCPU",
    "Features", "OverSubscribe", "Contiguous", "CpusPerTres", "MemPerTres", "TresPerJob", "TresPerNode",
    "TresPerTask", "TresBind",
)  # fmt: skip


def lines(number: int = NUMBER) -> list[list[str]]:
    """The same options in every run, without duplicates."""
    dice = random.Random(25)
    found: dict[tuple[str, ...], None] = {}
    while len(found) < number:
        words = [dice.choice(options.split()) for chance, options in CHOICES if dice.random() < chance]
        dice.shuffle(words)
        if words:
            found[tuple(words)] = None
    return [list(words) for words in found]


def answer(run: Callable[[Sequence[str]], subprocess.CompletedProcess[str]], words: Sequence[str]) -> dict[str, object]:
    """sbatch's stderr and exit code for these options, and the keys of the resulting job."""
    done = run(["sbatch", "--parsable", "-o/dev/null", "--begin=now+1day", *words, "--wrap=true"])
    found: dict[str, object] = {"stderr": done.stderr, "code": done.returncode}
    if done.returncode == 0:
        text = run(["scontrol", "show", "job", done.stdout.strip()]).stdout
        run(["scancel", done.stdout.strip()])
        pairs = re.findall(r"(\S+?)=(\S*)", text)
        found["job"] = {key: value for key, value in pairs if key in KEYS}
    return found


def main() -> None:
    """Query the real Slurm."""

    def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "SLURM_CONF") if name in os.environ}
        env = {**kept, "HOME": "/", "LANG": "C.UTF-8"}
        return subprocess.run(words, env=env, capture_output=True, text=True, check=False, cwd="/")

    rows = [json.dumps({"options": words, **answer(run, words)}) for words in lines()]
    print("[\n" + ",\n".join(rows) + "\n]")


if __name__ == "__main__":
    main()
