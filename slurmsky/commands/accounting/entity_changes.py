"""sacctmgr add, modify, delete of accounts, QOS, users, and modify of jobs.

The store keeps these changes, which override the site file. Source: src/sacctmgr/{account,qos,user,job}_functions.c.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ...controller.command_context import CommandContext
from ...controller.jobs.transitions import correct_derived_exit
from ...controller.store.account_overrides import Overrides
from ...language.key_values import parse
from ...model.policy import AccountConfig, QosConfig, UserAssociation
from ...report.text.units import Clock
from ..common.caller_settings import find_user
from ..common.report_settings import caller_zone
from .account_view import records
from .entity_options import ChangeOptions, ChangeRefused, account, association, qos


def run(ctx: CommandContext, verb: str, what: str, words: Sequence[str]) -> int:
    """Run one change; return the exit code."""
    table: dict[tuple[str, str], Callable[[_Change], None]] = {
        ("add", "Account"): _add_accounts, ("modify", "Account"): _modify_accounts,
        ("delete", "Account"): _delete_accounts, ("add", "QOS"): _add_qos, ("modify", "QOS"): _modify_qos,
        ("delete", "QOS"): _delete_qos, ("add", "User"): _add_users, ("modify", "User"): _modify_users,
        ("delete", "User"): _delete_users, ("modify", "Job"): _modify_jobs,
    }  # fmt: skip
    change = _Change(ctx, words)
    try:
        table[verb, what](change)
    except ChangeRefused as refusal:
        for line in refusal.args:
            ctx.err(line)
        return 1
    if change.lines:
        ctx.out("".join(f" {line}\n" for line in change.lines))
    return change.code


def changes(verb: str, what: str) -> bool:
    """Whether this entity can be changed here."""
    return what in ("Account", "QOS", "User") or (verb, what) == ("modify", "Job")


#: keys of the entities that a request changes
_NAMES = ("name", "names", "id", "user", "users", "job", "jobs", "jobid")


class _Change:
    """The options of one request, with its output."""

    def __init__(self, ctx: CommandContext, words: Sequence[str]) -> None:
        self.ctx = ctx
        self.job_table = ctx.queue.job_table
        self.lines: list[str] = []
        self.code = 0
        self.where, self.set = ChangeOptions(), ChangeOptions()
        self.names: list[str] = []
        setting = False
        for word in words:
            given = parse(word)
            if given is None:
                if word.lower() in ("where", "set"):
                    setting = word.lower() == "set"
                else:
                    self.names += word.split(",")
            elif given.name.lower() in _NAMES and not setting:
                self.names += given.unquoted.split(",")
            else:
                (self.set if setting else self.where).add(given)
        asked = self.where.take("cluster", "clusters")
        self.elsewhere = "" if asked in (None, self.cluster) else asked  # the cluster meant, if it is another one

    @property
    def cluster(self) -> str:
        return self.job_table.cluster.name

    def overrides(self) -> Overrides:
        return self.job_table.overrides

    def commit(self) -> None:
        self.job_table.put_accounting()


def _accounts(change: _Change) -> dict[str, AccountConfig]:
    known = {one.name: one for one in change.job_table.cluster.accounts}
    return {**{name: AccountConfig(name) for name in ("root", *change.job_table.accounts)}, **known}


def _add_accounts(change: _Change) -> None:
    known = _accounts(change)
    new = [name for name in change.names if name not in known]
    if not change.names:
        raise ChangeRefused(" Need name of account to add.")
    _check_cluster(change)
    if not new:
        change.lines, change.code = ["Nothing new added."], 1
        return
    parent = change.where.get("parent", "root")
    if parent not in known:
        raise ChangeRefused(
            f" This account '{parent}' doesn't exist.", "        Contact your admin to add this account."
        )
    words = change.where.joined(change.set)
    overrides = change.overrides()
    for name in new:
        overrides.accounts[name] = account(AccountConfig(name), words, _all_qos(change))
        overrides.deleted_accounts.discard(name)
    change.commit()
    change.lines = ["Adding Account(s)", *(f" {name}" for name in new), "Settings",
                    f" Description     = {words.get('description', 'Account Name')}",
                    f" Organization    = {words.get('organization', 'Parent/Account Name')}", "Associations",
                    *(f" A = {name:<10.10} C = {change.cluster:<10.10}" for name in new), "Settings",
                    f" Parent        = {parent}"]  # fmt: skip


def _modify_accounts(change: _Change) -> None:
    known = _accounts(change)
    names = _names_to_modify(change, known)
    parent = change.set.get("parent", "root")
    if parent not in known:
        raise ChangeRefused(f" Parent Account {parent} doesn't exist.")
    changed = {name: account(known[name], change.set, _all_qos(change)) for name in names}
    change.overrides().accounts.update(changed)
    change.commit()
    own = change.set.keys() & {"description", "organization"}
    if own:
        change.lines = ["Modified accounts...", *(f" {name}" for name in names)]
    if change.set.keys() - own:
        change.lines += ["Modified account associations...",
                         *(f" C = {change.cluster:<10.10} A = {name} of root" for name in names)]  # fmt: skip


def _check_cluster(change: _Change) -> None:
    if change.elsewhere:
        raise ChangeRefused(f" This cluster '{change.elsewhere}' doesn't exist.",
                            "        Contact your admin to add it to accounting.")  # fmt: skip


def _names_to_modify(change: _Change, known: Collection[str]) -> list[str]:
    """The known entities that a request names, or all of them where it names none. Raises ChangeRefused."""
    if not change.set:
        raise ChangeRefused(" You didn't give me anything to set")
    names = [name for name in change.names or known if name in known and not change.elsewhere]
    if not names:
        raise ChangeRefused(" Nothing modified")
    return names


def _delete_accounts(change: _Change) -> None:
    known = _accounts(change)
    names = [name for name in change.names if name in known and name != "root"]
    if not names:
        change.lines = ["Nothing deleted"]
        return
    busy = [job for job in change.job_table.jobs.values() if job.account in names and not job.state.finished]
    if busy:
        raise ChangeRefused(
            " Error with request: Job(s) active, cancel job(s) before remove",
            *(f"  JobID = {job.job_id:<10d} C = {change.cluster:<10.10} A = {job.account}" for job in busy),
        )
    overrides = change.overrides()
    for name in names:
        overrides.accounts.pop(name, None)
        overrides.deleted_accounts.add(name)
        _forget_associations(overrides, lambda one, name=name: one.account == name)  # type: ignore[misc]
        for accounts in overrides.users.values():
            if name in accounts:
                accounts.remove(name)
    change.commit()
    change.lines = ["Deleting accounts...", *(f" {name}" for name in sorted(names))]


def _all_qos(change: _Change) -> dict[str, QosConfig]:
    return {
        "normal": QosConfig("normal", "Normal QOS default"),
        **{one.name: one for one in change.job_table.cluster.qos},
    }


def _add_qos(change: _Change) -> None:
    known = _all_qos(change)
    new = [name for name in change.names if name not in known]
    if not new:
        change.lines, change.code = ["Nothing new added."], 1
        return
    words = change.where.joined(change.set)
    overrides = change.overrides()
    for name in new:
        overrides.qos[name] = qos(QosConfig(name, name), words, known)
        overrides.deleted_qos.discard(name)
    change.commit()
    settings = [f" {key:<14} = {value}" for key, value in words.items()]
    change.lines = ["Adding QOS(s)", *(f" {name}" for name in new), "Settings",
                    f" Description    = {words.get('description', new[-1])}", *settings]  # fmt: skip


def _modify_qos(change: _Change) -> None:
    known = _all_qos(change)
    names = _names_to_modify(change, known)
    change.overrides().qos.update({name: qos(known[name], change.set, known) for name in names})
    change.commit()
    change.lines = ["Modified qos...", *(f" {name}" for name in names)]


def _delete_qos(change: _Change) -> None:
    names = [name for name in change.names if name in _all_qos(change) and name != "normal"]
    if not names:
        change.lines = ["Nothing deleted"]
        return
    overrides = change.overrides()
    for name in names:
        overrides.qos.pop(name, None)
        overrides.deleted_qos.add(name)
    change.commit()
    change.lines = ["Deleting QOS(s)...", *(f" {name}" for name in sorted(names))]


def _asked_accounts(change: _Change) -> list[str]:
    text = change.where.take("account", "accounts", "acct", "acctname")
    return [name for name in (text or "").split(",") if name]


def _forget_associations(overrides: Overrides, meant: Callable[[UserAssociation], bool]) -> None:
    overrides.associations = {key: one for key, one in overrides.associations.items() if not meant(one)}


def _change_association(change: _Change, account_name: str, user: str, words: ChangeOptions) -> None:
    """Change what an association sets for itself. Raises ChangeRefused."""
    key = f"{account_name}/{user}"
    known = change.overrides().associations
    known[key] = association(known.get(key, UserAssociation(account_name, user)), words)


def _add_users(change: _Change) -> None:
    wanted, known = _asked_accounts(change), _accounts(change)
    if not wanted:
        raise ChangeRefused(" Need name of account(s) to add the user to.")
    _check_cluster(change)
    for name in wanted:
        if name not in known:
            raise ChangeRefused(f" This account '{name}' doesn't exist.",
                                "        Contact your admin to add this account.",
                          " No associations or wckeys created.")  # fmt: skip
    words = change.where.joined(change.set)
    default, level = words.take("defaultaccount", "defaultaccounts"), _admin_level(words)
    association(UserAssociation("", ""), words)  # refuses before anything changes
    overrides, added = change.overrides(), []
    for user in change.names:
        if find_user(user) is None:
            change.lines.append(f"There is no uid for user '{user}'")
        # root has an account of its own, which remains its default.
        have = overrides.users.setdefault(user, ["root"] if user == "root" else [])
        for name in sorted(wanted, key=lambda name: name != default):
            if name not in have:
                have.append(name)
                _change_association(change, name, user, words)
                added.append(f" U = {user:<9.9} A = {name:<10.10} C = {change.cluster:<10.10}")
        if level:
            overrides.admin_levels[user] = level
    if not added:
        change.lines, change.code = ["Nothing new added."], 1
        return
    change.commit()
    change.lines += ["Associations =", *added, "Non Default Settings"]


def _admin_level(words: ChangeOptions) -> str:
    """The level that AdminLevel= names; "" without the option. Raises ChangeRefused."""
    text = words.take("adminlevel")
    if text is None:
        return ""
    levels = ("None", "Operator", "Administrator")
    found = next((level for level in levels if text and level.lower().startswith(text.lower())), "")
    if not found:
        raise ChangeRefused(" Nothing modified")
    return found


def _modify_users(change: _Change) -> None:
    if not change.names or not change.set:
        raise ChangeRefused(" Nothing modified")
    default, level = change.set.take("defaultaccount", "defaultaccounts"), _admin_level(change.set)
    if default is not None and default not in _accounts(change):
        raise ChangeRefused(f" This account '{default}' doesn't exist.")
    wanted, other = _asked_accounts(change), change.where.take("partition", "partitions")
    meant = [one for one in records(change.ctx).associations() if one.user in change.names]
    meant = [one for one in meant if not wanted or one.account in wanted]
    if not meant or other or change.elsewhere:
        raise ChangeRefused(" Nothing modified")
    overrides = change.overrides()
    users = list(dict.fromkeys(one.user for one in meant))
    if change.set:
        association(UserAssociation("", ""), change.set)  # refuses before anything changes
        for one in meant:
            _change_association(change, one.account, one.user, change.set)
    for user in users:
        if default is not None:
            have = overrides.users.get(user, [])
            overrides.users[user] = [default, *(name for name in have if name != default)]
        if level:
            overrides.admin_levels[user] = level
    if default is not None or level:
        change.lines = ["Modified users...", *(f" {user}" for user in users)]
    if change.set:
        change.lines += ["Modified user associations...",
                         *(f" C = {change.cluster:<10.10} A = {one.account:<20.20} U = {one.user:<9.9}"
                           for one in meant)]  # fmt: skip
    change.commit()


def _delete_users(change: _Change) -> None:
    overrides, wanted = change.overrides(), _asked_accounts(change)
    gone = []
    for user in change.names:
        for name in list(overrides.users.get(user, ())):
            if not wanted or name in wanted:
                overrides.users[user].remove(name)
                _forget_associations(overrides, lambda one, at=(name, user): (one.account, one.user) == at)  # type: ignore[misc]
                gone.append(f" C = {change.cluster:<10.10} A = {name:<10.10} U = {user:<9.9}")
        if not overrides.users.get(user):
            overrides.users.pop(user, None)
    if not gone:
        change.lines = ["Nothing deleted"]
        return
    change.commit()
    change.lines = ["Deleting user associations...", *gone]


def _modify_jobs(change: _Change) -> None:
    """set DerivedExitCode=, Comment=, AdminComment=, Extra=, SystemComment= of ended jobs."""
    texts = {"comment": "comment", "admincomment": "admin_comment", "systemcomment": "system_comment"}
    for name in change.set:
        if name not in (*texts, "derivedexitcode", "derivedes", "extra", "newwckey", "wckey"):
            raise ChangeRefused(f" Unknown option: {name}={change.set[name]}")
    ids = {int(name) for name in change.names if name.isdecimal()}
    jobs = change.job_table.recall(ids)
    if not jobs or not change.set:
        raise ChangeRefused(" Nothing modified")
    clock = Clock(change.ctx.queue.clock(), caller_zone(change.ctx), "standard")
    change.lines = ["Modified jobs..."]
    for job in jobs:
        for name, text in change.set.items():
            if name in texts:
                setattr(job, texts[name], text)
            elif name == "derivedexitcode":
                if not text.isdecimal():
                    raise ChangeRefused(f" Bad DerivedExitCode value: {text}")
                # A bare number is a wait status, as in slurmdbd: 22 means 0:22.
                correct_derived_exit(job, int(text))
            elif name == "derivedes":
                job.comment = text
            elif name == "extra":
                job.spec = job.spec.evolve(extra=text)
            else:
                job.spec = job.spec.evolve(wckey=text)
        change.job_table.touch(job)
        change.lines.append(f" {job.job_id} submitted at {clock.text(job.submit_time)}")
    change.ctx.queue.flush()
