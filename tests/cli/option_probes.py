"""Visible effects of each option of sbatch, srun and salloc.

What is seen are the words of `scontrol show job`, `scontrol show step` and the SLURM_ variables that the same request
without the option does not have, and what the command itself prints. ``python option_probes.py`` records them of the
Slurm that is first on PATH.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from polling import PATIENCE_S

GOLDEN = Path(__file__).parent / "golden" / "option_behaviour.json"

#: what stands behind an option; "" for a flag
VALUES: dict[str, str] = {
    "account": "=root", "array": "=1-3%2", "begin": "=now+3hours", "chdir": "=/usr", "clusters": "=oracle",
    "comment": "=words", "cores-per-socket": "=2", "cpus-per-gpu": "=2 --gpus=1", "cpus-per-task": "=2",
    "deadline": "=now+3hours", "dependency": "=singleton", "distribution": "=cyclic -n4 -N2", "error": "=/dev/null",
    "exclude": "=n1", "exclusive": "", "export": "=NONE", "extra": "=words", "extra-node-info": "=1:2:1",
    "get-user-env": "", "gpu-bind": "=closest --gpus=1", "gpus": "=2", "gpus-per-node": "=2",
    "gpus-per-socket": "=1 --sockets-per-node=1", "gpus-per-task": "=1 -n2", "gres": "=gpu:2", "help": "",
    "hint": "=nomultithread", "hold": "", "input": "=/dev/zero", "job-name": "=other", "kill-on-invalid-dep": "=yes",
    "mail-type": "=END,FAIL", "mail-user": "=ada@example.org --mail-type=END", "mem": "=100", "mem-bind": "=local",
    "mem-per-cpu": "=50", "mem-per-gpu": "=50 --gpus=1", "mincpus": "=3", "nice": "=7", "no-kill": "",
    "no-requeue": "", "nodelist": "=n3", "nodes": "=2", "ntasks": "=3", "ntasks-per-core": "=1 -n2",
    "ntasks-per-gpu": "=2 --gpus=1", "ntasks-per-node": "=2 -N2", "ntasks-per-socket": "=2 -n2",
    "ntasks-per-tres": "=2 --gpus=1", "open-mode": "=append", "output": "=/dev/null", "overcommit": "",
    "oversubscribe": "", "partition": "=gpu", "priority": "=77", "qos": "=normal", "quiet": "", "requeue": "",
    "reservation": "=nosuch", "signal": "=USR1@30", "sockets-per-node": "=1", "spread-job": "", "test-only": "",
    "threads-per-core": "=1", "time": "=7", "time-min": "=3 -t7", "tmp": "=1",
    "tres-bind": "=gres/gpu:closest --gpus=1", "tres-per-task": "=cpu:2", "usage": "", "use-min-nodes": "",
    "verbose": "", "version": "",
    "autocomplete": "=--mem-", "constraint": "=nosuch", "licenses": "=nosuch", "parsable": "", "relative": "=0",
    "immediate": "=5", "whole": "", "exact": "", "resv-ports": "=1", "cpu-bind": "=verbose,none", "mpi": "=none",
    "kill-command": "=KILL", "external-launcher": "",
}  # fmt: skip

_PROGRAM = (
    "[ ${SLURM_PROCID:-0} = 0 ] || exit 0; env | grep '^SLURM'; scontrol show job $SLURM_JOB_ID; "
    '[ -z "$SLURM_STEP_ID" ] || scontrol show step $SLURM_JOB_ID.$SLURM_STEP_ID'
)
_LINES = {
    # Held: nothing depends on when it starts.
    "sbatch": "J=$(timeout 20 sbatch --parsable -H {option} --wrap true); echo submitted $J | sed 's/[0-9]//g'; "
    '[ -z "$J" ] || { scontrol show job ${J%;*}; scancel ${J%;*}; }',
    "salloc": "timeout 20 salloc {option} bash -c " + shlex.quote(_PROGRAM),
    "srun": "timeout 20 srun {option} bash -c " + shlex.quote(_PROGRAM),
}

#: facts of the host, the clock and the moment
_VOLATILE = re.compile(
    r"^(JobId|ArrayJobId|StepId|RunTime|SubmitTime|AccrueTime|EndTime|LastSchedEval|AllocNode:Sid|Scheduler|SubmitLine|"
    r"SrunHost:Pid|Command|NodeList|BatchHost|SLURM_\w*(JOBID|JOB_ID|STEP_ID|STEPID|PORT|PID|HOST|IPADDR|START_TIME|"
    r"END_TIME|NODELIST|ADDRS?|SCRIPT_CONTEXT|CONF|CLUSTER_NAME|CLUSTER)|SLURMD_\w+|SLURMSKY_\w+|Nodes|CPU_IDs|Mem)="
)
_TOKEN = re.compile(r"(?:^|(?<=\s))([A-Za-z][\w/:]*)=((?:(?!\s+[A-Za-z][\w/:]*=).)*)", re.M)

Run = Callable[[str, Path], str]


def tokens(text: str, folder: str) -> set[str]:
    """KEY=VALUE words of records and variables; lines without any are words themselves."""
    found = set()
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+", "<time>", text.replace(folder, "<dir>"))
    text = re.sub(r"\b4294\d{6}\b", "<priority>", re.sub(r"slurm-\d+", "slurm-N", text))
    for line in text.splitlines():
        pairs = [(key, value.strip()) for key, value in _TOKEN.findall(line)]
        for key, value in pairs:
            if not _VOLATILE.match(key + "="):
                found.add(f"{key}={value}")
        if not pairs and line.strip():
            found.add(re.sub(r"\d+", "N", line.strip()))
    return found


def request(command: str, name: str) -> str:
    """The shell line that uses an option; "" for the line without options."""
    option = f"--{name}{VALUES[name]}" if name else ""
    return _LINES[command].replace("{option}", option)


_DEVICES = re.compile("gpu|gres|tres")


def seen(run: Run, names: Mapping[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """The words that each option adds to the output, by command and option."""
    found: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(3) as pool:

        def probe(command: str, option: str) -> tuple[str, set[str]]:
            return option, tokens(run(request(command, option), Path(folder)), folder)

        for command, options in names.items():
            _, base = probe(command, "")
            together = pool.map(partial(probe, command), (name for name in options if not _DEVICES.search(name)))
            # Jobs with devices run one by one: which devices a job gets depends on those of the others.
            texts = dict(together) | dict(partial(probe, command)(name) for name in filter(_DEVICES.search, options))
            found[command] = {name: sorted(texts[name] - base) for name in options}
    return found


def _real(line: str, folder: Path) -> str:
    env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "SHELL": "/bin/bash", "LANG": "C.UTF-8", "TERM": "dumb"}
    done = subprocess.run(["bash", "-c", f"({line}) 2>&1"], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=PATIENCE_S)  # fmt: skip
    return done.stdout.decode(errors="replace")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from slurmsky.options import table

    wanted = {
        command: sorted({option.long for option in table.load(command).options
                         if option.policy in ("mapped", "agent") and not option.same_as and option.long in VALUES})
        for command in ("sbatch", "salloc", "srun")
    }  # fmt: skip
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(seen(_real, wanted), indent=1, sort_keys=True) + "\n")
