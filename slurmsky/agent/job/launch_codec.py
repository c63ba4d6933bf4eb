"""Codec of launches from the controller to an agent.

The elements of an array differ in few fields: the first launch is sent completely, and both sides keep it as a template
under the array's id; the other launches are sent as differences from the template. The agent also computes an element's
environment from the template's environment.
"""

from __future__ import annotations

import copy
from typing import Any, Callable, Optional

from ...model import plain
from ...model.allocation import Launch, NodeShare
from ...protocol.messages import LaunchJob
from .environment import Environment, batch_environment, element_environment

#: number of arrays whose templates are kept; both sides forget the oldest
TEMPLATES = 32


class LaunchWriter:
    """The controller's side of one connection."""

    def __init__(self) -> None:
        self._templates: dict[int, Launch] = {}

    def message(self, launch: Launch) -> LaunchJob:
        """Return the request; a difference if the agent has a template."""
        key = launch.array_job_id
        if not key:
            return LaunchJob(launch=launch.to_dict())
        template = self._templates.get(key)
        if template is None:
            _keep(self._templates, key, launch)
            return LaunchJob(launch=launch.to_dict(), template=key)
        known = template.__dict__
        changes = {
            name: value for name, value in launch.__dict__.items() if value is not known[name] and value != known[name]
        }
        return LaunchJob(launch=plain.write_fields(Launch, changes), like=key)


class _Template:
    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.environment: Optional[Environment] = None
        self.shape = _shape(launch.shares)


def _shape(shares: list[NodeShare]) -> list[Any]:
    """Fields of the shares on which an environment depends."""
    return [(share.name, len(share.cpu_ids), share.tasks, share.memory_mib, share.gres) for share in shares]


#: fields that change only the variables of ``element_environment``
_OWN = frozenset({"job_id", "array_task_id", "start_time", "stdout", "stderr", "stdin", "spool", "shares"})


class LaunchReader:
    """The agent's side of one connection."""

    def __init__(self) -> None:
        self._templates: dict[int, _Template] = {}
        self._like: dict[int, tuple[_Template, frozenset[str]]] = {}

    def launch(self, request: LaunchJob) -> Launch:
        """Return the requested launch. Raises KeyError for a request that refers to an unknown array."""
        data = request.launch
        if request.like is None:
            launch = Launch.from_dict(data)
            if request.template is not None:
                _keep(self._templates, request.template, _Template(launch))
            return launch
        template = self._templates[request.like]
        launch = copy.copy(template.launch)
        launch.__dict__.update(plain.read_fields(Launch, data))
        self._like[launch.job_id] = (template, frozenset(data))
        return launch

    def environment(self, launch: Launch, finish: Callable[[Environment], None]) -> Environment:
        """Return the ``batch_environment`` of a decoded launch. ``finish`` adds the agent's own variables."""
        template, changed = self._like.pop(launch.job_id, (None, frozenset()))
        if template is None or not changed <= _OWN or template.shape != _shape(launch.shares):
            env = batch_environment(launch)
            finish(env)
            return env
        if template.environment is None:
            template.environment = batch_environment(template.launch)
            finish(template.environment)
        return {**template.environment, **element_environment(launch)}


def _keep(templates: dict[int, Any], key: int, value: Any) -> None:
    templates.pop(key, None)
    templates[key] = value
    if len(templates) > TEMPLATES:
        del templates[next(iter(templates))]
