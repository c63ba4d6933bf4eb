"""Changes of accounts, QOS and users by sacctmgr. They override the site file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from ...model import plain
from ...model.cluster import ClusterConfig
from ...model.policy import NORMAL, AccountConfig, QosConfig, UserAssociation
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
        """Return the cluster with the changed accounts and QOS."""
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
    """Read the stored changes; none if they are unreadable."""

    return store.damage.parse_note(_NOTE, lambda kept: plain.read(Overrides, kept)) or Overrides()


def store_overrides(store: Store, overrides: Overrides) -> None:
    """Commit the changes. Raises StoreError."""
    store.put_note(_NOTE, json.dumps(plain.write(overrides)))
