"""Words of one sacctmgr request: names, conditions and options.

Source: src/sacctmgr/{account,qos,user}_functions.c (_set_cond, _set_rec, _set_add_cond).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from ...controller.command_context import CommandContext
from ...controller.jobs.job_table import JobTable
from ...controller.store.account_overrides import Overrides
from ...language.key_values import Given, fits, matching_value, parse
from ...model.policy import AccountConfig, QosConfig, UserAssociation
from .entity_options import ChangeRefused, EntityOptions

_Names = tuple[tuple[str, int, str], ...]
#: words of "add" that are not options: name, length of the shortest prefix, list to which the values belong
_ADDED: dict[str, _Names] = {
    "Account": (("Accounts", 1, "names"), ("Names", 1, "names"), ("Acct", 4, "names"), ("Clusters", 1, "cluster")),
    "QOS": (("Name", 1, "names"),),
    "User": (("Names", 1, "names"), ("Users", 1, "names"), ("Accounts", 3, "account"), ("Acct", 4, "account"),
             ("AdminLevel", 2, "admin_level"), ("Clusters", 1, "cluster"), ("DefaultAccount", 8, "default_account")),
}  # fmt: skip
_ASSOCIATION: _Names = (
    ("Accounts", 2, "account"), ("Acct", 4, "account"), ("Ids", 1, "id"), ("Associations", 2, "id"),
    ("Clusters", 1, "cluster"), ("DefaultQOS", 8, "default_qos"), ("Partitions", 3, "partition"),
    ("Parents", 4, "parent"), ("QosLevel", 1, "qos"), ("Users", 1, "user"),
)  # fmt: skip
#: conditions of "modify" and "delete"
_CONDITIONS: dict[str, _Names] = {
    "Account": (("Names", 1, "names"), ("Accounts", 1, "names"), ("Acct", 4, "names"),
                ("Descriptions", 1, "description"), ("Format", 2, ""), ("Organizations", 1, "organization"),
                *_ASSOCIATION),
    "QOS": (("Names", 1, "names"), ("QOSLevel", 1, "names"), ("Clusters", 1, "description"),
            ("Descriptions", 1, "description"), ("Format", 1, ""), ("Ids", 1, "id"),
            ("PreemptMode", 8, "preempt_mode")),
    "User": (("Names", 1, "names"), ("Users", 1, "names"), ("AdminLevel", 2, "admin_level"),
             ("Clusters", 1, "cluster"), ("DefaultAccount", 8, "default_account"),
             ("DefaultWCKey", 8, "wckey"), ("Format", 1, ""), ("WCKeys", 1, "wckey"), *_ASSOCIATION),
    "Job": (("JobIDs", 1, "names"), ("Names", 1, "names"), ("Ids", 1, "names"),
            ("Clusters", 1, "cluster")),
}  # fmt: skip
#: options of a user that its association lacks
_USER_OPTIONS: _Names = (("AdminLevel", 2, "admin_level"), ("DefaultAccount", 8, "default_account"))
_RECORDS: dict[str, AccountConfig | QosConfig | UserAssociation] = {
    "Account": AccountConfig(""), "QOS": QosConfig(""), "User": UserAssociation("", ""), "Job": QosConfig("")
}  # fmt: skip


class ChangeRequest:
    """The words of one request, with its output."""

    def __init__(self, ctx: CommandContext, verb: str, what: str, words: Sequence[str]) -> None:
        self.ctx, self.verb, self.what = ctx, verb, what
        self.job_table = ctx.controller.job_table
        self._draft = deepcopy(self.job_table.overrides)
        self.apply: Callable[[], None] | None = None  # applies the changes; None: there are none
        self.lines: list[str] = []
        self.code = 0
        self.names: list[str] = []
        self.lists: dict[str, list[str]] = {}  # by condition
        self.own: dict[str, str] = {}  # fields of the user itself, or of a job
        self.given: list[Given] = []  # the options, read again for each record
        self.options = EntityOptions(_RECORDS[what], all_qos(self.job_table))
        if (verb, what) == ("add", "User"):
            self.options.hint = ""
        setting = False
        for word in words:
            if "=" not in word and (fits(word, "where", 5) or fits(word, "set", 3)):
                setting = word.lower() == "set"
                continue
            given = parse(word) or Given(word, "", word)
            if verb == "add":
                self._added(given)
            elif setting:
                self._set(given)
            else:
                self._condition(given)

    def _added(self, given: Given) -> None:
        name = matching_value(given.name, _ADDED[self.what]) if given.name else "names"
        if name is None:
            self._option(given)
        else:
            self._list(name, given)
            self.options.verify(given)

    def _condition(self, given: Given) -> None:
        if given.sign:
            self.options.refuse(f" Invalid operator '{given.sign}=' in {given.word}")
            return
        name = matching_value(given.name, _CONDITIONS[self.what]) if given.name else "names"
        if name is None:
            last = "SLURM_PRINT_VALUE" if self.what == "QOS" else "value"
            self.options.refuse(f" Unknown condition: {given.word}", f" Use keyword 'set' to modify {last}")
        elif name:
            self._list(name, given)

    def _list(self, name: str, given: Given) -> None:
        # sacctmgr reads names in lower case.
        found = [word for word in given.unquoted.lower().split(",") if word]
        (self.names if name == "names" else self.lists.setdefault(name, [])).extend(found)

    def _set(self, given: Given) -> None:
        user_option = matching_value(given.name, _USER_OPTIONS)
        identity = matching_value(given.name, _ADDED["Account"]) if given.name else "names"
        if self.what == "Job":
            self.own[(given.name or given.word).lower()] = given.unquoted
        elif self.what == "User" and not given.name:
            self.options.refuse(f" Bad format on {given.word}: End your option with an '=' sign")
        elif self.what == "User" and user_option:
            self.own[user_option] = given.unquoted.lower()
            self.options.verify(given)
        elif self.what == "Account" and identity:
            self.options.refuse(f" Can't modify the {identity.removesuffix('s')} of an account")
        elif self.what != "QOS" or (given.name and not fits(given.name, "Name", 1)):
            self._option(given)

    def _option(self, given: Given) -> None:
        self.given.append(given)
        self.options.add(given)

    def check(self) -> None:
        """Raise ChangeRefused for a rejected word or a missing option."""
        if self.verb == "delete" and not self.names and not self.lists:
            raise ChangeRefused(*self.options.errors, " No conditions given to remove, not executing.")
        if (self.verb, self.what) == ("delete", "QOS"):
            # sacctmgr deletes the entities that the other words name.
            self.code = int(self.options.refused)
            return
        self.options.check()
        if self.verb == "modify" and not self.options.fields and not self.own:
            raise ChangeRefused(*self.options.errors, " You didn't give me anything to set")

    def is_unconditional(self) -> bool:
        """Return whether a valid update changes all records, without a condition."""
        fault = self.options.refused or not (self.options.fields or self.own)
        return self.verb == "modify" and not (self.names or self.lists or fault)

    def matches(self, **values: str) -> bool:
        """Return whether these values of a record meet all conditions. A missing value meets no condition."""
        return all(values.get(name) in wanted for name, wanted in self.lists.items())

    def change(self, record: Any) -> Any:
        """Apply the options of the request to a record. Raises ChangeRefused."""
        above = record.account if isinstance(record, UserAssociation) else getattr(record, "parent", "")
        inherited = self.job_table.cluster.account(above).qos if above else ()
        options = EntityOptions(record, all_qos(self.job_table), inherited)
        for given in self.given:
            options.add(given)
        options.check()
        return options.applied(record)

    @property
    def cluster(self) -> str:
        return self.job_table.cluster.name

    def overrides(self) -> Overrides:
        """Return the copy of the stored changes that the request edits."""
        return self._draft

    def commit(self, apply: Callable[[], None] | None = None) -> None:
        """Prepare the request; by default it stores the edited copy. ``apply`` replaces this action."""
        self.apply = apply or self._install

    def _install(self) -> None:
        self.job_table.overrides = self._draft
        self.job_table.store_accounting()


def all_qos(job_table: JobTable) -> dict[str, QosConfig]:
    """All QOS by name, with ``normal``."""
    return {
        "normal": QosConfig("normal", "Normal QOS default"),
        **{one.name: one for one in job_table.cluster.qos},
    }
