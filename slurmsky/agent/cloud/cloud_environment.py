"""Environment of a cloud node and of a job on it; pure functions.

SkyPilot runs a task in an interactive bash with its own Python environment, its own thread and warning settings and, on
a Slurm infra, the variables of the underlying allocation. Sources: sky/skylet/log_lib.py, sky/backends/task_codegen.py,
sky/utils/command_runner.py of SkyPilot 0.14.1, and the output of a probe task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: set by SkyPilot's runner or by the login to the node: not part of the node's own environment
_SKYPILOT_SETS = _words(
    """
    OMP_NUM_THREADS PYTHONWARNINGS PYTHONUNBUFFERED VIRTUAL_ENV VIRTUAL_ENV_PROMPT PS1 UV_CACHE_DIR LC_ALL
    LANG SRUN_DEBUG MOTD_SHOWN SSH_CLIENT SSH_CONNECTION SSH_TTY OLDPWD PWD SHLVL _ CONDA_DEFAULT_ENV
    CONDA_PREFIX CONDA_PROMPT_MODIFIER CONDA_SHLVL TERM PYTHONPATH PYTHONHOME
    """
)
_FOREIGN = ("SLURM_", "SLURMD_", "SBATCH_", "SALLOC_", "SRUN_", "PMI_", "PMIX_", "BASH_FUNC_", "SLURMSKY_")
_SKY_FOLDERS = ("/sky-user-env/", "/skypilot-runtime/", "/.sky_clusters/", "/.sky/")

#: variables that describe a machine: a job gets those of its own machine
_OF_THE_MACHINE = _words(
    """
    HOME SHELL PATH TMPDIR TMP TEMP PWD OLDPWD SHLVL HOSTNAME DISPLAY XAUTHORITY WAYLAND_DISPLAY
    CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES SSH_AUTH_SOCK SSH_AGENT_PID SSH_CLIENT
    SSH_CONNECTION SSH_TTY DBUS_SESSION_BUS_ADDRESS INVOCATION_ID JOURNAL_STREAM WINDOWID
    """
)


def node_environment(seen: Mapping[str, str], home: str) -> dict[str, str]:
    """Return the node's own environment, without SkyPilot's changes.

    ``seen``: the environment of this process, which SkyPilot started. ``home``: the account's real home folder.
    """
    env = {name: value for name, value in seen.items() if name not in _SKYPILOT_SETS and not name.startswith(_FOREIGN)}
    env["HOME"] = home
    path = [
        part
        for part in seen.get("PATH", "").split(":")
        if part and not any(folder in part + "/" for folder in _SKY_FOLDERS)
    ]
    for part in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        if part not in path:
            path.append(part)
    env["PATH"] = ":".join(path)
    return env


def job_environment(
    user: Mapping[str, str],
    node: Mapping[str, str],
    same_files: bool,
    home: str,
    exists: Callable[[str], bool],
) -> dict[str, str]:
    """Return a job's environment: the user's valid variables and the node's.

    ``same_files``: submit host and node share their file systems, so that all of the user's variables are valid, as
    under Slurm. ``home``: the user's home folder if the node has it, else the account's. SkyPilot's variables are kept
    in addition to Slurm's.
    """
    sky = {name: value for name, value in node.items() if name.startswith(("SKYPILOT_", "SKY_"))}
    devices = {name: node[name] for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES") if name in node}
    if same_files:
        return {**user, **sky, **devices}
    if not user:  # --export=NIL
        return {**sky, **devices}
    env = {
        **node,
        **{name: value for name, value in user.items() if name not in _OF_THE_MACHINE and not name.startswith("XDG_")},
    }
    mine = [part for part in user.get("PATH", "").split(":") if part.startswith("/") and exists(part)]
    env.update(sky)  # a job that another job submitted must not see that job's nodes
    env["PATH"] = ":".join(dict.fromkeys([*mine, *node.get("PATH", "").split(":")]))
    env["HOME"] = home
    shell = user.get("SHELL", "")
    if shell and exists(shell):
        env["SHELL"] = shell
    return env
