"""Options of sacctmgr add and modify -> accounts and QOS with their limits.

Source: src/sacctmgr/common.c (sacctmgr_set_assoc_rec), src/common/slurmdb_defs.c (slurmdb_addto_qos_char_list,
slurmdb_combine_tres_strings).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...language import tres
from ...language.key_values import Given, Key, KeyTable
from ...model.policy import QOS_FLAGS, AccountConfig, Limits, QosConfig, UserAssociation
from ...site import schema

#: sacctmgr's names of limits in lower case, and the matching keys of the site file
_COMMON = {
    "grpjobs": "grp_jobs", "grpsubmitjobs": "grp_submit_jobs", "grpsubmitjob": "grp_submit_jobs", "grptres": "grp_tres",
    "maxwall": "max_wall", "maxwalldurationperjob": "max_wall", "maxwallpj": "max_wall", "maxtres": "max_tres",
    "maxtresperjob": "max_tres", "maxtrespj": "max_tres", "maxtrespernode": "max_tres_per_node",
    "maxtrespn": "max_tres_per_node", "maxtresmins": "max_tres_mins", "maxtresminsperjob": "max_tres_mins",
}  # fmt: skip
_ACCOUNT = {**_COMMON, "maxjobs": "max_jobs", "maxsubmitjobs": "max_submit_jobs", "maxsubmitjob": "max_submit_jobs"}
_QOS = {
    **_COMMON, "maxjobs": "max_jobs_per_user", "maxjobsperuser": "max_jobs_per_user", "maxjobspu": "max_jobs_per_user",
    "maxjobsperaccount": "max_jobs_per_account", "maxjobspa": "max_jobs_per_account",
    "maxsubmitjobs": "max_submit_jobs_per_user", "maxsubmitjobsperuser": "max_submit_jobs_per_user",
    "maxsubmitjobspu": "max_submit_jobs_per_user", "maxsubmitjobsperaccount": "max_submit_jobs_per_account",
    "maxtresperuser": "max_tres_per_user", "maxtrespu": "max_tres_per_user",
    "maxtresperaccount": "max_tres_per_account", "maxtrespa": "max_tres_per_account",
    "mintres": "min_tres", "mintresperjob": "min_tres",
}  # fmt: skip
_PREEMPT_MODES = ("cluster", "off", "cancel", "gang", "requeue", "suspend")
#: names of numbers in sacctmgr's messages
_SPELLED = {
    name.lower(): name for name in ("GrpJobs", "GrpSubmitJobs", "MaxJobs", "MaxSubmitJobs", "MaxWall", "Priority")
}


class ChangeRefused(Exception):
    """Lines that sacctmgr prints before it rejects a request."""


class ChangeOptions(dict[str, str]):
    """The options of a request by lower-case name, and all its words as typed."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def add(self, given: Given) -> None:
        """Add one option; of a repeated one the last value is kept here, and every word is read."""
        self[given.name.lower()] = given.unquoted
        self.words.append(given.word)

    def take(self, *names: str) -> str | None:
        """Remove options, and return the value of the first of them that is given."""
        self.words = [word for word in self.words if word.partition("=")[0].lower() not in names]
        found = [self.pop(name) for name in names if name in self]
        return found[0] if found else None

    def joined(self, others: ChangeOptions) -> ChangeOptions:
        """These options and others, which take precedence."""
        both = ChangeOptions()
        both.update({**self, **others})
        both.words = [*self.words, *others.words]
        return both


@dataclass(frozen=True)
class _Old:
    """A record before its change, and the names of all QOS."""

    record: AccountConfig | QosConfig | UserAssociation
    known_qos: Collection[str] = ()


def account(one: AccountConfig, words: ChangeOptions, known_qos: Collection[str]) -> AccountConfig:
    """An account with the requested changes. Raises ChangeRefused."""
    return replace(one, **ACCOUNT_KEYS.read(_Old(one, known_qos), words.words))


def association(one: UserAssociation, words: ChangeOptions) -> UserAssociation:
    """A user's association with the requested changes. Raises ChangeRefused."""
    return replace(one, **USER_KEYS.read(_Old(one), words.words))


def qos(one: QosConfig, words: ChangeOptions, known_qos: Collection[str] = ()) -> QosConfig:
    """A QOS with the requested changes. Raises ChangeRefused."""
    return replace(one, **QOS_KEYS.read(_Old(one, known_qos), words.words))


def _refused(given: Given, *first: str) -> ChangeRefused:
    """The refusal of an option, after the lines that say what is wrong with its value."""
    return ChangeRefused(*first, f" Unknown option: {given.word}", " Use keyword 'where' to modify condition")


def _unknown(old: _Old, given: Given) -> dict[str, Any]:
    raise _refused(given)


def _before(old: _Old, given: Given, field: str) -> Any:
    """The value of a field that an option changes: of an earlier word, or of the record."""
    return given.before.get(field, getattr(old.record, field))


def _signed(given: Given) -> str:
    """The words of a list; += and -= are as a sign in front of each word."""
    return ",".join(given.sign + word for word in given.unquoted.split(",") if word)


def _qos_list(old: _Old, given: Given) -> tuple[str, ...]:
    text = _signed(given)
    for word in text.split(","):
        if word.lstrip("+-") not in ("", *old.known_qos):
            listed = ",".join(old.known_qos)
            raise _refused(given, f"sacctmgr: error: You gave a bad qos '{word.lstrip('+-')}'. "
                                  f"Valid QOS's are {listed}")  # fmt: skip
    return _edited(_before(old, given, "qos"), text, old.known_qos)


def _default_qos(old: _Old, given: Given) -> str:
    name = given.unquoted
    if name not in ("", "-1", *old.known_qos):
        raise ChangeRefused(f"You gave a bad default qos '{name}'.  Use 'list qos' to get complete list.")
    return "" if name == "-1" else name


def _number(name: str, none: float, kind: Callable[[str], float] = int) -> Callable[[_Old, Given], float]:
    """The reader of a number of a QOS; -1 restores the default."""

    def read(old: _Old, given: Given) -> float:
        text = given.unquoted
        if text == "-1":
            return none
        if not text.replace(".", "", 0 if kind is int else 1).isdecimal():
            raise ChangeRefused(f"sacctmgr: error: Invalid value for {name} ({text})",
                                " You didn't give me anything to set")  # fmt: skip
        return kind(text)

    return read


def _fair_share(old: _Old, given: Given) -> int | None:
    text = given.unquoted.lower()
    if text == "parent":
        return None
    if not text.isdecimal() and text != "-1":
        raise _refused(given, f"sacctmgr: error: Invalid value for FairShare ({given.unquoted})")
    return abs(int(text))


def _preempt(old: _Old, given: Given) -> tuple[str, ...]:
    text = _signed(given)
    for word in text.split(","):
        if word.lstrip("+-") not in ("", *old.known_qos):
            raise ChangeRefused(f"sacctmgr: error: You gave a bad qos '{word.lstrip('+-')}'. "
                                f"Valid QOS's are {','.join(old.known_qos)}")  # fmt: skip
    found = _edited(_before(old, given, "preempt"), text)
    if getattr(old.record, "name", "") in found:
        raise ChangeRefused("sacctmgr: error: QOS Preemption loop detected",
                            " Error with request: QOS Preemption loop detected")  # fmt: skip
    return found


def _preempt_mode(old: _Old, given: Given) -> str:
    mode = given.unquoted.lower()
    if mode not in _PREEMPT_MODES:
        raise ChangeRefused(f" Bad Preempt Mode given: {given.word}")
    return mode


def _text(old: _Old, given: Given) -> str:
    return given.unquoted


def _edited(old: tuple[str, ...], text: str, all_names: Collection[str] = ()) -> tuple[str, ...]:
    """A list after a text replaced it, or added its +words and removed its -words; an empty list means all names."""
    words = [word for word in text.split(",") if word]
    if not any(word[0] in "+-" for word in words):
        return tuple(dict.fromkeys(words))
    found = dict.fromkeys(old or all_names)
    for word in words:
        if word[0] == "-":
            found.pop(word[1:], None)
        else:
            found[word.lstrip("+")] = None
    return () if found.keys() == set(all_names) else tuple(found)


def _flags(old: _Old, given: Given) -> tuple[str, ...]:
    """Flags of a QOS, spelled as in the list of flags; -1 removes all of them. Raises ChangeRefused."""
    text = _signed(given)
    if text == "-1":
        return ()
    spelled = {flag.lower(): flag for flag in QOS_FLAGS}
    words = [word for word in text.split(",") if word]
    if any(word.lstrip("+-").lower() not in spelled for word in words):
        typed = ",".join(word.lstrip("+-") for word in words)
        listed = ",".join(QOS_FLAGS)
        raise ChangeRefused(" Unknown QOS flag used in:", f"  '{typed}'", " Valid QOS flags are", f"  '{listed}'")
    signed = (word[: len(word) - len(word.lstrip("+-"))] + spelled[word.lstrip("+-").lower()] for word in words)
    return _edited(_before(old, given, "flags"), ",".join(signed))


def _limit(site_name: str, key: schema.SiteKey) -> Callable[[_Old, Given], Limits]:
    """The reader of a limit: the record's limits with this one changed; -1 removes it. Raises ChangeRefused."""
    limit = key.field or site_name

    def read(old: _Old, given: Given) -> Limits:
        limits: Limits = _before(old, given, "limits")
        text, before = given.unquoted, getattr(limits, limit)
        value: Any = None
        try:
            if isinstance(before, tuple):
                value = _merged(dict(before), text, key)
            elif text not in ("-1", ""):
                value = key.read(int(text) if text.isdecimal() and limit != "max_wall_min" else text)
        except schema.Bad:
            raise _refused(given, *_complaint(given, limit)) from None
        return replace(limits, **{limit: value})

    return read


def _merged(old: dict[str, int], text: str, key: schema.SiteKey) -> tuple[tuple[str, int], ...]:
    """Limits of resources: each resource of the text replaces its former limit. Raises schema.Bad."""
    if text in ("-1", ""):
        return ()
    for item in text.split(","):
        if item.endswith("=-1"):
            old.pop(item[:-3], None)
        else:
            old.update(key.read(item))
    return tuple(old.items())


def _complaint(given: Given, limit: str) -> list[str]:
    text = given.unquoted
    if limit == "max_wall_min":
        return [f" Bad MaxWall time format: {given.word}"]
    if "tres" in limit:
        kind = text.partition("=")[0]
        if kind.partition("/")[0] in (*tres.ORDER, "gres", "license"):
            return [f"sacctmgr: error: Invalid value in {given.word}"]
        return [f"sacctmgr: error: slurmdb_format_tres_str: no TRES known by type {kind}"]
    return [f"sacctmgr: error: Invalid value for {_SPELLED.get(given.key, given.key)} ({text})"]


def _key_table(names: Mapping[str, str], table: Mapping[str, schema.SiteKey], *more: Key[_Old]) -> KeyTable[_Old]:
    """The keys of an entity, which sacctmgr's users write in full: limits and other fields."""
    keys = [Key(name, len(name), "limits", _limit(site, table[site])) for name, site in names.items()]
    return KeyTable([*keys, *more], lambda word, rest: Given(word, word, ""), _unknown)


_DESCRIPTION = (Key("description", 11, "description", _text), Key("descriptions", 12, "description", _text))
_SHARES = (Key("fairshare", 9, "fair_share", _fair_share), Key("share", 5, "fair_share", _fair_share))
USER_KEYS = _key_table(_ACCOUNT, schema.ACCOUNT_LIMITS, *_SHARES)
ACCOUNT_KEYS = _key_table(
    _ACCOUNT, schema.ACCOUNT_LIMITS, *_DESCRIPTION, *_SHARES,
    Key("organization", 12, "organization", _text), Key("parent", 6, "parent", _text),
    Key("qos", 3, "qos", _qos_list), Key("qoslevel", 8, "qos", _qos_list),
    Key("defaultqos", 10, "default_qos", _default_qos),
)  # fmt: skip
QOS_KEYS = _key_table(
    _QOS, schema.QOS_LIMITS, *_DESCRIPTION, Key("flags", 5, "flags", _flags),
    Key("priority", 8, "priority", _number("Priority", 0)),
    Key("gracetime", 9, "grace_time_s", _number("GraceTime", 0)),
    Key("usagefactor", 11, "usage_factor", _number("UsageFactor", 1.0, float)),
    Key("preempt", 7, "preempt", _preempt), Key("preemptmode", 11, "preempt_mode", _preempt_mode),
)  # fmt: skip
