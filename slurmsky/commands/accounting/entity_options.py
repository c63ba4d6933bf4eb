"""Options of sacctmgr add and modify -> accounts and QOS with their limits.

Source: src/sacctmgr/common.c (sacctmgr_set_assoc_rec), src/common/slurmdb_defs.c (slurmdb_addto_qos_char_list,
slurmdb_combine_tres_strings).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from ...language import tres
from ...model.policy import QOS_FLAGS, AccountConfig, Limits, QosConfig
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
_FIELDS = {one.name for one in fields(Limits)}
#: options that are accepted without effect: there is one cluster, and no fair share
IDLE = ("cluster", "clusters", "fairshare", "share", "organization", "parent", "adminlevel", "defaultaccount",
         "defaultaccounts", "partition", "partitions", "rawusage", "usagefactor", "format")  # fmt: skip
#: options whose ``+=`` and ``-=`` add to a list and remove from it; for other options these mean ``=``
_LISTS = frozenset({"qos", "qoslevel", "flags"})
#: names of numbers in sacctmgr's messages
_SPELLED = {
    name.lower(): name for name in ("GrpJobs", "GrpSubmitJobs", "MaxJobs", "MaxSubmitJobs", "MaxWall", "Priority")
}
_DESCRIBED = ("description", "descriptions", "withassoc")


class ChangeRefused(Exception):
    """Lines that sacctmgr prints before it rejects a request."""


class ChangeOptions(dict[str, str]):
    """Values by lower-case name; a word of a list that ``+=`` or ``-=`` names has that sign in front."""

    def __init__(self) -> None:
        self.typed: dict[str, str] = {}

    def add(self, name: str, value: str, typed: str) -> None:
        """Read one option; a repeated one adds to a list, and replaces another value."""
        key, sign = name.lower().rstrip("+-"), name[-1:] if name[-1:] in "+-" else ""
        if key in _LISTS and sign:
            words = [sign + word for word in value.split(",") if word]
            self[key] = ",".join([*filter(None, [self.get(key)]), *words])
        else:
            self[key] = value
        self.typed[key] = typed

    def joined(self, others: ChangeOptions) -> ChangeOptions:
        """These options and others, which take precedence."""
        both = ChangeOptions()
        both.update({**self, **others})
        both.typed = {**self.typed, **others.typed}
        return both

    def unknown(self, name: str, *first: str) -> ChangeRefused:
        """The refusal of an option, after the lines that say what is wrong with its value."""
        return ChangeRefused(*first, f" Unknown option: {self.typed[name]}", " Use keyword 'where' to modify condition")


def account(one: AccountConfig, words: ChangeOptions, known_qos: Collection[str]) -> AccountConfig:
    """An account with the requested changes. Raises ChangeRefused."""
    _check_names(words, *_ACCOUNT, *_DESCRIBED, "qos", "qoslevel", "defaultqos")
    name = "qos" if "qos" in words else "qoslevel"
    default = words.get("defaultqos", one.default_qos)
    for word in (words.get(name) or "").split(","):
        if word.lstrip("+-") not in ("", *known_qos):
            listed = ",".join(known_qos)
            raise words.unknown(name, f"sacctmgr: error: You gave a bad qos '{word.lstrip('+-')}'. "
                                f"Valid QOS's are {listed}")  # fmt: skip
    if "defaultqos" in words and default not in ("", "-1", *known_qos):
        raise ChangeRefused(f"You gave a bad default qos '{default}'.  Use 'list qos' to get complete list.")
    return replace(
        one,
        description=words.get("description", one.description),
        qos=_edited(one.qos, words[name], known_qos) if name in words else one.qos,
        default_qos="" if default == "-1" else default,
        limits=_limits(words, _ACCOUNT, schema.ACCOUNT_LIMITS, one.limits),
    )


def qos(one: QosConfig, words: ChangeOptions) -> QosConfig:
    """A QOS with the requested changes. Raises ChangeRefused."""
    _check_names(words, *_QOS, *_DESCRIBED, "flags", "priority", "preempt", "preemptmode", "gracetime")
    priority = words.get("priority", str(one.priority))
    if not priority.isdecimal() and priority != "-1":
        raise ChangeRefused(f"sacctmgr: error: Invalid value for Priority ({priority})",
                      " You didn't give me anything to set")  # fmt: skip
    return replace(
        one,
        description=words.get("description", one.description),
        priority=int(priority) if priority != "-1" else 0,
        flags=_flags(one.flags, words["flags"]) if "flags" in words else one.flags,
        limits=_limits(words, _QOS, schema.QOS_LIMITS, one.limits),
    )


def _check_names(words: ChangeOptions, *more: str) -> None:
    """Raise ChangeRefused for a word that is no option of the entity."""
    for name in words:
        if name not in (*more, *IDLE):
            raise words.unknown(name)


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


def _flags(old: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Flags of a QOS, spelled as in the list of flags; -1 removes all of them. Raises ChangeRefused."""
    if text == "-1":
        return ()
    spelled = {flag.lower(): flag for flag in QOS_FLAGS}
    words = [word for word in text.split(",") if word]
    if any(word.lstrip("+-").lower() not in spelled for word in words):
        typed = ",".join(word.lstrip("+-") for word in words)
        listed = ",".join(QOS_FLAGS)
        raise ChangeRefused(" Unknown QOS flag used in:", f"  '{typed}'", " Valid QOS flags are", f"  '{listed}'")
    signed = (word[: len(word) - len(word.lstrip("+-"))] + spelled[word.lstrip("+-").lower()] for word in words)
    return _edited(old, ",".join(signed))


def _limits(words: ChangeOptions, keys: Mapping[str, str], table: Mapping[str, schema.SiteKey], old: Limits) -> Limits:
    """Merge the requested limits into the current ones; -1 removes a limit. Raises ChangeRefused."""
    found: dict[str, Any] = {}
    for name in keys.keys() & words.keys():
        key, text = table[keys[name]], words[name]
        limit = key.field or keys[name]
        before = getattr(old, limit)
        try:
            if isinstance(before, tuple):
                found[limit] = _merged(dict(before), text, key)
            elif text in ("-1", ""):
                found[limit] = None
            else:
                found[limit] = key.read(int(text) if text.isdecimal() and limit != "max_wall_min" else text)
        except schema.Bad:
            raise words.unknown(name, *_complaint(name, limit, words)) from None
    assert found.keys() <= {one.name for one in fields(Limits)}
    return replace(old, **found)


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


def _complaint(name: str, limit: str, words: ChangeOptions) -> list[str]:
    if limit == "max_wall_min":
        return [f" Bad MaxWall time format: {words.typed[name]}"]
    if "tres" in limit:
        kind = words[name].partition("=")[0]
        if kind.partition("/")[0] in (*tres.ORDER, "gres", "license"):
            return [f"sacctmgr: error: Invalid value in {words.typed[name]}"]
        return [f"sacctmgr: error: slurmdb_format_tres_str: no TRES known by type {kind}"]
    return [f"sacctmgr: error: Invalid value for {_SPELLED.get(name, name)} ({words[name]})"]
