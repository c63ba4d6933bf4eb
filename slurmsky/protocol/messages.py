"""Messages between controller, engines and agents; ``message_codec`` encodes them.

The module exceeds 400 lines because all messages, and so the version of the protocol, are in one place. Messages are
decoded once, where bytes arrive; all other code reads attributes. Runs on Python 3.9 with the standard library.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

from ..model.step import Step
from ..model.step_codec import step_from_dict, step_to_message
from .message_codec import Message, register_type

#: run number of an event that concerns the current run; engines with nodes on demand send it
PRESENT_RUN = -1
#: exit code of a managed job's process after which SkyPilot starts the task again (recover_on_exit_codes)
RECOVER = 85


class JobNode(NamedTuple):
    """A node that an engine without fixed nodes created for a job."""

    name: str
    address: str = ""


register_type("Step", step_from_dict, step_to_message)
register_type("JobNode", lambda node: JobNode(str(node["name"]), str(node.get("address", ""))), JobNode._asdict)


class Event(Message, family="ev"):
    """Base of the events of agents and engines for the controller."""


# --- of a run of a job


class JobEvent(Event):
    """Event of a run of a job. Agents number the events of a run (``agent/job/journal.py``); 0: not numbered."""

    job_id: int = 0
    run: int = PRESENT_RUN
    seq: int = 0
    node: str = ""


class Started(JobEvent, kind="started"):
    """The nodes are up and the batch script has begun. ``pid``: the shell's process id, 0 without script."""

    time: Optional[float] = None
    pid: int = 0
    step: Optional[Step] = None
    nodes: Tuple[JobNode, ...] = ()


class StepChanged(JobEvent, kind="step"):
    """A step has begun or ended."""

    step: Step


class Ended(JobEvent, kind="ended"):
    """No process of the run is left. ``state``: a JobState's name, or REQUEUED.

    ``began`` False: the script was never started. ``by_signal``: the node was being taken down. ``follower``: the id of
    the job that the agent starts in this one's place (``LaunchJob.behind``), 0: none.
    """

    state: str = "FAILED"
    exit_code: int = 0
    exit_signal: int = 0
    reason: Optional[str] = None
    time: Optional[float] = None
    derived_exit_code: int = 0
    step: Optional[Step] = None
    comment: str = ""
    began: bool = True
    by_signal: bool = False
    follower: int = 0

    @property
    def process_exit_code(self) -> int:
        """Return the end as a process's exit code, never RECOVER."""
        code = 128 + self.exit_signal if self.exit_signal else self.exit_code or int(self.state != "COMPLETED")
        return 1 if code == RECOVER else code


class ComponentEnded(JobEvent, kind="component_ended"):
    """No process is left of a het job's component, which EndComponent named."""

    component: int
    time: float


class NodeReleased(JobEvent, kind="node_released"):
    """A node has failed; the job (--no-kill) continues without it."""

    name: str


class LaunchRefused(JobEvent, kind="refused"):
    """The agent did not understand the launch."""

    comment: str = ""


class Missing(JobEvent, kind="missing"):
    """The job's node does not know the job. The launch was lost when sender or receiver died."""


class JobReachable(JobEvent, kind="here"):
    """The job's agents are reachable."""


class Configured(JobEvent, kind="configured"):
    """The nodes of a CONFIGURING job are up."""

    time: Optional[float] = None


class Waiting(JobEvent, kind="waiting"):
    """The reason why a job's nodes are delayed."""

    comment: str


class EngineState(JobEvent, kind="state"):
    """Progress of an engine that creates nodes on demand. ``state``: PENDING, CONFIGURING or REQUEUED."""

    state: str = "PENDING"
    reason: Optional[str] = None
    desc: str = ""
    comment: str = ""
    managed_job_id: int = 0
    restarts: Optional[int] = None


class ManagedJobNamed(JobEvent, kind="managed"):
    """SkyPilot has accepted the job under this id and name."""

    managed_job_id: int
    name: str
    note: str = ""


# --- of a node


class NodeEvent(Event):
    """An event of a node."""

    node: str = ""


class NodeStatus(NodeEvent, kind="node"):
    """Status of a node: an agent's first message, then its load."""

    version: str = ""
    load: Optional[float] = None
    free_mib: Optional[int] = None


class JobList(NodeEvent, kind="jobs"):
    """Runs of which an agent is the head: (job, run). An agent sends this list once to each controller."""

    jobs: Tuple[Tuple[int, int], ...]


class FollowersDropped(NodeEvent, kind="followers_dropped"):
    """All waiting launches on the node were dropped. Earlier events report those that started."""


class NodeDown(NodeEvent, kind="node_down"):
    """No agent can be started on the node."""

    reason: str


class NodeDrain(NodeEvent, kind="node_drain"):
    """The node's agent accepts no launch."""

    reason: str


class NodeUp(NodeEvent, kind="node_up"):
    """The node's agent answers."""


class Power(NodeEvent, kind="power"):
    """A warm node's power state. "met": nodes of several orders have connected to each other."""

    state: str
    why: str = ""


class NodeTaken(NodeEvent, kind="taken"):
    """The node ends at ``at`` (epoch second). The cloud reclaims its machine, or its processes end."""

    at: float
    why: str = ""


# --- answers of a warm node's agent


class NodeEnvironment(NodeEvent, kind="facts"):
    """Environment, folders and shells of the node. The engine adapts launches to them."""

    pid: int
    home: str
    environment: Dict[str, str]
    shells: Tuple[str, ...] = ()


class Pong(NodeEvent, kind="pong"):
    """Answer to a ping."""


class SameFolder(NodeEvent, kind="same"):
    """Result of CompareFolder: True for a shared mount."""

    path: str
    same: bool


class HostsAdded(NodeEvent, kind="hosts"):
    """Result of AddHosts: True if the node resolves the names."""

    names: Tuple[str, ...]
    resolve: bool


class Reached(NodeEvent, kind="reached"):
    """Nodes of the request that this node reaches."""

    peers: Tuple[str, ...]
    reached: Tuple[str, ...]


# --- in the log of a job at SkyPilot, beside the agents' events


class LogRecord(Event):
    """Base of the messages in the job's log."""


class StreamRecord(LogRecord):
    """Begin or end of a stream of the log."""

    stream: int


class SessionBegun(LogRecord, kind="session"):
    """The job begins on its nodes. Its restart count, number of nodes, and the first node's address."""

    session: int = 0
    restart: int = 0
    control: str = ""
    ranks: int = 1


class StreamOpened(StreamRecord, kind="stream"):
    """A stream is the output file ``path``. ``same``: the node writes the file itself, on a shared mount."""

    path: str
    same: bool = False
    append: bool = False
    job_id: int = 0


class FileBegun(StreamRecord, kind="file"):
    """A stream is a file that the job created or changed. ``folders``: the modes of its parent folders."""

    path: str
    size: int
    mode: int
    mtime: float
    sha256: str
    folders: Tuple[int, ...] = ()


class FileEnded(StreamRecord, kind="file-end"):
    """A file's stream is complete."""


class FileKept(LogRecord, kind="kept"):
    """A file was too large to be sent. ``at``: the address of its copy in a bucket."""

    path: str
    size: int
    at: str = ""


class SealedBegun(StreamRecord, kind="letter"):
    """A stream is a sealed request of an in-job command."""

    size: int = 0


class SealedEnded(StreamRecord, kind="letter-end"):
    """A sealed request's stream is complete."""


class OutputNote(LogRecord, kind="note"):
    """A line for the end of the job's output."""

    text: str = ""


class NodeBroken(LogRecord, kind="broken"):
    """A node could not run its part."""

    text: str = ""


class LastRecord(LogRecord, kind="last"):
    """The last record of a node other than the first."""


class Done(LogRecord, kind="done"):
    """Last record of the first node. ``ranks``: the nodes whose records are complete."""

    ranks: Tuple[int, ...] = ()
    by_signal: bool = False


# --- requests of the controller


class AgentRequest(Message, family="op"):
    """Base of requests to an agent, from the controller or from another agent."""


class Hello(AgentRequest, kind="hello"):
    """First message of a connection. ``role``: the sender's role."""

    role: str = ""
    version: str = ""


class LaunchJob(AgentRequest, kind="launch"):
    """Start a job.

    ``launch``: the fields of the Launch, or those that differ from the template of an array. ``template``: store this
    launch as the array's template; ``like``: the array whose template completes the launch
    (``agent/job/launch_codec.py``). ``behind``: start it in the place of this job, once that has ended without a
    request.
    """

    launch: Dict[str, Any]
    template: Optional[int] = None
    like: Optional[int] = None
    behind: Optional[int] = None


class DropFollowers(AgentRequest, kind="drop_followers"):
    """Forget the waiting launches, and answer FollowersDropped."""


class Acknowledge(AgentRequest, kind="acks"):
    """The controller has stored the events up to these: (job, run, number of the event)."""

    acks: Tuple[Tuple[int, int, int], ...]


class Exit(AgentRequest, kind="exit"):
    """Exit when idle. ``expected``: a job's head agent is about to connect to this one."""

    expected: bool = False


class SignOfLife(AgentRequest, kind="here"):
    """A controller serves the allocation."""


# --- of a run of a job


class JobRequest(AgentRequest):
    """A request about a running job."""

    job_id: int


class SignalJob(JobRequest, kind="signal"):
    """Send a signal. ``target``: "steps", "batch", "full" or a step id."""

    signal: int
    target: str


class TerminateJob(JobRequest, kind="terminate"):
    """Signal all processes, and end the job in ``state``. SIGKILL follows ``kill_wait_s`` later."""

    state: str = "CANCELLED"
    signal: int = 15
    kill_wait_s: Optional[int] = None


class EndComponent(JobRequest, kind="end_component"):
    """End the tasks of a het job's component (its offset); the other components continue."""

    component: int
    kill_wait_s: int


class SuspendJob(JobRequest, kind="suspend"):
    """Stop all processes."""


class ResumeJob(JobRequest, kind="resume"):
    """Continue all processes."""


class LimitJob(JobRequest, kind="limit"):
    """Set a new end time (epoch seconds) for the job or a step; None: no limit."""

    end_time: Optional[float]
    step: str = ""


class ShrinkJob(JobRequest, kind="shrink"):
    """Release all other nodes. ``failed``: the released nodes are down, so steps without --no-kill end."""

    nodes: Tuple[str, ...]
    failed: bool = False


class NodeLost(JobRequest, kind="node_lost"):
    """A node of the job is lost."""

    node: str = ""


class NodeEnds(JobRequest, kind="node_ends"):
    """The cloud reclaims a node of the job in ``left_s`` seconds. The job ends as NODE_FAIL before that."""

    left_s: int


# --- of a warm node's agent


class Ping(AgentRequest, kind="ping"):
    """Answer with a Pong."""


class CompareFolder(AgentRequest, kind="same"):
    """Compare a folder with the controller's, by ``submit_folder.identity``."""

    path: str
    identity: Tuple[int, ...]


class StoreScript(AgentRequest, kind="script"):
    """Store a script (base64) under its digest, for later launches."""

    data: str


class ReachPeers(AgentRequest, kind="reach"):
    """Answer with the reachable nodes. ``peers``: name -> host:port of an agent."""

    peers: Dict[str, str]


class AddHosts(AgentRequest, kind="hosts"):
    """Make the names resolve to the addresses."""

    names: Tuple[str, ...]
    addresses: Tuple[str, ...]
