"""Variables by which commands inside a job find their agent."""

from __future__ import annotations

import os
from typing import Optional

from ... import paths
from ..process import startup_files

NODE_RANK = "SKYPILOT_NODE_RANK"  # SkyPilot sets it on each node
NODE_IPS = "SKYPILOT_NODE_IPS"


class AgentVariables:
    """Adds an agent's socket, folder and launchers to jobs' environments.

    ``folder``: the agent's own, for the file that bash reads after its startup files.
    """

    def __init__(self, socket_path: str, home: str, folder: str, bin_folder: str) -> None:
        self._socket_path = socket_path
        self._home = home
        self._folder = folder
        self._bin_folder = bin_folder
        self._bash_env: Optional[str] = None  # the file for BASH_ENV; "": there is none; None: not written yet
        #: host of this node as other machines address it
        self.host = ""

    def add_to(self, env: dict[str, str]) -> None:
        """Add the variables, and the launchers to PATH."""
        env[paths.AGENT] = self._socket_path
        env[paths.HOME] = self._home
        if os.environ.get(paths.PYTHON):  # also with --export=NONE: no command of a job sets up an environment
            env.setdefault(paths.PYTHON, os.environ[paths.PYTHON])
        if NODE_RANK in env:  # a step has the batch script's environment, but this may be another node
            env[NODE_RANK] = self._rank_in(env)
        if not self._bin_folder:
            return
        env[paths.BIN] = self._bin_folder
        path = env.get("PATH")
        if path is None:
            return  # a job without PATH (--export=NIL) gets none: `srun bash` must fail there as under Slurm
        if self._bin_folder not in path.split(":"):
            env["PATH"] = self._bin_folder + ":" + path
        if self._bash_env is None:
            self._bash_env = startup_files.write_bash_env(self._folder, self._bin_folder)
        if self._bash_env:
            startup_files.add_bash_env(env, self._bash_env)

    def _rank_in(self, env: dict[str, str]) -> str:
        """This node's rank among the job's nodes. A warm node's own rank counts the nodes of its bring-up."""
        addresses = env.get(NODE_IPS, "").split()
        if addresses.count(self.host) == 1:
            return str(addresses.index(self.host))
        return os.environ.get(NODE_RANK, env[NODE_RANK])
