"""sacctmgr load, in a controller of this process; the messages are those of sacctmgr 25.11."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from controller_in_process import ControllerInProcess
from memory_engine import MemoryEngine, Work
from memory_store import MemoryStore
from virtual_time import VirtualTimeLoop, run

from slurmsky.controller.app import Controller
from slurmsky.paths import StatePaths
from slurmsky.site import load

SITE = """
cluster = "tower"
[[node]]
names = "n[1-2]"
cpus = 4
[[partition]]
name = "debug"
default = true
nodes = "n[1-2]"
"""
FILE = """
QOS - 'normal':Description='Normal QOS default'
QOS - 'high':Priority=100:GrpTRES=cpu=10:Flags=DenyOnLimit:MaxJobsPU=3
Cluster - 'tower':Fairshare=1:QOS='normal'
Parent - 'root'
Account - 'cs':Description='Computer Science':Organization='LC':Fairshare=399:MaxJobs=4:GrpTRES=cpu=10
Parent - 'cs'
User - 'lipari':MaxTRESPerJob=node=2:MaxJobs=3:FairShare=1:QOS=+high:MaxWallDurationPerJob=60
Account - 'test':Description='Test Account':Organization='Test':Fairshare=2
Parent - 'test'
User - 'lipari':DefaultAccount='cs'
User - 'bob':AdminLevel=Operator:DefaultQOS=high:QOS=high
"""
ASSOCIATIONS = "account,user,share,grptres,maxjobs,maxtres,maxwall,qos,defaultqos,parentname"


class Cluster(ControllerInProcess):
    """A controller in virtual time, and a folder for the files."""

    def __init__(self, folder: Path, loop: VirtualTimeLoop) -> None:
        def now() -> float:
            return 1e9 + loop.time()

        self.work = folder
        (folder / "jobs").mkdir()
        environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
        self.queue = Controller(
            load(SITE, "site.toml"), StatePaths(folder), None, environment, now, store=MemoryStore(),
            local=lambda on_event: MemoryEngine(on_event, now, lambda launch: Work(600.0, 0)),
        )  # fmt: skip

    async def load(self, text: str, *words: str) -> tuple[int, str, str]:
        (self.work / "f.cfg").write_text(text)
        return await self.run("sacctmgr", "-i", "load", *words, str(self.work / "f.cfg"))

    async def state(self) -> list[str]:
        """What sacctmgr shows, without the associations of the user of this process."""
        shown = [("assoc", ASSOCIATIONS), ("user", "user,defaultaccount,admin"), ("account", "account,descr,org"),
                 ("qos", "name,prio,grptres,flags,maxjobspu")]  # fmt: skip
        lines = [await self.out("sacctmgr", "-nP", "show", what, f"format={fields}") for what, fields in shown]
        return sorted("".join(lines).splitlines())


Story = Callable[[Cluster], Awaitable[None]]
Play = Callable[[Story], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def play(story: Story) -> None:
        async def whole(loop: VirtualTimeLoop) -> None:
            cluster = Cluster(tmp_path, loop)
            await story(cluster)
            await cluster.queue.close()

        run(whole)

    return play


def test_a_file_adds_qos_accounts_and_users_once(play: Play) -> None:
    async def story(cluster: Cluster) -> None:
        code, out, _ = await cluster.load(FILE)
        assert code == 0
        titles = [line for line in out.splitlines() if line in ("QOS", "Accounts", "Users") or line.endswith("ions")]
        assert titles == ["QOS", "Accounts", "Account Associations", "Users", "User Associations"]
        assert "        cs     computer science                   lc" in out
        state = await cluster.state()
        assert {"cs|lipari|1||3|node=2|01:00:00|high,normal||", "test|bob|1||4|||high|high|", "lipari|cs|None",
                "bob|test|Operator", "cs|computer science|lc", "test||2||4|||high,normal||cs",
                "high|100|cpu=10|DenyOnLimit|3"} <= set(state)  # fmt: skip
        assert await cluster.load(FILE) == (0, "For cluster tower\n Nothing new added.\n", "")

    play(story)


def test_a_file_changes_what_differs_and_names_it(play: Play) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.load(FILE)
        code, out, _ = await cluster.load("""QOS - 'high':Priority=200:GrpTRES=cpu=12
Cluster - 'tower':Fairshare=3:MaxJobs=9
Account - 'cs':Description='CS':Fairshare=4:MaxJobs=5:Organization='X'
Parent - 'cs'
User - 'lipari':Fairshare=7:AdminLevel=Operator:DefaultAccount=test
""")
        assert (code, [line.rstrip() for line in out.splitlines()]) == (0, [
            "QOS",
            " Changed GrpTRES               for QOS     high           1=10 -> 1=12",
            " Changed Priority              for QOS     high            100 -> 200",
            "For cluster tower",
            " Changed fairshare             for Cluster tower             1 -> 3",
            " Changed MaxJobs               for Cluster tower            -1 -> 9",
            " No parent given creating off root, If incorrect specify 'Parent - name' before any children in your file",
            " Changed description           for Account cs         computer science -> cs",
            " Changed organization          for Account cs               lc -> x",
            " Changed fairshare             for Account cs              399 -> 4",
            " Changed MaxJobs               for Account cs                4 -> 5",
            " Changed Default Account       for User    lipari           cs -> test",
            " Changed Admin Level           for User    lipari         None -> Operator",
            " Changed fairshare             for User    lipari            1 -> 7",
        ])  # fmt: skip

    play(story)


def test_a_dump_restores_a_flushed_cluster(play: Play) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.load(FILE)
        before, dump = await cluster.state(), str(cluster.work / "dump.cfg")
        await cluster.run("sacctmgr", "dump", "tower", f"file={dump}")
        code, _, _ = await cluster.load("Cluster - 'tower'\nAccount - 'other'\n", "clean=account,user,qos")
        assert code == 0
        assert "bob" not in "".join(await cluster.state())
        assert (await cluster.run("sacctmgr", "-i", "load", "clean=account,user,qos", f"file={dump}"))[0] == 0
        assert await cluster.state() == before

    play(story)


def test_a_cluster_with_jobs_is_not_flushed(play: Play) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.load(FILE)
        await cluster.out("sbatch", "--wrap=true")
        before = await cluster.state()
        code, _, err = await cluster.load(FILE, "clean")
        assert (code, err.splitlines()[0]) == (1, " There was a problem removing the cluster.")
        assert await cluster.state() == before

    play(story)


FAILED = "Problem with requests: Unspecified error"


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("Account - 'x'\n", (), " You need to specify a cluster name first with 'Cluster - $NAME' in your file"),
        ("Cluster -\n", (), " Nothing after object name 'Cluster'. line(1)\n " + FAILED),
        ("Cluster - 'tower':Foo=3\n", (), f" Unknown option: Foo=3\n error: Problem with line(1)\n {FAILED}"),
        ("Cluster - 'tower':bar\n", (),
         f" Bad format on bar: End your option with an '=' sign\n error: Problem with line(1)\n {FAILED}"),
        ("Cluster - 'tower'\nCluster - 'b'\n", (), f" You can only add one cluster at a time.\n {FAILED}"),
        ("Cluster - 'tower'\nParent - 'no'\n", (),
         " line(2) You need to add this parent (no) as a child before you can add children to it."),
        ("Cluster - 'tower'\nThing - 'no'\n", (), f" Misformatted line(2): Thing - 'no'\n\n {FAILED}"),
        ("Cluster - 'tower'\nAccount - 'u':QOS=nono\n", (),
         "sacctmgr: error: You gave a bad qos 'nono'. Valid QOS's are normal\n Unknown option: QOS=nono\n"
         f" Problem with line(2)\n {FAILED}"),
        ("QOS - 'q':Priority=x\nCluster - 'tower'\n", (),
         "sacctmgr: error: Invalid value for Priority (x)\n Unknown option: Priority=x\n"
         f" Problem with line(1)\n {FAILED}"),
        ("QOS - 'q'\nQOS - 'q'\nCluster - 'tower'\n", (),
         f" Problem with line(2). QOS 'q' has multiple entries. Remove one to continue.\n {FAILED}"),
        ("Cluster - 'tower'\n", ("foo=1",), f" Unknown option: foo=1\n error: Problem with line(1)\n {FAILED}"),
        ("Cluster - 'other'\n", (), f" Problem adding cluster: Access/permission denied\n {FAILED}"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_refused_and_changes_nothing(
    play: Play, text: str, words: tuple[str, ...], message: str
) -> None:
    async def story(cluster: Cluster) -> None:
        before = await cluster.state()
        code, _, err = await cluster.load(text, *words)
        assert (code, err) == (1, f"{message}\n")
        assert await cluster.state() == before

    play(story)


def test_a_missing_file_is_named(play: Play) -> None:
    async def story(cluster: Cluster) -> None:
        answer = await cluster.run("sacctmgr", "-i", "load", "file=/nosuch")
        assert answer == (1, "", ' Unable to read "file=/nosuch": No such file or directory\n')
        answer = await cluster.run("sacctmgr", "-i", "load")
        assert answer == (1, "", " No filename given, specify one with file=''\n")
        answer = await cluster.run("sacctmgr", "-i", "load", "/nosuch", "file=b", "cluster=x", "cluster=y")
        assert answer == (1, "", " File name already set to /nosuch\n"
                          " Can only do one cluster at a time.  Already doing x\n"
                          ' Unable to read "/nosuch": No such file or directory\n')  # fmt: skip

    play(story)
