"""Requests of the query commands, with one field per option.

Filters are parsed values; ``None`` and () mean "not given".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..language.jobids import JobId


@dataclass(frozen=True)
class Query:
    """Fields of every query. ``None`` and () mean "not given"."""

    clusters: Optional[str] = None
    verbose: int = 0
    warnings: tuple[str, ...] = ()  # lines for stderr, printed first
    recorded: tuple[tuple[str, str], ...] = ()  # accepted without effect: option, text
    json: Optional[str] = None  # None: not requested; "" or the data_parser plugin
    yaml: Optional[str] = None
    #: SLURM_TIME_FORMAT, "" = standard
    time_format: str = ""
    #: SLURM_BITSTR_LEN: characters of an array's task list; None = not set, 0 = no limit
    bitstr_len: Optional[int] = None


@dataclass(frozen=True)
class SqueueQuery(Query):
    """Request of squeue. An empty filter, if given, matches nothing."""

    accounts: Optional[tuple[str, ...]] = None
    all: bool = False
    array: bool = False
    expand_patterns: bool = False
    format: Optional[str] = None  # -o, else SQUEUE_FORMAT
    format2: Optional[str] = None  # -O, else SQUEUE_FORMAT2
    helpformat: bool = False
    helpformat2: bool = False
    helpstate: bool = False
    hide: bool = False
    iterate: Optional[int] = None  # seconds
    jobs: Optional[tuple[JobId, ...]] = None  # () = bare --jobs
    licenses: Optional[tuple[str, ...]] = None
    long: bool = False
    me: bool = False
    notme: bool = False
    names: Optional[tuple[str, ...]] = None
    noconvert: bool = False
    nodelist: Optional[str] = None  # hostlist text
    noheader: bool = False
    only_job_state: bool = False
    partitions: Optional[tuple[str, ...]] = None
    priority: bool = False
    qos: Optional[tuple[str, ...]] = None
    reservation: tuple[str, ...] = ()
    running_over: Optional[int] = None  # seconds
    running_under: Optional[int] = None
    sort: Optional[str] = None
    start: bool = False
    states: Optional[tuple[str, ...]] = None  # ("all",) = all; None = default states
    steps: Optional[tuple[JobId, ...]] = None  # () = all steps
    users: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class ScancelQuery(Query):
    """Request of scancel. ``jobs`` are in the order given."""

    jobs: tuple[JobId, ...] = ()
    account: Optional[str] = None
    admin_comment: Optional[str] = None
    batch: bool = False
    cron: bool = False
    ctld: bool = False
    full: bool = False
    hurry: bool = False
    interactive: bool = False
    me: bool = False
    name: Optional[str] = None
    nodelist: Optional[str] = None
    partition: Optional[str] = None
    qos: Optional[str] = None
    quiet: int = 0
    reservation: Optional[str] = None
    signal: Optional[int] = None  # None: TERM, then KILL
    state: Optional[str] = None  # full name
    user: Optional[str] = None
    wckey: Optional[str] = None

    @property
    def filtered(self) -> bool:
        """Return whether jobs are selected by more than their ids."""
        return any(
            (
                self.account,
                self.me,
                self.name,
                self.nodelist,
                self.partition,
                self.qos,
                self.reservation,
                self.state,
                self.user,
                self.wckey,
            )
        )


@dataclass(frozen=True)
class SinfoQuery(Query):
    """Request of sinfo."""

    all: bool = False
    dead: bool = False
    exact: bool = False
    future: bool = False
    helpformat: bool = False
    helpformat2: bool = False
    helpstate: bool = False
    hide: bool = False
    iterate: Optional[int] = None
    long: bool = False
    nodelist: Optional[str] = None
    noconvert: bool = False
    noheader: bool = False
    node: bool = False  # -N
    format: Optional[str] = None
    format2: Optional[str] = None
    partitions: Optional[tuple[str, ...]] = None
    responding: bool = False
    list_reasons: bool = False
    summarize: bool = False
    sort: Optional[str] = None
    states: Optional[tuple[str, ...]] = None  # "idle", "~down", "idle&drain"
    reservation: bool = False  # -T


@dataclass(frozen=True)
class SacctQuery(Query):
    """Request of sacct. Times are epoch seconds, limits are minutes."""

    allusers: bool = False
    accounts: tuple[str, ...] = ()
    allocations: bool = False
    array: bool = False
    brief: bool = False
    batch_script: bool = False
    completion: bool = False
    constraints: tuple[str, ...] = ()
    delimiter: Optional[str] = None
    duplicates: bool = False
    helpformat: bool = False
    helpreason: bool = False
    helpstate: bool = False
    endtime: Optional[int] = None
    env_vars: bool = False
    expand_patterns: bool = False
    file: Optional[str] = None
    flags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    nnodes: Optional[tuple[int, int]] = None
    ncpus: Optional[tuple[int, int]] = None
    jobs: tuple[JobId, ...] = ()
    timelimit_min: Optional[int] = None
    timelimit_max: Optional[int] = None
    long: bool = False
    nodelist: Optional[str] = None
    noconvert: bool = False
    units: Optional[str] = None
    noheader: bool = False
    format: Optional[str] = None
    parsable: bool = False
    parsable2: bool = False
    qos: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    starttime: Optional[int] = None
    truncate: bool = False
    users: tuple[str, ...] = ()
    wckeys: tuple[str, ...] = ()
    whole_hetjob: Optional[bool] = None  # None: a leader's id means all components, any other id its component
    associations: tuple[str, ...] = ()


@dataclass(frozen=True)
class SstatQuery(Query):
    """Request of sstat."""

    jobs: tuple[JobId, ...] = ()
    verbose: int = 0
    allsteps: bool = False
    helpformat: bool = False
    noheader: bool = False
    format: Optional[str] = None
    noconvert: bool = False
    pidformat: bool = False
    parsable: bool = False
    parsable2: bool = False


@dataclass(frozen=True)
class ScontrolQuery(Query):
    """Request of scontrol: options and words. Without words the requests are read from stdin."""

    words: tuple[str, ...] = ()
    all: bool = False
    details: bool = False
    future: bool = False
    hide: bool = False
    oneliner: bool = False
    quiet: int = 0
    uid: Optional[str] = None


@dataclass(frozen=True)
class SattachQuery(Query):
    """Request of sattach. Filters are task numbers."""

    step: Optional[JobId] = None  # never None in a request
    label: bool = False
    quiet: int = 0
    layout: bool = False
    pty: bool = False
    input_filter: Optional[int] = None
    output_filter: Optional[int] = None
    error_filter: Optional[int] = None


@dataclass(frozen=True)
class SbcastQuery(Query):
    """Request of sbcast."""

    source: str = ""
    destination: str = ""
    jobid: Optional[JobId] = None
    force: bool = False
    preserve: bool = False
    send_libs: bool = False
    exclude: Optional[str] = None
