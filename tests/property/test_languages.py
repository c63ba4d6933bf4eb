"""Each language reads its own output; any text gives a value or an error.

Speed is held by sizes: texts far longer than any command line get an answer in a time that grows no
faster than they do.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.language import (
    acctgfreq,
    arrayspec,
    constraint,
    cpubind,
    cpufreq,
    dependency,
    directives,
    distribution,
    exportspec,
    filename,
    formats,
    gpubind,
    gres,
    hostlist,
    jobids,
    licenses,
    mailtype,
    membind,
    memory,
    multiprog,
    nodecount,
    other_schedulers,
    rlimits,
    signalspec,
    timelimit,
    timespec,
    userlist,
)
from slurmsky.language.syntax_errors import LanguageError
from slurmsky.translate.shell import module_lines

NOW = datetime(2026, 11, 21, 8, 20, 41, tzinfo=timezone.utc)


PARSERS: dict[str, Callable[[str], Any]] = {
    "acctgfreq": acctgfreq.parse,
    "arrayspec": arrayspec.parse,
    "constraint": constraint.parse,
    "cpubind": cpubind.parse,
    "cpufreq": cpufreq.parse,
    "dependency": dependency.parse,
    "directives": lambda text: directives.parse(b"#!/bin/sh\n#SBATCH " + text.encode("utf-8", "surrogatepass")),
    "directive-line": directives.split,
    "distribution": distribution.parse,
    "exportspec": exportspec.parse,
    "filename": filename.parse,
    "foreign-pbs": lambda text: other_schedulers.parse(b"#PBS " + text.encode("utf-8", "surrogatepass")),
    "foreign-pbs-l": lambda text: other_schedulers.parse(b"#PBS -l'" + text.encode("utf-8", "surrogatepass") + b"'"),
    "foreign-bsub": lambda text: other_schedulers.parse(b"#BSUB " + text.encode("utf-8", "surrogatepass")),
    "formats-short": formats.parse_short,
    "formats-long": formats.parse_long,
    "formats-sacct": formats.parse_sacct,
    "gpubind": gpubind.parse,
    "gres": gres.parse,
    "gres-gpus": gres.parse_gpus,
    "hostlist": hostlist.expand,
    "jobids": jobids.parse,
    "jobids-split": jobids.split,
    "licenses": licenses.parse,
    "mailtype": mailtype.parse,
    "membind": membind.parse,
    "memory": memory.parse_mib,
    "modulelines": module_lines.parse,
    "modulelines-load": lambda text: module_lines.parse("module load " + text),
    "multiprog": multiprog.parse,
    "nodecount": nodecount.parse,
    "rlimits": rlimits.parse,
    "signalspec": signalspec.parse,
    "signal": signalspec.parse_signal,
    "timelimit": timelimit.parse,
    "timespec": lambda text: timespec.parse(text, NOW),
    "userlist": userlist.parse,
}


# Every character and word that means something to some language, in any order, and then anything at all.
PIECES = [
    *"0123456789 ,;:|&?%*+-_./\\'\"#@=()[]{}<>$`~!^\t\n\r\0\x1cx²٣é\udc80",
    *(
        "n1",
        "n[1-3",
        "a100",
        "gpu",
        "afterok:",
        "singleton",
        "UNLIMITED",
        "now+",
        "tomorrow",
        "2030-01-01",
        "T",
    ),
    *(
        "12:30",
        "pm",
        "uts",
        "hetjob",
        "%j",
        "%.18i",
        "ALL",
        "NONE",
        "map_cpu:",
        "plane=",
        "99999999999999999999",
    ),
    *(
        "module",
        "ml",
        "<<EOF\n",
        "$(",
        "${",
        "nodes=",
        "ppn=",
        "walltime=",
        "(x",
        "1k",
        "batch",
        "USR1",
        "verbose,",
    ),
]


TEXT = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join),
    st.lists(st.one_of(st.sampled_from(PIECES), st.characters()), max_size=12).map("".join),
)


@pytest.mark.parametrize("name", PARSERS)
@given(text=TEXT)
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    try:
        PARSERS[name](text)
    except LanguageError as exc:
        assert type(exc) is not LanguageError
        assert isinstance(exc.text, str) and isinstance(exc.pos, int)
        str(exc)


LONG = [
    *(
        "1",
        "0",
        "a",
        ",",
        " ",
        "[",
        "]",
        "(",
        "%",
        "'",
        '"',
        "\\",
        "-",
        ":",
        "+",
        "n[1-2]",
        "n[1-60000],",
        "1-2,",
    ),
    *(
        "a,",
        "1-1000:2,",
        "%j",
        "afterok:1,",
        "afterok:1_[1-9999],",
        "now+",
        "${",
        "$(",
        "`",
        "<<a\n",
        "hetjob ",
        "x=1,",
    ),
    *(
        "\\\n",
        "0*4096,",
        "map_cpu:0*4096,",
        "1(x999999),",
        "a&",
        "a|",
        "1_[0-4000000],",
        "1-16000,",
        "module load a\n",
    ),
]


@pytest.mark.parametrize("name", PARSERS)
def test_long_texts_take_linear_time(name: str) -> None:
    """15 kB of one repeated piece: a linear parser needs about a quarter of a second."""
    parse = PARSERS[name]
    gc.disable()  # a worker's heap holds thousands of tests: a collection is not the reader's time
    try:
        for piece in LONG:
            text = piece * (15_000 // len(piece))
            started = time.process_time()
            try:
                parse(text)
            except LanguageError:
                pass  # an answer too; what counts here is when it comes
            took = time.process_time() - started
            assert took < 0.8, f"{name} took {took:.1f} s for {piece!r} over and over"
    finally:
        gc.enable()
