"""slurmsky's folder, which a YAML for an unchanged script copies to the nodes."""

from __future__ import annotations

from dataclasses import dataclass

REMOTE = "~/.slurmsky"  # where the agent's folder is mounted: engines/sky/launch/shipment.py


@dataclass(frozen=True)
class AgentFolder:
    """slurmsky's folder beside the YAML, with the job and the agent's program.

    ``workdir``: the submit folder from the YAML's; "": the folder contains the submit folder's files.
    """

    name: str
    program: str = "agent.pyz"
    workdir: str = "."
