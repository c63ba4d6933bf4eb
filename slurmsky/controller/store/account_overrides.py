"""Accounts, QOS and users that sacctmgr added, changed or deleted; they override the site file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ...model.cluster import ClusterConfig
from ...model.policy import NORMAL, AccountConfig, Limits, QosConfig, UserAssociation
from .database import Store

_NOTE = "accounting"


@dataclass
class Overrides:
    """The changes by sacctmgr, by name."""

    accounts: dict[str, AccountConfig] = field(default_factory=dict)
    qos: dict[str, QosConfig] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)  # accounts of each user, the default first
    admin_levels: dict[str, str] = field(default_factory=dict)  # by user
    associations: dict[str, UserAssociation] = field(default_factory=dict)  # by "account/user"
    deleted_accounts: set[str] = field(default_factory=set)
    deleted_qos: set[str] = field(default_factory=set)
    unused_accounts: dict[str, AccountConfig] = field(default_factory=dict)  # those without any association

    def applied(self, cluster: ClusterConfig) -> ClusterConfig:
        """The cluster with the changed accounts and QOS."""
        accounts = {one.name: one for one in cluster.accounts if one.name not in self.deleted_accounts}
        first = (NORMAL,) if self.qos and not cluster.qos else ()
        qos = {one.name: one for one in (*first, *cluster.qos) if one.name not in self.deleted_qos}
        return replace(
            cluster,
            accounts=tuple({**accounts, **self.accounts}.values()),
            qos=tuple({**qos, **self.qos}.values()),
            associations=tuple(self.associations.values()),
        )


def load(store: Store) -> Overrides:
    """Read the stored changes; none where they cannot be read."""

    def read(kept: Any) -> Overrides:
        return Overrides(
            {name: _record(AccountConfig, row) for name, row in kept["accounts"].items()},
            {name: _record(QosConfig, row) for name, row in kept["qos"].items()},
            {name: list(accounts) for name, accounts in kept["users"].items()},
            kept.get("admin_levels", {}),
            {name: _record(UserAssociation, row) for name, row in kept.get("associations", {}).items()},
            set(kept["deleted_accounts"]),
            set(kept["deleted_qos"]),
            {name: _record(AccountConfig, row) for name, row in kept.get("unused_accounts", {}).items()},
        )

    return store.damage.note(_NOTE, read) or Overrides()


def keep(store: Store, overrides: Overrides) -> None:
    """Commit the changes. Raises StoreError."""
    data = {
        "accounts": {name: asdict(one) for name, one in overrides.accounts.items()},
        "qos": {name: asdict(one) for name, one in overrides.qos.items()},
        "users": overrides.users,
        "admin_levels": overrides.admin_levels,
        "associations": {name: asdict(one) for name, one in overrides.associations.items()},
        "deleted_accounts": sorted(overrides.deleted_accounts),
        "deleted_qos": sorted(overrides.deleted_qos),
        "unused_accounts": {name: asdict(one) for name, one in overrides.unused_accounts.items()},
    }
    store.put_note(_NOTE, json.dumps(data))


def _record(kind: Any, row: dict[str, Any]) -> Any:
    values = dict(row)
    known = {one.name for one in fields(Limits)}
    limits = {name: _tuples(value) for name, value in values.pop("limits", {}).items() if name in known}
    names = {one.name for one in fields(kind)}
    return kind(**{name: _tuples(value) for name, value in values.items() if name in names}, limits=Limits(**limits))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
