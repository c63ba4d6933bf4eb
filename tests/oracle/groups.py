"""All cases, by group; a group is one golden file."""

from __future__ import annotations

from case import Case
from cases_env import CASES as ENV
from cases_query import CASES as QUERY
from cases_reservation import CASES as RESERVATION
from cases_show import CASES as SHOW
from cases_srun import CASES as SRUN
from query_requests import CASES as FLEET
from step_requests import CASES as STEPS
from update_requests import CASES as UPDATES

GROUPS: dict[str, tuple[Case, ...]] = {
    "show": SHOW,
    "query": QUERY,
    "env": ENV,
    "srun": SRUN,
    "fleet": FLEET,
    "reservation": RESERVATION,
    "steps": STEPS,
    "updates": UPDATES,
}
