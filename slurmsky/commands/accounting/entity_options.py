"""Options of sacctmgr add and modify for accounts and QOS.

Source: src/sacctmgr/association_functions.c (sacctmgr_set_assoc_rec), qos_functions.c (sacctmgr_set_qos_rec), common.c
(sacctmgr_print_assoc_limits, sacctmgr_print_qos_limits), src/common/slurmdb_defs.c (slurmdb_addto_qos_char_list,
slurmdb_combine_tres_strings).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ...language import tres
from ...language.key_values import NOTHING, Given, Key, KeyTable, fits
from ...model.policy import QOS_FLAGS, AccountConfig, Limits, QosConfig, UserAssociation
from ...report.fields import limit_cells
from ...site import schema

#: limits of accounts and users: name, length of the shortest prefix, key of the site file, name in messages.
#: A key with ":" sets one resource of a limit.
_ASSOCIATION = """
    GrpCpus 7 grp_tres:cpu GrpCpus              GrpJobs 4 grp_jobs GrpJobs
    GrpMemory 4 grp_tres:mem GrpMemory          GrpNodes 4 grp_tres:node GrpNodes
    GrpCPUMins 7 grp_tres_mins:cpu GrpCPUMins   GrpTRESMins 8 grp_tres_mins -
    GrpWall 4 grp_wall GrpWall                  GrpSubmitJobs 4 grp_submit_jobs GrpSubmitJobs
    GrpTRES 7 grp_tres -                        MaxCPUMinsPerJob 7 max_tres_mins:cpu MaxCPUMins
    MaxCpusPerJob 7 max_tres:cpu MaxCPUs        MaxJobs 4 max_jobs MaxJobs
    MaxNodesPerJob 4 max_tres:node MaxNodes     MaxSubmitJobs 4 max_submit_jobs MaxSubmitJobs
    MaxTRES 7 max_tres -                        MaxTRESPJ 9 max_tres -
    MaxTRESPerJob 11 max_tres -                 MaxTRESPerNode 11 max_tres_per_node -
    MaxTRESPN 9 max_tres_per_node -             MaxTRESMinsPerJob 8 max_tres_mins -
    MaxTRESMinsPJ 13 max_tres_mins -            MaxWallDurationPerJob 4 max_wall MaxWall"""
_QOS = """
    GrpCPUs 7 grp_tres:cpu GrpCPUs              GrpJobs 4 grp_jobs GrpJobs
    GrpMemory 4 grp_tres:mem GrpMemory          GrpNodes 4 grp_tres:node GrpNodes
    GrpCPUMins 7 grp_tres_mins:cpu GrpCPUMins   GrpTRESMins 8 grp_tres_mins -
    GrpWall 4 grp_wall GrpWall                  GrpSubmitJobs 4 grp_submit_jobs GrpSubmitJobs
    GrpTRES 7 grp_tres -                        MaxCPUMinsPerJob 7 max_tres_mins:cpu MaxCPUMins
    MaxCPUsPerJob 7 max_tres:cpu MaxCPUs        MaxCPUsPerUser 11 max_tres_per_user:cpu MaxCPUsPerUser
    MaxCPUsPU 9 max_tres_per_user:cpu MaxCPUsPerUser
    MaxJobsPerAccount 11 max_jobs_per_account MaxJobsPA
    MaxJobsPA 9 max_jobs_per_account MaxJobsPA  MaxJobsPerUser 4 max_jobs_per_user MaxJobsPU
    MaxJobsPU 4 max_jobs_per_user MaxJobsPU     MaxNodesPerJob 4 max_tres:node MaxNodesPerJob
    MaxNodesPerUser 8 max_tres_per_user:node MaxNodesPerUser
    MaxNodesPU 8 max_tres_per_user:node MaxNodesPerUser
    MaxSubmitJobsPerAccount 17 max_submit_jobs_per_account MaxSubmitJobsPA
    MaxSubmitJobsPA 15 max_submit_jobs_per_account MaxSubmitJobsPA
    MaxSubmitJobsPerUser 4 max_submit_jobs_per_user MaxSubmitJobsPU
    MaxSubmitJobsPU 4 max_submit_jobs_per_user MaxSubmitJobsPU
    MaxTRESPerAccount 11 max_tres_per_account - MaxTRESPA 9 max_tres_per_account -
    MaxTRES 7 max_tres -                        MaxTRESPJ 9 max_tres -
    MaxTRESPerJob 11 max_tres -                 MaxTRESPerNode 11 max_tres_per_node -
    MaxTRESPN 9 max_tres_per_node -             MaxTRESPerUser 11 max_tres_per_user -
    MaxTRESPU 9 max_tres_per_user -             MaxTRESMinsPerJob 8 max_tres_mins -
    MaxTRESMinsPJ 13 max_tres_mins -            MaxWallDurationPerJob 4 max_wall MaxWall
    MinTRESPerJob 7 min_tres -"""
_PREEMPT_MODES = ("cluster", "off", "cancel", "gang", "requeue", "suspend")
LIMITS = frozenset(one.name for one in fields(Limits))


class ChangeRefused(Exception):
    """Error with the lines that sacctmgr prints, to stderr and stdout."""

    def __init__(self, *lines: str, printed: Collection[str] = ()) -> None:
        super().__init__(*lines)
        self.printed = printed


@dataclass
class EntityOptions:
    """Reader of one request's options: changed fields, and errors."""

    record: AccountConfig | QosConfig | UserAssociation
    known_qos: Collection[str] = ()
    inherited_qos: tuple[str, ...] = ()  # QOS of an account or user without its own
    fields: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)  # lines to stderr
    printed: list[str] = field(default_factory=list)  # lines to stdout
    refused: bool = False
    hint: str = " Use keyword 'where' to modify condition"
    _names: dict[str, list[str]] = field(default_factory=dict)  # words of list options, by field
    _signs: bool = False  # whether an earlier option had +=, after which later options may have it, too

    def add(self, given: Given) -> None:
        """Read one option."""
        table = _TABLES[type(self.record)]
        self.fields.update(table.read(self, [given.word]))
        key = table.find(given.name)
        self._signs = self._signs or key is None or key.signed
        self.verify(given)

    def verify(self, given: Given) -> None:
        """Refuse += and -= for an option that accepts only =."""
        if given.sign and not self._signs:
            self.refuse(f" Invalid operator '{given.sign}=' in {given.word}")

    def refuse(self, *lines: str) -> None:
        """Reject the request after all its words."""
        self.errors += lines
        self.refused = True

    def unknown(self, given: Given, *first: str) -> Any:
        """Reject an option with an invalid value. ``first``: lines about the error in the value."""
        lines = [line for line in (f" Unknown option: {given.word}", self.hint) if line]
        if isinstance(self.record, QosConfig):
            self.errors += first
            self.printed += lines
            self.refused = True
        else:
            self.refuse(*first, *lines)
        return NOTHING

    def report_invalid(self, given: Given, line: str) -> Any:
        """Report an invalid value. A QOS ignores the option; other entities reject it."""
        if isinstance(self.record, QosConfig):
            self.errors.append(line)
            return NOTHING
        return self.unknown(given, line)

    def current_value(self, field: str) -> Any:
        """Present value of a field, from an earlier word or the record."""
        record = self.record.limits if field in LIMITS else self.record
        return self.fields[field] if field in self.fields else getattr(record, field)

    def names(self, given: Given, field: str) -> str:
        """Words of a list from all its options so far. Each word has the sign of += or -= as prefix."""
        words = self._names.setdefault(field, [])
        words += [given.sign + word for word in given.unquoted.split(",") if word]
        return ",".join(words)

    def typed(self, field: str) -> list[str]:
        """Words of a list option, each with its sign."""
        return self._names.get(field, [])

    def check(self) -> None:
        """Raise ChangeRefused if a word was rejected."""
        if self.refused:
            raise ChangeRefused(*self.errors, printed=self.printed)

    def applied(self, record: Any) -> Any:
        """Return a record with the changes."""
        limits = {name: value for name, value in self.fields.items() if name in LIMITS}
        rest = {name: value for name, value in self.fields.items() if name not in LIMITS}
        return replace(record, **rest, limits=replace(record.limits, **limits))

    def settings(self) -> list[str]:
        """Lines of options that sacctmgr prints after an addition."""
        width, rows = _SETTINGS[isinstance(self.record, QosConfig)]
        pairs = (row.partition(":")[::2] for row in rows.split())
        # sacctmgr does not pad the title of MaxJobsPerUser.
        return [f" {title:<{15 if title == 'MaxJobsPerUser' else width}}= {_shown(name, self.fields[name])}"
                for title, name in pairs if name in self.fields]  # fmt: skip


#: titles of the printed options in their order, with their fields; by whether a QOS is added
_SETTINGS = {
    False: (14, """Fairshare:fair_share GrpJobs:grp_jobs GrpSubmitJobs:grp_submit_jobs GrpTRES:grp_tres
        GrpTRESMins:grp_tres_mins GrpWall:grp_wall_min MaxJobs:max_jobs_per_user
        MaxSubmitJobs:max_submit_jobs_per_user MaxTRES:max_tres
        MaxTRESPerNode:max_tres_per_node MaxTRESMins:max_tres_mins MaxWall:max_wall_min Parent:parent QOS:qos"""),
    True: (25, """Flags:flags GraceTime:grace_time_s GrpJobs:grp_jobs GrpSubmitJobs:grp_submit_jobs GrpTRES:grp_tres
        GrpTRESMins:grp_tres_mins GrpWall:grp_wall_min MaxJobsPerAccount:max_jobs_per_account
        MaxJobsPerUser:max_jobs_per_user
        MaxSubmitJobsPerAccount:max_submit_jobs_per_account MaxSubmitJobsPerUser:max_submit_jobs_per_user
        MaxTRESPerAccount:max_tres_per_account MaxTRESPerJob:max_tres MaxTRESPerNode:max_tres_per_node
        MaxTRESPerUser:max_tres_per_user MinTRESPerJob:min_tres MaxTRESMins:max_tres_mins MaxWall:max_wall_min
        Preempt:preempt PreemptMode:preempt_mode Priority:priority UsageFactor:usage_factor"""),
}  # fmt: skip


def _shown(name: str, value: Any) -> str:
    if name in ("max_wall_min", "grp_wall_min"):
        return limit_cells.wall_limit_text(value) or "NONE"
    if name == "fair_share":
        return "parent" if value is None else str(value)
    if name in ("flags", "preempt", "qos"):
        return ",".join(value)
    if name == "preempt_mode":
        return str(value).upper()
    if isinstance(value, tuple):
        return tres.format_tres(value)
    return "NONE" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _unknown(old: EntityOptions, given: Given) -> dict[str, Any]:
    old.unknown(given)
    return {}


def _qos_list(old: EntityOptions, given: Given) -> Any:
    for word in given.unquoted.split(","):
        if word.lstrip("+-") not in ("", *old.known_qos):
            listed = ",".join(old.known_qos)
            return old.unknown(given, f"sacctmgr: error: You gave a bad qos '{word.lstrip('+-')}'. "
                                      f"Valid QOS's are {listed}")  # fmt: skip
    current_value, every = getattr(old.record, "qos", ()), () if old.inherited_qos else old.known_qos
    return _edited(current_value or old.inherited_qos, old.names(given, "qos"), every)


def _default_qos(old: EntityOptions, given: Given) -> str:
    name = given.unquoted
    if name not in ("", "-1", *old.known_qos):
        old.refuse(f"You gave a bad default qos '{name}'.  Use 'list qos' to get complete list.")
    return "" if name == "-1" else name


def _count(text: str) -> int | None:
    """Parse a number as strtol: "" is 0; None if invalid."""
    found = re.fullmatch(r"\s*([+-]?\d+)?", text)
    return int(found[1] or 0) if found else None


def _number(name: str, none: float, kind: Callable[[str], float] = int) -> Callable[[EntityOptions, Given], Any]:
    """Reader of a number of a QOS; -1 restores the default."""

    def read(old: EntityOptions, given: Given) -> Any:
        text = given.unquoted
        if text == "-1":
            return none
        if not text.replace(".", "", 0 if kind is int else 1).isdecimal():
            return old.report_invalid(given, f"sacctmgr: error: Invalid value for {name} ({text})")
        return kind(text)

    return read


def _fair_share(old: EntityOptions, given: Given) -> Any:
    text = given.unquoted.lower()
    if text.startswith("parent"):
        return None
    number = _count(text)
    if number is None:
        return old.report_invalid(given, f"sacctmgr: error: Invalid value for FairShare ({text})")
    return 1 if number < 0 else number


def _preempt(old: EntityOptions, given: Given) -> Any:
    for word in given.unquoted.split(","):
        if word.lstrip("+-") not in ("", *old.known_qos):
            old.refuse(f"sacctmgr: error: You gave a bad qos '{word.lstrip('+-')}'. "
                       f"Valid QOS's are {','.join(old.known_qos)}")  # fmt: skip
            return NOTHING
    found = _edited(getattr(old.record, "preempt", ()), old.names(given, "preempt"))
    if getattr(old.record, "name", "") in found:
        raise ChangeRefused("sacctmgr: error: QOS Preemption loop detected",
                            " Error with request: QOS Preemption loop detected")  # fmt: skip
    return found


def _preempt_mode(old: EntityOptions, given: Given) -> Any:
    mode = given.unquoted.lower()
    if mode in _PREEMPT_MODES:
        return mode
    old.refuse(f" Bad Preempt Mode given: {given.word}")
    return NOTHING


def _text(old: EntityOptions, given: Given) -> str:
    """A text, which sacctmgr stores in lower case."""
    return given.unquoted.lower()


def _edited(old: tuple[str, ...], text: str, all_names: Collection[str] = ()) -> tuple[str, ...]:
    """Replace a list by a text, or edit it by +words and -words.

    An empty list means all names. Words without a sign take precedence over words with one.
    """
    words = [word for word in text.split(",") if word]
    plain = [word for word in words if word[0] not in "+-"]
    if plain or not words:
        return tuple(dict.fromkeys(plain))
    found = dict.fromkeys(old or all_names)
    for word in words:
        if word[0] == "-":
            found.pop(word[1:], None)
        else:
            found[word[1:]] = None
    return () if found.keys() == set(all_names) else tuple(found)


def _flags(old: EntityOptions, given: Given) -> Any:
    """Flags of a QOS in their listed spelling; -1 removes all."""
    text = given.unquoted
    if text == "-1" and not given.sign:
        return ()
    words = [(word[: len(word) - len(word.lstrip("+-"))], word.lstrip("+-")) for word in text.split(",") if word]
    found = [next((flag for flag in QOS_FLAGS if fits(word, flag, 1)), "") for _, word in words]
    if not all(found):
        listed = ",".join(QOS_FLAGS)
        old.printed += [" Unknown QOS flag used in:", f"  '{text}'", " Valid QOS flags are", f"  '{listed}'"]
        old.refused = True
        return NOTHING
    signed = (given.sign + sign + flag for (sign, _), flag in zip(words, found, strict=True))
    left = _edited(getattr(old.record, "flags", ()), ",".join(signed))
    return tuple(flag for flag in QOS_FLAGS if flag in left)


def _limit(limit: str, key: schema.SiteKey, resource: str, spelled: str) -> Callable[[EntityOptions, Given], Any]:
    """Reader of a limit; -1 removes the limit."""

    def read(old: EntityOptions, given: Given) -> Any:
        text, current_value = given.unquoted, old.current_value(limit)
        if limit in ("max_wall_min", "grp_wall_min"):
            return _wall(old, given, key, spelled)
        if resource or not isinstance(current_value, tuple):
            number = _count(text)
            if number is None:
                return old.report_invalid(given, f"sacctmgr: error: Invalid value for {spelled} ({text.lower()})")
            if not resource:
                return None if number < 0 else number
            text = f"{resource}={max(number, -1)}"
        try:
            return _merged(dict(current_value), text, key)
        except schema.Bad:
            kind = text.partition("=")[0].rstrip("+-")
            if kind.partition("/")[0] in (*tres.ORDER, "gres", "license"):
                message = f"sacctmgr: error: Invalid value in {given.word}"
            else:
                message = f"sacctmgr: error: slurmdb_format_tres_str: no TRES known by type {kind}"
            old.refused = True
            return old.report_invalid(given, message)

    return read


def _wall(old: EntityOptions, given: Given, key: schema.SiteKey, spelled: str) -> Any:
    if given.unquoted in ("-1", ""):
        return None
    try:
        return key.read(given.unquoted)
    except schema.Bad:
        old.refused = True
        return old.report_invalid(given, f" Bad {spelled} time format: {given.word}")


def _merged(old: dict[str, int], text: str, key: schema.SiteKey) -> tuple[tuple[str, int], ...]:
    """Limits per resource, changed by NAME=COUNT, NAME+=COUNT and NAME-=COUNT.

    Raises schema.Bad.

    Source: slurm src/common/slurmdb_defs.c, slurmdb_tres_list_from_string: a change stays between 0 and MAX_VAL64.
    """
    if text in ("-1", ""):
        return ()
    for item in text.split(","):
        name, sign, count = _AMENDMENT.fullmatch(item).groups()  # type: ignore[union-attr]  # the pattern matches every text
        if not sign and count == "-1":
            old.pop(name, None)
            continue
        for read, most in key.read(f"{name}={count}" if sign else item):
            change = most if sign != "-" else -most
            old[read] = min(max(old.get(read, 0) + change, 0), _MAX_COUNT) if sign else most
    return tuple(old.items())


_AMENDMENT = re.compile(r"(.*?)(?:([+-]?)=(.*))?", re.DOTALL)
_MAX_COUNT = 2**64 - 16  # MAX_VAL64, the largest limit


def _key_table(rows: str, table: dict[str, schema.SiteKey], *more: Key[EntityOptions]) -> KeyTable[EntityOptions]:
    """Key table of an entity: its limits and other fields."""
    words, keys = rows.split(), []
    for name, letters, site, spelled in zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True):
        site, _, resource = site.partition(":")
        limit = table[site].field or site
        keys.append(Key(name, int(letters), limit, _limit(limit, table[site], resource, spelled)))
    return KeyTable([*more, *keys], lambda word, rest: Given(word, word, ""), _unknown)


_SHARES = (Key("FairShare", 1, "fair_share", _fair_share), Key("Shares", 1, "fair_share", _fair_share))
_ALLOWED = (Key("DefaultQOS", 8, "default_qos", _default_qos), Key("QosLevel", 1, "qos", _qos_list, signed=True))
USER_KEYS = _key_table(_ASSOCIATION, schema.ACCOUNT_LIMITS, *_SHARES, *_ALLOWED)
ACCOUNT_KEYS = _key_table(
    _ASSOCIATION, schema.ACCOUNT_LIMITS, Key("Description", 1, "description", _text),
    Key("Organization", 1, "organization", _text), *_SHARES, Key("Parent", 2, "parent", _text), *_ALLOWED,
)  # fmt: skip
QOS_KEYS = _key_table(
    _QOS, schema.QOS_LIMITS, Key("Description", 1, "description", _text),
    Key("Flags", 2, "flags", _flags, signed=True), Key("GraceTime", 3, "grace_time_s", _number("GraceTime", 0)),
    Key("PreemptMode", 8, "preempt_mode", _preempt_mode), Key("Preempt", 7, "preempt", _preempt, signed=True),
    Key("Priority", 3, "priority", _number("Priority", 0)),
    Key("UsageFactor", 6, "usage_factor", _number("UsageFactor", 1.0, float)),
)  # fmt: skip
_TABLES: dict[type, KeyTable[EntityOptions]] = {
    AccountConfig: ACCOUNT_KEYS, UserAssociation: USER_KEYS, QosConfig: QOS_KEYS
}  # fmt: skip
