"""Changes by sacctmgr, in a controller of this process."""

from __future__ import annotations

import asyncio
import getpass
import os
from functools import partial

import pytest
from memory_world import Play, World

SITE = """
accounts = ["root"]
[[node]]
names = "n[1-2]"
cpus = 4
[[partition]]
name = "debug"
default = true
nodes = "n[1-2]"
[parameters]
AccountingStorageEnforce = "associations,limits,qos,safe"
EnforcePartLimits = "ALL"
"""


@pytest.fixture
def play(play: Play) -> Play:
    """Play with accounts that the controller enforces."""
    return partial(play, site=SITE)


def test_a_deleted_qos_leaves_accounts_and_other_qos(play: Play) -> None:
    async def story(cluster: World) -> None:
        await cluster.manage("add qos q1,q2,q3")
        await cluster.manage("modify qos q3 set preempt=q1,q2")
        await cluster.manage("add account lab")
        await cluster.manage("modify account lab set qos=q1,q2,q3 defaultqos=q2")
        await cluster.manage("delete qos q2")
        assert await cluster.manage("-nP show assoc account=lab format=qos,defaultqos") == "q1,q3|\n" * 2
        assert await cluster.manage("-nP show qos q3 format=preempt") == "q1\n"

    play(story)


def test_a_pending_job_of_a_deleted_qos_never_starts(play: Play) -> None:
    async def story(cluster: World) -> None:
        await cluster.manage("add qos q1")
        await cluster.submit("-qq1", "--begin=now+1")
        await cluster.manage("delete qos q1")
        await asyncio.sleep(2)
        assert await cluster.out("squeue", "-ho", "%T %r") == "PENDING InvalidQOS\n"

    play(story)


def test_enforced_associations_refuse_unknown_accounts(play: Play) -> None:
    async def story(cluster: World) -> None:
        answer = await cluster.run("sbatch", "-A", "nosuch", "--wrap=true")
        refused = (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
        )
        assert answer == (1, "", refused + "\n")

    play(story)


@pytest.mark.parametrize(
    ("option", "refusal"),
    [
        ("-N3", "Node count specification invalid"),
        ("-N650000", "More processors requested than permitted"),
        ("-n9", "More processors requested than permitted"),
    ],
)
def test_part_limits_refuse_too_many_cpus_before_too_many_nodes(play: Play, option: str, refusal: str) -> None:
    async def story(cluster: World) -> None:
        answer = await cluster.run("sbatch", option, "--wrap=true")
        assert answer == (1, "", f"sbatch: error: Batch job submission failed: {refusal}\n")

    play(story)


@pytest.mark.parametrize(
    ("entity", "limit", "reason"),
    [
        ("qos normal", "GrpTRESMins=cpu=20", "QOSGrpCPUMinutesLimit"),
        ("qos normal", "GrpWall=5", "QOSGrpWallLimit"),
        ("account root", "GrpTRESMins=node=10", "AssocGrpNodeMinutes"),
        ("account root", "GrpTRESMins=billing=20", "AssocGrpBillingMinutes"),
        ("user root", "GrpCPUMins=20", "AssocGrpCPUMinutesLimit"),
        ("account root", "GrpTRESMins=cpu=22", "None"),
    ],
)
def test_jobs_wait_once_the_minutes_of_all_jobs_are_used(play: Play, entity: str, limit: str, reason: str) -> None:
    async def story(cluster: World) -> None:
        await cluster.submit("-c2")  # ten minutes on one node: 20 CPU minutes
        await asyncio.sleep(700)
        await cluster.manage(f"modify {entity} set {limit}")
        await cluster.submit("-t1", "-c2")
        await asyncio.sleep(5)
        assert (await cluster.out("squeue", "-h", "-o", "%r")).strip() == reason

    play(story)


def test_safe_limits_let_no_job_start_that_could_exceed_them(play: Play) -> None:
    async def story(cluster: World) -> None:
        await cluster.manage("modify account root set GrpTRESMins=cpu=30")
        await cluster.submit("-t10", "-c2")
        await cluster.submit("-t10", "-c2")
        await asyncio.sleep(5)
        assert (await cluster.out("squeue", "-h", "-o", "%T %r")).splitlines() == [
            "PENDING AssocGrpCPUMinutesLimit", "RUNNING None"]  # fmt: skip

    play(story)


def test_sacctmgr_shows_transactions_by_their_short_name_and_its_configuration(play: Play) -> None:
    async def story(cluster: World) -> None:
        assert (await cluster.run("sacctmgr", "-n", "show", "txn"))[::2] == (0, "")
        _, out, err = await cluster.run("sacctmgr", "-v", "show", "config")
        assert err == "sacctmgr: accounting_storage/slurmdbd: init: Accounting storage SLURMDBD plugin loaded\n"
        assert out.splitlines()[1:3] == ["AccountingStorageBackupHost  = (null)", "AccountingStorageHost  = localhost"]
        assert out.splitlines()[-1] == "TrackWCKey             = No"

    play(story)


def test_a_reservation_refuses_unknown_users(play: Play) -> None:
    """Source: the answers of Slurm 25.11."""

    async def story(cluster: World) -> None:
        made = ("reservation", "reservationname=r", "starttime=now+1hour", "duration=5", "nodes=n1")
        error = "Error creating the reservation: Unspecified error\n"
        assert await cluster.run("scontrol", "create", *made, "users=nosuch") == (1, "", error)
        assert (await cluster.run("scontrol", "create", *made, "users=root"))[0] == 0
        for change in ("users=nosuch", "users+=nosuch", "users-=nosuch", "users=-nosuch"):
            found = await cluster.run("scontrol", "update", "reservation=r", change)
            assert found == (1, "", "slurm_update error: Invalid user id\n"), change

    play(story)


def test_a_reservation_is_checked_after_the_other_options(play: Play) -> None:
    async def story(cluster: World) -> None:
        _, _, err = await cluster.run("sbatch", "--reservation=nosuch", "-wn9", "--wrap=true")
        assert err == "sbatch: error: Batch job submission failed: Invalid node name specified\n"
        _, _, err = await cluster.run("sbatch", "--reservation=nosuch", "--wrap=true")
        assert err == "sbatch: error: Batch job submission failed: Requested reservation is invalid\n"

    play(story)


@pytest.mark.parametrize(
    ("option", "warning"),
    [
        ("-C=x", "sbcast: error: Compression type '=x' unknown, disabling compression support."),
        ("--send-libs=x", "sbcast: error: Ignoring unrecognized --send-libs value 'x'"),
        ("-sx", "size specification is invalid, ignored"),
        ("-s1K", ""),
    ],
)
def test_sbcast_warns_before_it_refuses(play: Play, option: str, warning: str) -> None:
    async def story(cluster: World) -> None:
        _, _, err = await cluster.run("sbcast", option, "file")
        refusal = 'Need two file names, have 1 names\nTry "sbcast --help" for more information\n'
        assert err == (f"{warning}\n" if warning else "") + refusal

    play(story)


def test_an_account_inherits_the_qos_of_its_parent(play: Play) -> None:
    async def story(cluster: World) -> None:
        await cluster.manage("add qos q1,q2")
        await cluster.manage("add account lab qos=q1 defaultqos=q1")
        await cluster.manage("add account team parent=lab")
        shown = "-nP show assoc account=team format=qos,defaultqos"
        assert await cluster.manage(shown) == "q1|q1\n" * 2
        _, _, err = await cluster.run("sbatch", "-A", "team", "--qos=q2", "--wrap=true")
        assert err == "sbatch: error: Batch job submission failed: Invalid qos specification\n"
        await cluster.manage("modify account team set qos+=q2")
        assert await cluster.manage(shown) == "q1,q2|q1\n" * 2
        await cluster.out("sbatch", "-A", "team", "--qos=q2", "--wrap=true")

    play(story)


@pytest.mark.parametrize(
    ("typed", "answer", "kept"),
    [
        ("y\n", "(N/y): \n", True),
        ("n\n", "(N/y): \n Changes Discarded\n", False),
        ("\n", "(N/y): \n Changes Discarded\n", False),
        ("xY", "(N/y): \nY or N please\n(N/y): \n", True),
        ("", "(N/y): \nerror: Inappropriate ioctl for device\n Changes Discarded\n", False),
        (None, "(N/y): timeout\n Changes Discarded\n", False),
    ],
)
def test_sacctmgr_commits_a_change_after_a_yes(play: Play, typed: str | None, answer: str, kept: bool) -> None:
    async def story(cluster: World) -> None:
        code, out, err = await cluster.run("sacctmgr", "add", "account", "lab", typed=typed)
        question = "Would you like to commit changes? (You have 30 seconds to decide)\n"
        assert (code, out.partition(question)[2], err) == (0, answer, "")
        assert out.startswith(" Adding Account(s)\n  lab\n")
        assert await cluster.manage("-nP show account lab format=account") == "lab\n" * kept

    play(story)


def test_sacctmgr_asks_before_it_changes_all_records(play: Play) -> None:
    async def story(cluster: World) -> None:
        words = ("sacctmgr", "modify", "qos", "set", "priority=7")
        shown = "-nP show qos normal format=priority"
        code, out, _ = await cluster.run(*words, typed="n\n")
        assert (code, out.splitlines()[0], out.splitlines()[-1]) == (
            0, "You didn't set any conditions with 'WHERE'.", "Aborted")  # fmt: skip
        assert await cluster.manage(shown) == "0\n"
        await cluster.run(*words, typed="y\ny\n")
        assert await cluster.manage(shown) == "7\n"

    play(story)


def test_a_change_of_jobs_waits_for_the_yes(play: Play) -> None:
    async def story(cluster: World) -> None:
        await cluster.submit("--comment=a")
        await asyncio.sleep(700)
        for typed, comment in (("n\n", "a\n"), ("y\n", "b\n")):
            await cluster.run("sacctmgr", "modify", "job", "1", "set", "comment=b", typed=typed)
            assert await cluster.out("sacct", "-nXP", "-j1", "-ocomment") == comment

    play(story)


def test_sacctmgr_keeps_the_default_account_of_a_user_with_others(play: Play) -> None:
    async def story(cluster: World) -> None:
        await cluster.manage("add account lab,team")
        await cluster.manage("add user ada account=lab,team defaultaccount=lab")
        refusal = (" Error with request: You can not remove the default account of a user\n"
                   f"  C = {cluster.queue.job_table.cluster.name:<15} A = lab        U = ada      \n")  # fmt: skip
        for line, advice in (
            ("delete user ada account=lab",
             " You must change the default account of these users or remove the users completely from the affected "
             "clusters to allow these changes.\n"),
            ("delete account lab",
             " Please either remove the accounts listed above from list and resubmit,\n"
             " or change these users' default accounts to remove the account(s).\n"),
        ):  # fmt: skip
            answer = await cluster.run("sacctmgr", "-i", *line.split())
            assert answer == (1, "", refusal + advice + " Changes Discarded\n")
        await cluster.manage("delete account lab,team")
        await cluster.manage("delete user ada")

    play(story)


def test_deleting_an_account_of_a_cluster_deletes_its_associations_alone(play: Play) -> None:
    """Recorded with the real sacctmgr."""

    async def story(cluster: World) -> None:
        name = cluster.queue.job_table.cluster.name
        await cluster.manage("add account lab description=d1")
        await cluster.manage("add user ada account=lab")
        assert await cluster.run("sacctmgr", "-i", "delete", "account", "lab", "cluster=nosuch") == (
            1, " Nothing deleted\n", "")  # fmt: skip
        assert await cluster.manage(f"delete account lab cluster={name}") == (
            f" Deleting account associations...\n  C = {name:<10} A = lab of root\n"
            f"  C = {name:<10} A = lab        U = ada      \n")  # fmt: skip
        assert await cluster.manage("-nP show account lab") == "lab|d1|lab\n"
        assert await cluster.manage("-nP show assoc account=lab format=account,user") == ""
        assert await cluster.manage("-nP show user ada") == "ada||None\n"
        again = await cluster.run("sacctmgr", "-i", "delete", "account", "lab", f"cluster={name}")
        assert again == (1, " Nothing deleted\n", "")
        _, _, err = await cluster.run("sbatch", "-A", "lab", "--wrap=true")
        assert "Invalid account or account/partition combination specified" in err
        assert await cluster.manage("add account lab") == f" Associations =\n  C = {name:<10} A = {'lab':<20}\n"
        assert await cluster.manage("-nP show account lab") == "lab|d1|lab\n"
        await cluster.manage(f"delete account lab cluster={name}")
        assert await cluster.manage("delete account lab") == " Deleting accounts...\n  lab\n"
        assert await cluster.manage("-nP show account lab") == ""

    play(story)


@pytest.mark.parametrize("words", ["q1 q2", "name=q1 q2", "where names=q1 name=q2", "q1,q2"])
def test_sacctmgr_shows_all_names_that_it_is_given(play: Play, words: str) -> None:
    async def story(cluster: World) -> None:
        await cluster.manage("add qos q1,q2,q3")
        assert await cluster.manage(f"-nP show qos {words} format=name") == "q1\nq2\n"

    play(story)


def test_the_qos_of_a_user_override_those_of_the_account(play: Play) -> None:
    async def story(cluster: World) -> None:
        user = getpass.getuser()
        await cluster.manage("add qos q1,q2")
        await cluster.manage("add account lab qos=q1 defaultqos=q1")
        assert " QOS" in await cluster.manage(f"add user {user} account=lab qos=q2 defaultqos=q2")
        shown = f"-nP show assoc account=lab user={user} format=qos,defaultqos"
        assert await cluster.manage(shown) == "q2|q2\n"
        _, _, err = await cluster.run("sbatch", "-A", "lab", "--qos=q1", "--wrap=true")
        assert err == "sbatch: error: Batch job submission failed: Invalid qos specification\n"
        await cluster.submit("-A", "lab")
        assert (await cluster.out("squeue", "-h", "-o", "%q")) == "q2\n"
        await cluster.manage(f"modify user {user} where account=lab set qos+=q1")
        assert await cluster.manage(shown) == "q1,q2|q2\n"
        await cluster.manage("delete qos q2")
        assert await cluster.manage(shown) == "q1|q1\n"

    play(story)


#: the lines of the real sacctmgr after the same commands, without the cluster's own user; 22.05
#: omits the QOS, whose lines are those of 25.11's file_print_qos
DUMPED = """\
QOS - 'normal':Description='Normal QOS default'
QOS - 'long':Description='long':Flags='DenyOnLimit':MaxTRESPerUser=cpu=6:MaxWallDurationPerJob=4320:Priority=10
Cluster - 'local':Fairshare=1:QOS='normal'
Parent - 'root'
Account - 'phys':Description='physics dept':Organization='science':Fairshare=1:GrpJobs=9:QOS='long,normal'
Parent - 'phys'
User - 'bob':DefaultAccount='phys':AdminLevel='Operator':DefaultQOS='long':Fairshare=1:QOS='long,normal'
Account - 'theo':Description='theo':Organization='phys':Fairshare=7:GrpTRES=cpu=12,mem=8G:MaxJobs=3:\
MaxWallDurationPerJob=1560
Parent - 'theo'
User - 'alice':DefaultAccount='theo':Fairshare=2147483647:MaxJobs=2
User - 'bob':DefaultAccount='phys':AdminLevel='Operator':DefaultQOS='long':Fairshare=1:QOS='long,normal'
"""


def test_dump_writes_the_file_of_the_real_sacctmgr(play: Play) -> None:
    async def story(cluster: World) -> None:
        await cluster.manage("add qos long priority=10 maxwall=3-0 maxtresperuser=cpu=6 flags=denyonlimit")
        await cluster.out(
            "sacctmgr", "-i", "add", "account", "phys", "description='physics dept'", "organization=science"
        )
        await cluster.manage("add account theo parent=phys fairshare=7 maxjobs=3 grptres=cpu=12,mem=8G maxwall=1-2:00")
        await cluster.manage("add user alice account=theo maxjobs=2 fairshare=parent")
        await cluster.manage(
            "add user bob account=phys,theo defaultaccount=phys adminlevel=operator qos=long,normal defaultqos=long"
        )
        await cluster.manage("modify account phys set qos=normal,long grpjobs=9")
        name = cluster.queue.job_table.cluster.name
        code, out, err = await cluster.run("sacctmgr", "dump", name)
        assert (code, out) == (0, f" No filename given, using ./{name}.cfg.\n")
        lines = (cluster.work / f"{name}.cfg").read_text().splitlines(keepends=True)
        own = f"User - '{getpass.getuser()}'"
        body = "".join(line for line in lines if line[0] != "#" and not line.startswith(own))
        assert body.replace(name, "local") == DUMPED
        assert "sacctmgr: Account - 'phys':Description='physics dept'" in err

    play(story)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("", " We need a cluster to dump.\n"),
        ("nope", " Cluster nope doesn't exist.\n"),
        ("a b", " Can only do one cluster at a time.  Already doing a\n Cluster a doesn't exist.\n"),
        ("a wurst=3", " Unknown option: wurst=3\n Cluster a doesn't exist.\n"),
        ("a file=b file=c", " File name already set to b\n Cluster a doesn't exist.\n"),
    ],
)
def test_dump_refuses_in_the_words_of_the_real_sacctmgr(play: Play, words: str, refusal: str) -> None:
    async def story(cluster: World) -> None:
        assert await cluster.run("sacctmgr", "dump", *words.split()) == (1, "", refusal)

    play(story)


def test_dump_to_a_pipe_without_a_reader_does_not_block_the_controller(play: Play) -> None:
    async def story(cluster: World) -> None:
        pipe = cluster.work / "pipe"
        os.mkfifo(pipe)
        name = cluster.queue.job_table.cluster.name
        problem = f"Can't open file {pipe}, No such device or address\n"
        assert await cluster.run("sacctmgr", "dump", name, f"file={pipe}") == (1, "", problem)

    play(story)


def test_a_job_cancelled_while_held_never_gets_the_limit_of_its_partition(play: Play) -> None:
    async def story(cluster: World) -> None:
        await cluster.submit("-H")
        await cluster.submit("-H", "-t5")
        shown = ("sacct", "-nPX", "-j1,2", "-o", "timelimit,timelimitraw,state")
        limits = "Partition_Limit|Partition_Limit|{0}\n00:05:00|5|{0}\n"
        assert await cluster.out(*shown) == limits.format("PENDING")
        await cluster.out("scancel", "--me")
        assert await cluster.out(*shown) == limits.format("CANCELLED by %d" % os.getuid())

    play(story)


NO_DEVICES = "error: Invalid generic resource (gres) specification\n"
NO_ERROR = "allocation failure: No error\n"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("sbatch --gres=nosuch:1 --wrap=true", "sbatch: " + NO_DEVICES),
        ("srun --gres=nosuch:1 true", "srun: " + NO_DEVICES + NO_ERROR),
        ("srun --gpus=1 --gres=nosuch:1 true", "srun: " + NO_DEVICES + NO_ERROR),
        ("sbatch -p nosuch --wrap=true",
         "sbatch: error: invalid partition specified: nosuch\nallocation failure: Invalid partition name specified\n"),
    ],
)  # fmt: skip
def test_test_only_is_refused_by_the_command_or_by_the_controller(play: Play, words: str, answer: str) -> None:
    async def story(cluster: World) -> None:
        command, *rest = words.split()
        assert await cluster.run(command, "--test-only", *rest) == (1, "", answer)

    play(story)


def test_quiet_test_only_prints_nothing(play: Play) -> None:
    async def story(cluster: World) -> None:
        assert await cluster.run("sbatch", "--test-only", "-Q", "--wrap=true") == (0, "", "")
        _, _, err = await cluster.run("sbatch", "--test-only", "--wrap=true")
        assert " to start at " in err

    play(story)
