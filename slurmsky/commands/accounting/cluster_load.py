"""sacctmgr load: accounts, users and QOS of a file in the format of ``sacctmgr dump``.

Source: src/sacctmgr/file_functions.c load_sacctmgr_cfg_file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

from ...controller.command_context import CommandContext
from ...language import cluster_file
from ...language.key_values import matching_value, parse
from ...model.policy import NORMAL, AccountConfig, QosConfig, UserAssociation
from ...report.text import sacctmgr_load as report
from ...report.text.named_columns import Cells
from ...report.text.print_fields import TableStyle
from ...report.text.sacctmgr_tables import ENTITIES
from .. import _files
from ..common.iteration import confirmed
from . import load_request
from .account_view import records
from .change_request import all_qos
from .entity_changes import admin_level, known_accounts
from .entity_options import ChangeRefused, EntityOptions

_COMMIT = "Would you like to commit changes?"
_FLUSH = (
    "You requested to flush the cluster before adding it again.\n"
    "It is advised to not have your slurmctld running while doing this operation.\n"
    "If you have jobs running on this cluster this operation will abort.\nAre you sure you want to continue?"
)
_NO_PARENT = (" No parent given creating off root, If incorrect specify 'Parent - name' before any children in your "
              "file\n")  # fmt: skip
_DENIED = " Problem adding cluster: Access/permission denied"
#: largest file that is read, in bytes
_MAX_FILE_BYTES = 64 << 20


class _Stopped(Exception):
    """The file ends here. ``failed``: the lines before it are discarded."""

    def __init__(self, *lines: str, failed: bool = True) -> None:
        super().__init__(*lines)
        self.failed = failed


async def load(ctx: CommandContext, words: Sequence[str], style: TableStyle, ask: bool) -> int:
    """Load a file; return the exit code. With ``ask`` changes are stored only after a confirmation."""
    request = load_request.read(ctx, words)
    if not request.file:
        ctx.err(" No filename given, specify one with file=''")
        return 1
    try:
        found = await _files.read(ctx, [request.file], _MAX_FILE_BYTES)
    except OSError as error:
        ctx.err(f' Unable to read "{words[0]}": {error.strerror}')
        return 1
    loading = _Loading(ctx, request, style, ask)
    return await loading.run(found.data.decode("utf-8", "surrogateescape"))


class _Loading:
    """One run over a file. All changes are made to a copy of the stored records."""

    def __init__(self, ctx: CommandContext, request: load_request.LoadRequest, style: TableStyle, ask: bool) -> None:
        self._ctx, self._request, self._style, self._ask = ctx, request, style, ask
        self._table = ctx.controller.job_table
        self._base = self._table.overrides
        self._draft = deepcopy(self._base)
        self._cluster, self._parent = request.cluster, ""
        self._began = False  # whether the line of the cluster was read
        self._changed = False
        self._code = request.code
        self._added = report.Added()
        self._changed_qos: dict[str, QosConfig] = {}
        self._done: set[tuple[str, str]] = set()  # records that an earlier line changed
        view = records(ctx)
        self._pairs = {(one.account, one.user) for one in view.associations()}
        self._accounts = {**known_accounts(self._table), **self._draft.unused_accounts}
        self._users = {view.user, *self._draft.users}
        self._ids = report.tres_ids(dict(view.cluster.parameters).get("AccountingStorageTRES", "").split(","))

    async def run(self, text: str) -> int:
        """Load the text of a file; return the exit code."""
        start, failed = self._ctx.controller.clock(), False
        try:
            for line in cluster_file.lines(text):
                await self._line(line)
        except _Stopped as stopped:
            self._code = 1 if stopped.args else self._code
            failed = stopped.failed
            for message in stopped.args:
                self._ctx.err(message)
        if failed:
            self._ctx.err(" Problem with requests: Unspecified error")
            return 1
        tables = self._added.tables(self._style)
        self._ctx.out(tables)
        self._changed = self._changed or bool(tables)
        if not self._changed:
            self._ctx.out(" Nothing new added.\n")
            return self._code
        took = round((self._ctx.controller.clock() - start) * 1e6)
        self._ctx.info(f"Done adding cluster in usec={took}")
        self._put_default_accounts_first()
        return await self._commit() or self._code

    async def _commit(self) -> int:
        """Store the draft after the confirmation; return the exit code."""
        if self._ask and not await confirmed(self._ctx, _COMMIT):
            self._ctx.out(" Changes Discarded\n")
            self._draft = deepcopy(self._base)
            return 0
        if self._table.overrides is not self._base:
            self._ctx.error("another request changed the accounts meanwhile; load the file again")
            return 1
        self._base = self._table.overrides = self._draft
        self._draft = deepcopy(self._base)
        self._table.store_accounting()
        return 0

    async def _line(self, line: cluster_file.FileEntry) -> None:
        kind = {"machine": "cluster", "project": "account"}.get(line.kind.lower(), line.kind.lower())
        if line.rest is None:
            raise _Stopped(f" Nothing after object name '{line.kind}'. line({line.number})")
        if kind not in ("qos", "cluster") and not self._began:
            raise _Stopped(" You need to specify a cluster name first with 'Cluster - $NAME' in your file",
                           failed=False)  # fmt: skip
        if kind == "cluster" and self._began and not self._request.cluster:
            raise _Stopped(" You can only add one cluster at a time.")
        if kind in ("account", "user") and not self._parent:
            self._parent = "root"
            self._ctx.out(_NO_PARENT)
        read = {"qos": self._qos, "parent": self._parents, "account": self._account, "user": self._user}.get(kind)
        if read is None and kind != "cluster":
            raise _Stopped(f" Misformatted line({line.number}): {line.text}")
        try:
            name, words = cluster_file.name_and_options(line.rest)
            if self._request.code:
                raise cluster_file.BadEntry  # an error in the request makes the first line invalid
            if read is None:
                await self._cluster_line(name, words)
            else:
                read(name, words, line)
        except (cluster_file.BadEntry, ChangeRefused) as fault:
            printed = fault.printed if isinstance(fault, ChangeRefused) else ()
            where = " error: Problem with line" if kind == "cluster" else " Problem with line"
            raise _Stopped(*fault.args, *printed, f"{where}({line.number})") from fault

    def _options(self, record: Any, words: Sequence[str], above: str = "") -> tuple[EntityOptions, dict[str, str]]:
        """Read a line's options: limits, and the values of the account or user itself. Raises ChangeRefused."""
        known = {**all_qos(self._table), **self._draft.qos, **self._added.qos}
        inherited = self._accounts[above].qos if above in self._accounts else ()
        options = EntityOptions(record, list(known), inherited, hint="")
        own: dict[str, str] = {}
        for word in words:
            given = parse(word)
            if given is None or not given.unquoted.strip():
                continue
            row = next(
                (row for row in load_request.LINE_OPTIONS if matching_value(given.name, ((row[0], row[1], row),))), None
            )
            if row is None or isinstance(record, QosConfig):
                options.add(given)
            elif row[2]:
                own[row[2]] = given.unquoted.lower()
                options.verify(given)
            else:
                self._ctx.error(f"{row[0]} is not kept by this cluster: {word}")
            options.check()
            if options.errors:  # a QOS otherwise ignores an invalid number
                raise ChangeRefused(*options.errors, f" Unknown option: {word}")
        return options, own

    def _qos(self, name: str, words: Sequence[str], line: cluster_file.FileEntry) -> None:
        if self._cluster:
            raise _Stopped(" You need to specify all QOS before the 'Cluster - $NAME' in your file")
        if name in self._added.qos:
            raise _Stopped(
                f" Problem with line({line.number}). QOS '{name}' has multiple entries. Remove one to continue."
            )
        clean = "qos" in (self._request.clean or ())
        known = None if clean else all_qos(self._table).get(name)
        options, _ = self._options(known or QosConfig(name), words)
        target = self._changed_qos if known else self._added.qos
        new = options.applied(known or QosConfig(name))
        if known and known.description.lower() == new.description.lower():
            new = replace(new, description=known.description)
        target[name] = new

    async def _cluster_line(self, name: str, words: Sequence[str]) -> None:
        self._cluster = self._request.cluster or name
        self._began = True
        root = self._accounts.get("root", AccountConfig("root"))
        own = replace(root, qos=root.qos or (NORMAL.name,))
        options, _ = self._options(own, words)
        flushed = self._request.clean is not None
        if flushed and self._cluster == self._table.cluster.name:
            await self._flush(self._request.clean or set())
        await self._store_qos()
        self._ctx.out(f"For cluster {self._cluster}\n")
        if self._cluster != self._table.cluster.name:
            raise _Stopped(_DENIED)
        if flushed:
            options, _ = self._options(AccountConfig("root"), words)
            record = options.applied(AccountConfig("root"))
            if not root.qos and record.qos == own.qos:
                record = replace(record, qos=())
            self._ctx.out(self._associations([self._cells(record, options)], report.ACCOUNT_ASSOCIATIONS))
            self._draft.accounts["root"] = record
            self._changed = True
        else:
            self._change_association("Cluster", self._cluster, own, options)

    async def _flush(self, kinds: set[str]) -> None:
        """Delete all associations, and the accounts, users or QOS of ``clean``."""
        if self._ask and not await confirmed(self._ctx, _FLUSH):
            self._ctx.out("Aborted\n")
            raise _Stopped(failed=False)
        if any(not job.state.finished for job in self._table.jobs.values()):
            raise _Stopped(" There was a problem removing the cluster.")
        draft = self._draft
        gone = {name: one for name, one in self._accounts.items() if name != "root"}
        draft.deleted_accounts |= set(gone)
        draft.unused_accounts = {} if "accounts" in kinds else gone
        draft.accounts, draft.associations = {}, {}
        draft.users = {} if "users" in kinds else {name: [] for name in draft.users}
        self._accounts = {"root": AccountConfig("root"), **draft.unused_accounts}
        self._pairs = {("root", ""), ("root", "root")}
        self._users = {"root", *draft.users}
        if "users" in kinds:
            draft.admin_levels = {}
        if "qos" in kinds:
            draft.deleted_qos |= set(all_qos(self._table)) - {NORMAL.name}
            draft.qos = {}

    async def _store_qos(self) -> None:
        """Print and store the QOS lines."""
        changed = {name: one for name, one in self._changed_qos.items() if one != all_qos(self._table)[name]}
        if self._added.qos or changed:
            self._ctx.out("QOS\n")
        if self._added.qos:
            text = report.rows(report.QOS, [], self._style)
            for one in self._added.qos.values():
                row = report.rows(report.QOS, [report.new_qos_cells(one)], replace(self._style, header=False))
                text += row + report.LONG_RULE
            self._ctx.out(text)
        for name, one in changed.items():
            self._print(report.changes("QOS", name, all_qos(self._table)[name], one, self._ids))
        if self._added.qos or changed:
            self._draft.qos.update({**self._added.qos, **changed})
            self._draft.deleted_qos -= set(self._added.qos)
            code = await self._commit()
            self._code = self._code or code

    def _parents(self, name: str, words: Sequence[str], line: cluster_file.FileEntry) -> None:
        self._options(AccountConfig(name), words)
        if (name, "") not in self._pairs and name not in self._added.account_associations:
            raise _Stopped(f" line({line.number}) You need to add this parent ({name}) as a child before you can add "
                           "children to it.", failed=False)  # fmt: skip
        self._parent = name

    def _account(self, name: str, words: Sequence[str], line: cluster_file.FileEntry) -> None:
        known = self._accounts.get(name)
        if (name, "") in self._pairs and known is not None:
            options, own = self._options(known, words, self._parent)
            if ("account", name) not in self._done:
                self._done.add(("account", name))
                self._change_account(known, own)
                self._change_association("Account", name, self._accounts[name], options)
            return
        record = AccountConfig(name, parent=self._parent)
        options, own = self._options(record, words, self._parent)
        if known is None:
            organization = own.get("organization") or (self._parent if self._parent != "root" else name)
            texts = {"description": own.get("description") or name, "organization": organization}
            self._added.accounts[name] = {"Name": name, "Descr": texts["description"], "Org": organization}
        else:
            self._change_account(known, own)
            texts = {"description": self._accounts[name].description, "organization": self._accounts[name].organization}
        if name not in self._added.account_associations:
            record = replace(options.applied(record), **texts)
            self._added.account_associations[name] = self._cells(record, options)
            self._accounts[name] = self._draft.accounts[name] = record
            self._draft.deleted_accounts.discard(name)
            self._draft.unused_accounts.pop(name, None)

    def _change_account(self, known: AccountConfig, own: Mapping[str, str]) -> None:
        lines = []
        rows = records(self._ctx).rows(ENTITIES[0], False)
        cells = next((row for row in rows if row["Account"] == known.name), {})
        for title, header, name in (("description", "Descr", "description"), ("organization", "Org", "organization")):
            was = getattr(known, name) or cells.get(header, known.name)
            if own.get(name, was) != was:
                lines.append(report.change(title, "Account", known.name, was, own[name]))
                known = replace(known, **cast("dict[str, Any]", {name: own[name]}))
        if lines:
            self._accounts[known.name] = known
            kept = self._draft.unused_accounts if known.name in self._draft.unused_accounts else self._draft.accounts
            kept[known.name] = known
            self._print(lines)

    def _user(self, name: str, words: Sequence[str], line: cluster_file.FileEntry) -> None:
        pair = (self._parent, name)
        record = self._draft.associations.get(f"{self._parent}/{name}", UserAssociation(self._parent, name))
        options, own = self._options(record, words, self._parent)
        level = admin_level(own.get("admin_level", ""))
        if name not in self._users and name not in self._added.users:
            self._added.users[name] = {"Name": name, "Def Acct": own.get("default_account", self._parent),
                                       "Admin": level or "Not Set"}  # fmt: skip
            if level:
                self._draft.admin_levels[name] = level
        elif name in self._users and ("user", name) not in self._done:
            self._done.add(("user", name))
            self._change_user(name, own.get("default_account", ""), level)
        if pair not in self._pairs and pair not in self._added.user_associations:
            new = options.applied(record)
            self._added.user_associations[pair] = self._cells(new, options)
            self._draft.associations[f"{self._parent}/{name}"] = new
            self._draft.users.setdefault(name, ["root"] if name == "root" else []).append(self._parent)
        elif pair in self._pairs and ("association", "/".join(pair)) not in self._done:
            self._done.add(("association", "/".join(pair)))
            self._change_association("User", name, record, options)

    def _change_user(self, name: str, default: str, level: str) -> None:
        have, lines = self._draft.users.get(name) or ["root"] * (name == "root"), []
        if default and default != next(iter(have), ""):
            lines.append(report.change("Default Account", "User", name, next(iter(have), ""), default))
            self._draft.users[name] = [default, *(one for one in have if one != default)]
        was = self._draft.admin_levels.get(name, "Administrator" if name == "root" else "None")
        if level and level != was:
            lines.append(report.change("Admin Level", "User", name, was, level))
            self._draft.admin_levels[name] = level
        self._print(lines)

    def _put_default_accounts_first(self) -> None:
        """Order the accounts of new users."""
        for name, cells in self._added.users.items():
            have = self._draft.users.get(name, [])
            have.sort(key=lambda one: one != cells["Def Acct"])

    def _change_association(self, kind: str, name: str, old: Any, options: EntityOptions) -> None:
        new = options.applied(old)
        if kind == "Account" and self._parent and new.parent != self._parent:
            new = replace(new, parent=self._parent)
        lines = report.changes(kind, name, old, new, self._ids)
        if getattr(new, "parent", "") != getattr(old, "parent", ""):
            lines.append(report.change("Parent", kind, name, old.parent, new.parent))
        if new.default_qos != old.default_qos:
            lines.append(report.assigned("Set DefaultQOS", kind, name, new.default_qos))
        effective = old.qos or options.inherited_qos or options.known_qos
        new_words = (
            word
            for word in options.typed("qos")
            if (word.strip("+-") in (effective if word[0] in "+-" else old.qos)) == (word[0] == "-")
        )
        missing = sorted(new_words)
        if missing:
            lines.append(report.assigned("Added QOS", kind, name, ",".join(missing)))
        elif "qos" in options.fields:
            new = replace(new, qos=old.qos)
        if lines:
            self._put(new)
        self._print(lines)

    def _put(self, record: AccountConfig | UserAssociation) -> None:
        if isinstance(record, AccountConfig):
            self._accounts[record.name] = self._draft.accounts[record.name] = record
        else:
            self._draft.associations[f"{record.account}/{record.user}"] = record

    def _print(self, lines: Sequence[str]) -> None:
        """Print lines about changed records."""
        self._changed = self._changed or bool(lines)
        self._ctx.out("".join(f"{line}\n" for line in lines))

    def _cells(self, record: AccountConfig | UserAssociation, options: EntityOptions) -> Cells:
        return report.association_cells(record, options.fields, ",".join(sorted(options.typed("qos"))))

    def _associations(self, cells: Sequence[Cells], format_text: str) -> str:
        return report.rows(format_text, cells, self._style) + report.LONG_RULE
