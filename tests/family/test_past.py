"""sacct of a window, whose pages are kept, says what it says of the same jobs by their ids."""

from __future__ import annotations

from local_engine import LocalEngine


def test_what_is_kept_is_what_is_so(engine: LocalEngine) -> None:
    def submitted(*options: str) -> str:
        done = engine.run(["sbatch", "--parsable", "--wait", "-o/dev/null", "-Jpast", *options])
        return done.stdout.strip()

    ids = [submitted("--wrap=srun true; srun false"), submitted("-a0-2", "--wrap=exit 3"), submitted("--wrap=true")]
    for form in (["-l"], ["-P", "--format=ALL"], ["-X"], ["-n", "-o", "jobid,totalcpu%-9,state"], ["-X", "-sF"]):
        one_by_one = engine.run(["sacct", *form, "-j", ",".join(ids)]).stdout
        assert one_by_one.count("\n") > 1
        for _ in range(2):
            assert engine.run(["sacct", *form, "--name=past", "-Snow-1hour"]).stdout == one_by_one
    ids.append(submitted("--wrap=srun true"))
    again = engine.run(["sacct", "--name=past", "-Snow-1hour"]).stdout
    assert f"\n{ids[-1]}.0 " in again and again == engine.run(["sacct", "-j", ",".join(ids)]).stdout
    assert engine.run(["sacct", "-n", "--name=past", "-Snow-2hour", "-Enow-1hour"]).stdout == ""
