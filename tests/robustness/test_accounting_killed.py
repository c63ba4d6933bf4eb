"""Queries by the accounting index and the accounting cache give the same result after kill -9."""

from __future__ import annotations

from typing import Any

from polling import wait_for

from .conftest import Engine

SINCE = "-Snow-1hour"


def test_accounting_outlives_the_controller(engine: Engine, run: Any) -> None:
    def sbatch(*words: str, leaves: int = 0) -> str:
        code, out, err = run("sbatch", "--parsable", "-o/dev/null", *words)
        assert code == leaves, err
        return str(out).strip()

    def ids(*words: str) -> list[str]:
        code, out, err = run("sacct", "-X", "-n", "-P", "-oJobID", SINCE, "-Enow+1hour", *words)
        assert code == 0, err
        return sorted(out.split())

    def sums() -> str:
        # Of ended jobs: a running job counts from its first whole second.
        those = f"jobs={','.join(over)}"
        code, out, err = run("sreport", "-nP", "job", "sizesbyaccount", "printjobcount", those,
                             "start=now-1hour", "end=now+1hour")  # fmt: skip
        assert code == 0, err
        return str(out)

    over = [sbatch("--wait", "-Jover", "--wrap=srun sleep 1"), sbatch("--wait", "-Jover", "--wrap=sleep 1")]
    again = sbatch("-Jagain", "--requeue", "-N2", "--exclusive", "--wrap=sleep 1000")
    wait_for(lambda: run("squeue", "-h", "-tR", "-oX", f"-j{again}")[1] == "X\n")
    waits = sbatch("-Jwaits", "--wrap=sleep 1000")
    long = ("sacct", "-l", "-P", SINCE, "--name=over")
    before, counted = run(*long)[1], sums()
    assert before.count("\n") > 5 and counted
    assert ids("--name=over") == ids("-sCD") == sorted(over)

    engine.kill_controller()
    assert run(*long)[1] == before and sums() == counted
    assert ids("--name=waits") == [waits]
    assert run("scontrol", "update", f"job={waits}", "name=renamed")[0] == 0
    assert run("scontrol", "requeuehold", again)[0] == 0
    wait_for(lambda: run("squeue", "-h", "-oX", "-tPD", f"-j{again}")[1] == "X\n")
    engine.kill_controller()
    assert ids("--name=waits") == [] and ids("--name=renamed") == [waits]
    assert ids("--name=again", "-D").count(again) >= 1 and ids("--name=again,over", "-sCD") == sorted(over)
    assert run("scancel", again, waits)[0] == 0
    # A run that was requeued could not have started for a moment, and is not seen before.
    wait_for(lambda: again in ids("--name=again", "-sCA", "-D"))
    more = sbatch("--wait", "-Jover", "--wrap=exit 4", leaves=4)
    assert ids("--name=over", "-sF") == [more] and ids("--name=over") == sorted([*over, more])
    engine.kill_controller()
    assert ids("--name=over", "-sF") == [more] and run(*long)[1].startswith(before)
    assert engine.faults() == []
    run("scancel", "--me")
