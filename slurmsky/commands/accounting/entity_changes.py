"""sacctmgr add, modify, delete of accounts, QOS and users.

The store keeps these changes, which override the site file. Source: src/sacctmgr/{account,qos,user}_functions.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...controller.command_context import CommandContext
from ...controller.jobs.job_table import JobTable
from ...controller.store.account_overrides import Overrides
from ...model.policy import AccountConfig, QosConfig, UserAssociation
from ...report.text.sacctmgr_tables import Association
from ..common.iteration import confirmed
from .account_view import records
from .change_request import ChangeRequest, all_qos
from .entity_options import ChangeRefused
from .job_corrections import modify_jobs

_NO_CONDITIONS = "You didn't set any conditions with 'WHERE'.\nAre you sure you want to continue?"


async def run(ctx: CommandContext, verb: str, what: str, words: Sequence[str], ask: bool) -> int:
    """Run one change; return the exit code. With ``ask`` it runs only after a confirmation."""
    change = ChangeRequest(ctx, verb, what, words)
    if ask and change.is_unconditional() and not await confirmed(ctx, _NO_CONDITIONS):
        ctx.out("Aborted\n")
        return 0
    _prepare(change)
    if change.apply and ask:
        if not await confirmed(ctx, "Would you like to commit changes?"):
            ctx.out(" Changes Discarded\n")
            return change.code
        # Another request may have changed the records while the caller decided.
        change = ChangeRequest(ctx, verb, what, words)
        _prepare(change, printed=True)
    if change.apply:
        change.apply()
    return change.code


def _prepare(change: ChangeRequest, printed: bool = False) -> None:
    """Compute one change, and print its lines or its error. ``printed``: the lines have already been printed."""
    table: dict[tuple[str, str], Callable[[ChangeRequest], None]] = {
        ("add", "Account"): _add_accounts, ("modify", "Account"): _modify_accounts,
        ("delete", "Account"): _delete_accounts, ("add", "QOS"): _add_qos, ("modify", "QOS"): _modify_qos,
        ("delete", "QOS"): _delete_qos, ("add", "User"): _add_users, ("modify", "User"): _modify_users,
        ("delete", "User"): _delete_users, ("modify", "Job"): modify_jobs,
    }  # fmt: skip
    try:
        change.check()
        table[change.verb, change.what](change)
        errors: Sequence[str] = change.options.errors
    except ChangeRefused as refusal:
        change.lines, change.code, errors = list(refusal.printed), 1, refusal.args
    if printed and change.apply:
        return
    for line in errors:
        change.ctx.err(line)
    change.ctx.out("".join(f"{line}\n" for line in change.lines))


def changes(verb: str, what: str) -> bool:
    """Return whether this entity can be changed."""
    return what in ("Account", "QOS", "User") or (verb, what) == ("modify", "Job")


def known_accounts(job_table: JobTable) -> dict[str, AccountConfig]:
    """All accounts with an association, by name."""
    known = {one.name: one for one in job_table.cluster.accounts}
    return {**{name: AccountConfig(name) for name in ("root", *job_table.accounts)}, **known}


def _accounts(change: ChangeRequest) -> dict[str, AccountConfig]:
    return known_accounts(change.job_table)


def _no_change(line: str, *before: str) -> ChangeRefused:
    """Refusal of a request that changes nothing."""
    return ChangeRefused(printed=[*before, line])


def _add_accounts(change: ChangeRequest) -> None:
    known, fields = _accounts(change), change.options.fields
    if not change.names:
        raise ChangeRefused(" Need name of account to add.")
    new = [name for name in dict.fromkeys(change.names) if name not in known]
    for cluster in change.lists.get("cluster", ()):
        if cluster != change.cluster:
            raise ChangeRefused(f" error: Cluster '{cluster}' has not been added yet, please contact your admin before "
                                "adding accounts to it")  # fmt: skip
    if not new:
        raise ChangeRefused(printed=[
            f"{' ' * (not place)}Already existing account {name} on cluster {change.cluster}"
            for place, name in enumerate(change.names)
        ])  # fmt: skip
    parent = fields.get("parent", "root")
    if parent not in known:
        raise ChangeRefused(f" error: No parent account '{parent}' on cluster '{change.cluster}'")
    overrides = change.overrides()
    added = [name for name in new if name not in overrides.unused_accounts]
    for name in new:
        record = change.change(AccountConfig(name))
        had = overrides.unused_accounts.pop(name, record)
        overrides.accounts[name] = replace(record, description=had.description, organization=had.organization)
    overrides.deleted_accounts -= set(new)
    change.commit()
    if added:
        change.lines = [" Adding Account(s)", *(f"  {name}" for name in added), " Settings",
                        f"  Description     = {fields.get('description', 'Account Name')}",
                        f"  Organization    = {fields.get('organization', 'Parent/Account Name')}"]  # fmt: skip
    change.lines += [" Associations =", *(f"  C = {change.cluster:<10} A = {name:<20}" for name in new)]
    if fields:
        change.lines += [" Settings", *(f" {line}" for line in change.options.settings())]


def _modify_accounts(change: ChangeRequest) -> None:
    known, fields = _accounts(change), change.options.fields
    parent = fields.get("parent", "root")
    if parent not in known:
        raise ChangeRefused(f" Parent Account {parent} doesn't exist.")
    own = fields.keys() & {"description", "organization"}
    heads = [" Modified accounts..."] * bool(own) + [" Modified account associations..."] * bool(fields.keys() - own)
    names = [name for name in known if _meant(change, known[name])]
    if not names:
        raise ChangeRefused(printed=[line for head in heads for line in (head, "  Nothing modified")])
    was = {name: known[name].parent for name in names}
    change.overrides().accounts.update({name: change.change(known[name]) for name in names})
    change.commit()
    if own:
        change.lines = [heads[0], *(f"  {name}" for name in names)]
    if fields.keys() - own:
        change.lines += [heads[-1], *(_association(change, name, was[name]) for name in names)]


def _association(change: ChangeRequest, account: str, parent: str = "") -> str:
    return f"  C = {change.cluster:<10.10} A = {account} of {parent or 'root'}"


def _meant(change: ChangeRequest, one: AccountConfig) -> bool:
    return (not change.names or one.name in change.names) and change.matches(
        cluster=change.cluster, account=one.name, description=one.description, organization=one.organization,
        parent=one.parent, default_qos=one.default_qos)  # fmt: skip


def _delete_accounts(change: ChangeRequest) -> None:
    """Delete accounts. A condition on associations deletes only these; the accounts stay."""
    overrides, keep = change.overrides(), bool(change.lists.keys() - {"description", "organization"})
    known = _accounts(change) if keep else {**_accounts(change), **overrides.unused_accounts}
    names = sorted(name for name, one in known.items() if name != "root" and _meant(change, one))
    if not names:
        raise _no_change(" Nothing deleted")
    _keep_default_accounts(
        change, lambda account, user: account in names,
        " Please either remove the accounts listed above from list and resubmit,",
        " or change these users' default accounts to remove the account(s).")  # fmt: skip
    busy = [job for job in change.job_table.jobs.values() if job.account in names and not job.state.finished]
    if busy:
        raise ChangeRefused(
            " Error with request: Job(s) active, cancel job(s) before remove",
            *(f"  JobID = {job.job_id:<10d} C = {change.cluster:<10.10} A = {job.account}" for job in busy),
        )
    lines = [" Deleting account associations..." if keep else " Deleting accounts..."]
    for name in names:
        overrides.accounts.pop(name, None)
        overrides.unused_accounts.pop(name, None)
        overrides.deleted_accounts.add(name)
        users = sorted(user for user, accounts in overrides.users.items() if name in accounts)
        for user in users:
            overrides.users[user].remove(name)
        if keep:
            overrides.unused_accounts[name] = known[name]
            lines += [_association(change, name, known[name].parent), *(_of_user(change, name, user) for user in users)]
        else:
            lines.append(f"  {name}")
    _forget_associations(overrides, lambda one: one.account in names)
    change.commit()
    change.lines = lines


def _of_user(change: ChangeRequest, account: str, user: str) -> str:
    return f"  C = {change.cluster:<10.10} A = {account:<10.10} U = {user:<9.9}"


def _keep_default_accounts(change: ChangeRequest, gone: Callable[[str, str], bool], *advice: str) -> None:
    """Refuse to remove a user's default account while others remain.

    Raises ChangeRefused.

    Source: accounting_storage_mysql.c _check_is_def_acct_before_remove.
    """
    lost = [
        f"  C = {change.cluster:<15} A = {have[0]:<10} U = {user:<9}"
        for user, have in change.overrides().users.items()
        if have and gone(have[0], user) and not all(gone(account, user) for account in have)
    ]
    if lost:
        first = " Error with request: You can not remove the default account of a user"
        raise ChangeRefused(first, *lost, *advice, " Changes Discarded")


def _add_qos(change: ChangeRequest) -> None:
    known = all_qos(change.job_table)
    if not change.names:
        raise ChangeRefused(" Need name of qos to add.")
    new = [name for name in dict.fromkeys(change.names) if name not in known]
    if not new:
        raise _no_change(" Nothing new added.")
    overrides = change.overrides()
    overrides.qos.update({name: change.change(QosConfig(name, name)) for name in new})
    overrides.deleted_qos -= set(new)
    change.commit()
    described = change.options.fields.get("description", new[-1])
    change.lines = [" Adding QOS(s)", *(f"  {name}" for name in new), " Settings",
                    f"  Description    = {described}",
                    *(f" {line}" for line in change.options.settings())]  # fmt: skip


def _qos_meant(change: ChangeRequest) -> list[str]:
    return [name for name, one in all_qos(change.job_table).items() if (not change.names or name in change.names)
            and change.matches(description=one.description, preempt_mode=one.preempt_mode)]  # fmt: skip


def _modify_qos(change: ChangeRequest) -> None:
    known, names = all_qos(change.job_table), _qos_meant(change)
    if not names:
        raise _no_change("  Nothing modified")
    change.overrides().qos.update({name: change.change(known[name]) for name in names})
    change.commit()
    change.lines = [" Modified qos...", *(f"  {name}" for name in names)]


def _delete_qos(change: ChangeRequest) -> None:
    names = sorted(name for name in _qos_meant(change) if name != "normal")
    if not names:
        raise _no_change("  Nothing deleted")
    overrides = change.overrides()
    for name in names:
        overrides.qos.pop(name, None)
        overrides.deleted_qos.add(name)
    # Remove the names from accounts and other QOS, as as_mysql_remove_qos does.
    gone = set(names)
    for account in _accounts(change).values():
        default = "" if account.default_qos in gone else account.default_qos
        left = replace(account, qos=tuple(name for name in account.qos if name not in gone), default_qos=default)
        if left != account:
            overrides.accounts[account.name] = left
    for key, own in overrides.associations.items():
        default = "" if own.default_qos in gone else own.default_qos
        kept = tuple(name for name in own.qos if name not in gone)
        overrides.associations[key] = replace(own, qos=kept, default_qos=default)
    for qos in all_qos(change.job_table).values():
        if qos.name not in gone and gone & set(qos.preempt):
            overrides.qos[qos.name] = replace(qos, preempt=tuple(name for name in qos.preempt if name not in gone))
    change.commit()
    change.lines = [" Deleting QOS(s)...", *(f"  {name}" for name in names)]


def _forget_associations(overrides: Overrides, selected: Callable[[UserAssociation], bool]) -> None:
    overrides.associations = {key: one for key, one in overrides.associations.items() if not selected(one)}


def _change_association(change: ChangeRequest, account_name: str, user: str) -> None:
    """Change an association's fields. Raises ChangeRefused."""
    key = f"{account_name}/{user}"
    known = change.overrides().associations
    known[key] = change.change(known.get(key, UserAssociation(account_name, user)))


def _add_users(change: ChangeRequest) -> None:
    known, default = _accounts(change), next(iter(change.lists.get("default_account", ())), "")
    wanted = list(dict.fromkeys([*change.lists.get("account", ()), *filter(None, [default])]))
    if not change.names:
        raise ChangeRefused(" Need name of user to add.")
    if not wanted:
        raise ChangeRefused(" Need name of account or wckey to add.")
    clusters = change.lists.get("cluster", [change.cluster])
    skipped = [f"No account {name} on cluster {cluster}, skipping." for name in wanted for cluster in clusters
               if name not in known or cluster != change.cluster]  # fmt: skip
    level = admin_level(next(iter(change.lists.get("admin_level", ())), ""))
    overrides, added, users = change.overrides(), [], []
    for name in wanted if change.cluster in clusters else ():
        for user in change.names if name in known else ():
            if user not in overrides.users:
                users.append(user)
            # root has a separate account, which remains its default.
            have = overrides.users.setdefault(user, ["root"] if user == "root" else [])
            if name not in have:
                have.insert(0 if name == default else len(have), name)
                _change_association(change, name, user)
                added.append(f"  C = {change.cluster:<10} A = {name:<20} U = {user:<9}")
    if not added:
        missing = "" if skipped else "Request didn't affect anything"
        raise ChangeRefused(printed=[
            *skipped, *filter(None, [missing]),
            "Nothing added.", "Make sure the accounts requested here have been added to the system/cluster."
            " (sacctmgr add account...)",
        ])  # fmt: skip
    for user in change.names if level else ():
        overrides.admin_levels[user] = level
    change.commit()
    if users:
        change.lines = [" Adding User(s)", *(f"  {user}" for user in users), " Settings"]
        change.lines += [f"  Default Account = {default}"] * bool(default)
        change.lines += [f"  Admin Level     = {level}"] * bool(level)
    change.lines += [*skipped, " Associations =", *added]
    if change.options.fields:
        change.lines += [" Non Default Settings", *(f" {line}" for line in change.options.settings())]


def admin_level(text: str) -> str:
    """Level that AdminLevel= names; "" for any other text."""
    levels = ("None", "Operator", "Administrator")
    return next((level for level in levels if text and level.lower().startswith(text.lower())), "")


def _users(change: ChangeRequest) -> list[Association]:
    """Associations of users that meet the conditions."""
    overrides, found = change.overrides(), []
    for one in records(change.ctx).associations():
        have = overrides.users.get(one.user, [])
        if one.user and (not change.names or one.user in change.names) and change.matches(
            cluster=change.cluster, account=one.account, user=one.user, default_account=have[0] if have else "",
            admin_level=overrides.admin_levels.get(one.user, "None").lower(),
        ):  # fmt: skip
            found.append(one)
    return found


def _modify_users(change: ChangeRequest) -> None:
    default, level = change.own.get("default_account"), admin_level(change.own.get("admin_level", ""))
    heads = [" Modified users..."] * bool(change.own)
    heads += [" Modified user associations..."] * bool(change.options.fields)
    selected, overrides = _users(change), change.overrides()
    if not selected or (change.own and not level and default is None):
        raise ChangeRefused(printed=[line for head in heads for line in (head, "  Nothing modified")])
    users = list(dict.fromkeys(one.user for one in selected))
    if default is not None:
        strangers = [user for user in users if default not in overrides.users.get(user, ())]
        if strangers:
            raise ChangeRefused(printed=[
                *heads[:1],
                f" Can't modify because these users aren't associated with new default account '{default}'...",
                *(f"  U = {user} C = {change.cluster}" for user in strangers),
            ])  # fmt: skip
    if change.options.fields:
        for one in selected:
            _change_association(change, one.account, one.user)
    for user in users:
        if default is not None:
            have = overrides.users.get(user, [])
            overrides.users[user] = [default, *(name for name in have if name != default)]
        if level:
            overrides.admin_levels[user] = level
    if change.own:
        change.lines = [heads[0], *(f"  {user}" for user in users)]
    if change.options.fields:
        change.lines += [heads[-1],
                         *(f"  C = {change.cluster:<10.10} A = {one.account:<20.20} U = {one.user:<9.9}"
                           for one in selected)]  # fmt: skip
    change.commit()


def _delete_users(change: ChangeRequest) -> None:
    overrides = change.overrides()
    gone = [one for one in _users(change) if one.account in overrides.users.get(one.user, ())]
    # Without conditions users who have lost their accounts are deleted, too.
    bare = [user for user in change.names if not change.lists and overrides.users.get(user) == []]
    if not gone and not bare:
        raise _no_change(" Nothing deleted")
    pairs = {(one.account, one.user) for one in gone}
    _keep_default_accounts(
        change, lambda account, user: (account, user) in pairs,
        " You must change the default account of these users or remove the users completely from the affected "
        "clusters to allow these changes.")  # fmt: skip
    for one in gone:
        overrides.users[one.user].remove(one.account)
    _forget_associations(overrides, lambda one: (one.account, one.user) in pairs)
    users = sorted({*bare, *(one.user for one in gone)})
    left = [user for user in users if not overrides.users[user]]
    for user in left:
        del overrides.users[user]
        overrides.admin_levels.pop(user, None)
    change.commit()
    if not change.lists.keys() - {"admin_level", "default_account"}:
        change.lines = [" Deleting users...", *(f"  {user}" for user in users)]
        return
    change.lines = [" Deleting user associations...",
                    *(_of_user(change, one.account, one.user) for one in gone)]  # fmt: skip
    if left:
        change.lines += [" Deleting users (No Associations)...", *(f"  {user}" for user in left)]


#: fields of ended jobs that `sacctmgr modify job` sets to any text, by key
