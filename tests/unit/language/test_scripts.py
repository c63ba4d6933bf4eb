"""Batch scripts, srun's files and file names, compared with sbatch and srun 22.05."""

from __future__ import annotations

import pytest

from slurmsky.language import directives, exportspec, filename, formats, multiprog, other_schedulers
from slurmsky.language.directives import BadLine, ScriptError
from slurmsky.language.filename import FilenameValues
from slurmsky.language.multiprog import MultiProgError
from slurmsky.translate.shell import module_lines


@pytest.mark.parametrize(
    ("script", "first_line"),
    [
        (b"", "Batch script is empty!"),
        (b"   \n\n", "Batch script contains only whitespace!"),
        (b"\nX", "This does not look like a batch script.  The first"),
        (b" #!/bin/sh\n", "This does not look like a batch script.  The first"),
        (b"# /bin/sh\n:\n", "This does not look like a batch script.  The first"),
        (b"#!/bin/sh\n\0\0bin\n", "The Slurm controller does not allow scripts that"),
        (b"#!/bin/sh\r\necho\r\n", r"Batch script contains DOS line breaks (\r\n)"),
        (b"#!/bin/sh\0\r\n", "The Slurm controller does not allow scripts that"),
        (
            b"#!/bin/sh\n" + b"#" * 4 * 1024 * 1024,
            "Batch job submission failed: Pathname of a file, directory or other parameter too long",
        ),
    ],
)
def test_scripts_refused(script: bytes, first_line: str) -> None:
    with pytest.raises(ScriptError) as caught:
        directives.check(script)
    assert caught.value.lines[0] == first_line
    assert not caught.value.fatal


@pytest.mark.parametrize("script", [b"#!", b"#! /bin/sh\n", b"#!/no/such/interp", b"#!/bin/sh\n\xff\r"])
def test_scripts_taken(script: bytes) -> None:
    directives.check(script)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("-n1", ["-n1"]),
        ("\t-n\t2 ", ["-n", "2"]),
        ("-J a#b -n 2", ["-J", "a"]),
        ("-n1 # why", ["-n1"]),
        ("# -n1", []),
        ('-J "a#b" -n2', ["-J", "a#b", "-n2"]),
        (r"-J a\#b", ["-J", "a#b"]),
        ("""-J a"b c"d'e f'""", ["-J", "ab cde f"]),
        (r'-J "a\"b" -n2', ["-J", 'a"b', "-n2"]),
        (r"-J 'a\'b'", ["-J", "a'b"]),
        (r"-J a\\b", ["-J", r"a\b"]),
        (r"-J a\ b", ["-J", "a b"]),  # since 23.x; 22.05 splits here
        ('-J "" -n 2', ["-J"]),  # an empty word is taken for the end of the line
        ("-n2 \\", ["-n2"]),
        ('-J ":x" -n2', ["-J", ":x", "-n2"]),
        ("-J a:b", ["-J", "a:b"]),
        ("-n2 hetjob -J foo", ["-n2"]),
        ("-J hetjobs", ["-J", "hetjobs"]),
        ('-J "a hetjob b"', ["-J", "a hetjob b"]),
        ("-J $HOME ~ `x`", ["-J", "$HOME", "~", "`x`"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert directives.split(text) == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('-J "unclosed', 'Unmatched `"` in [ "unclosed]'),
        ("-J 'unclosed", "Unmatched `'` in [ 'unclosed]"),
        ('-J a"', 'Unmatched `"` in [ a"]'),
        (": -n1", "Unexpected `:` in [: -n1]"),
        ("-n2 : -J x", "Unexpected `:` in [ : -J x]"),
        ("-J a:b :c", "Unexpected `:` in [ :c]"),
    ],
)
def test_bad_lines(text: str, message: str) -> None:
    with pytest.raises(BadLine) as caught:
        directives.parse(b"#!/bin/sh\n#SBATCH " + text.encode(), "FILE")
    assert caught.value.lines == (f"FILE: line 2: {message}",)
    assert caught.value.fatal


def words_of(script: str) -> list[list[str]]:
    found = directives.parse(script.encode("utf-8", "surrogateescape"))
    return [[word.text for word in component] for component in found.components]


def test_directives_end_at_the_first_command() -> None:
    script = (
        "#!/bin/sh\n#SBATCH -n1\n #SBATCH -n2\n##SBATCH -n3\n# SBATCH -n4\n#sbatch -n5\n\n  # x\n"
        "#SBATCH-n6\n#SBATCHX\n#SBATCH\n  set -e\n#SBATCH -n7\n"
    )
    assert words_of(script) == [["-n1", "-n6", "X"]]
    assert words_of("#!/bin/sh\n#SBATCH -n1") == [["-n1"]]
    assert directives.parse(b"#!/bin/sh\n#\n#SBATCH -n1 -N2").components[0][1] == directives.DirectiveWord("-N2", 3)


def test_het_components() -> None:
    assert words_of("#!/bin/sh\n#SBATCH -n1\n#SBATCH HetJob\n#SBATCH -n2\n") == [["-n1"], ["-n2"]]
    # what follows the word on its line is lost, as in the real scanner
    assert words_of("#!/bin/sh\n#SBATCH -n1\n#SBATCH hetjob -n3\n") == [["-n1"], []]
    packed = directives.parse(b"#!/bin/sh\n#SBATCH packjob\n")
    assert packed.components == ((), ())
    assert packed.warnings == ('The "packjob" component separator is deprecated. Please use "hetjob" instead.',)


def test_the_old_word_is_accepted_with_one_warning() -> None:
    found = directives.parse(b"#!/bin/sh\n#SLURM -n1\n#SLURM -N1\n")
    assert [word.text for word in found.components[0]] == ["-n1", "-N1"]
    assert found.errors == ("Change from #SLURM to #SBATCH in your script and verify the options are valid in sbatch",)


def test_invalid_utf8_is_preserved() -> None:
    (words,) = words_of("#!/bin/sh\n#SBATCH -J \udcff\udcfe\n")
    assert words[1].encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            "#PBS -l nodes=2:ppn=3,walltime=01:00:00\n#PBS -N pb -W depend=afterok:1",
            "--nodes=2 --ntasks=6 --time=01:00:00 --job-name=pb --dependency=afterok:1",
        ),
        (
            "#PBS -l select=2:ncpus=4:mpiprocs=2",
            "--nodes=2 --mincpus=4 --ntasks-per-node=2 --cpus-per-task=2",
        ),
        ("#PBS -l nodes=n1+n2:ppn=2:gpus=1", "--gpus-per-node=1 --ntasks=2 --nodelist=n[1-2]"),
        ("#PBS -l mem=4gb,naccelerators=2,pmem=1gb", "--mem=4g --gres=gpu:2"),
        ("#PBS -m abe -M me@x -q batch -A acc -t 1-3", None),
        ("#PBS -j oe -V -k n -r y -S /bin/sh", ""),
        ("#PBS -v A=1,B -v C", "--export=A=1,B --export=A=1,B,C"),
        ("#PBS -h -W umask=022 -m n", "--hold --umask=022 --mail-type=NONE"),
        ("#BSUB -n 2,4 -W 10 -J bs -x", "--ntasks=4 --time=10 --job-name=bs --exclusive"),
        ('#BSUB -cwd /tmp -M 1000 -m "h1 h2"', "--chdir=/tmp --mem-per-cpu=1000K --nodelist=h1,h2"),
        ("#PBS -N a\n#BSUB -n 3", "--ntasks=3"),  # one family only, LSF's first
        ("echo", ""),
    ],
)
def test_directives_of_other_schedulers(lines: str, words: str | None) -> None:
    if words is None:
        words = "--mail-type=BEGIN,END,FAIL --mail-user=me@x --partition=batch --account=acc --array=1-3"
    assert " ".join(other_schedulers.parse(f"#!/bin/sh\n{lines}\n".encode()).words) == words


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("#PBS -Y", "Unrecognized command line parameter ?"),
        ("#PBS -N", "Unrecognized command line parameter ?"),
        ("#PBS -N a junk", "Invalid argument: junk"),
        ("#BSUB -n 2,", "#BSUB -n format not correct given: '2,'"),
    ],
)
def test_directives_of_other_schedulers_refused(line: str, message: str) -> None:
    with pytest.raises(other_schedulers.BadOtherDirective) as caught:
        other_schedulers.parse(f"#!/bin/sh\n{line}\n".encode())
    assert caught.value.lines == (message,)


SCRIPT = r"""#!/bin/bash
# module load commented
module purge
module load gcc/12.2 openmpi/4 > /dev/null 2>&1
module load a; module add b && ml c || module try-load "d e"
if true; then module load cuda/12.1; fi
f() { module switch gcc intel; }
cat <<EOF
module load nope
EOF
cat <<-'X' ; module use --append /opt/mods
	module load nope
	X
echo "module load nope"
echo 'module
module load nope
'
module load \
   x \
   y  # module load nope
ml
ml foo/1 -bar --force
module -q load $MOD $(cat list) "${V}x"
FOO=1 module unload q
case $x in a) module restore mycoll;; esac
module = 3
module
"""


def test_module_lines() -> None:
    assert [(found.line, str(found)) for found in module_lines.parse(SCRIPT)] == [
        (3, "module purge"),
        (4, "module load gcc/12.2 openmpi/4"),
        (5, "module load a"),
        (5, "module load b"),
        (5, "module load c"),
        (5, "module try-load d e"),
        (6, "module load cuda/12.1"),
        (7, "module swap gcc intel"),
        (11, "module use --append /opt/mods"),
        (18, "module load x y"),
        (21, "module list"),
        (22, "module unload --force bar"),
        (22, "module load --force foo/1"),
        (23, "module load -q $MOD $(cat list) ${V}x"),
        (24, "module unload q"),
        (25, "module restore mycoll"),
    ]


def test_module_lines_of_bytes_and_of_other_languages() -> None:
    assert module_lines.parse(b"#!/bin/csh\nmodule load a\xff\n")[0].names == ("a\udcff",)
    assert module_lines.parse("import module\nmodule.load('x')\nx = ml\n") == ()


# srun --multi-prog -l of a real Slurm, four tasks
MULTIPROG = """0 echo \\
 a b
1 echo '' x%t-%o"q r"%z \\%t 'a b'c
*  echo r%t o%o
"""


def test_multi_prog_files() -> None:
    program = multiprog.parse(MULTIPROG)
    assert [program.argv(rank) for rank in range(4)] == [
        ["echo", "", "a", "b"],
        ["echo", "", 'x1-0"q', 'r"', "%t", "a bc"],
        ["echo", "r2", "o2"],
        ["echo", "r3", "o3"],
    ]
    some = multiprog.parse("  # why\n\n0-1,3 echo %o\n")
    assert [some.argv(rank) for rank in range(4)] == [["echo", "0"], ["echo", "1"], None, ["echo", "2"]]
    assert some.missing(4) == 2 and some.missing(2) is None and multiprog.parse("").missing(1) == 0


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("0", 1, ""),
        ("x echo", 1, "Invalid task range specification (x)"),
        ("# a\n0-x echo", 2, "Invalid task range specification"),
        ("* echo\n1 echo", 2, "Task range specification with asterisk must be last"),
        ("1-0 echo", 1, "Invalid task range, 1-0"),
        ("0 echo\n1 echo 'a", 2, ""),
    ],
)
def test_multi_prog_files_refused(text: str, line: int, message: str) -> None:
    with pytest.raises(MultiProgError) as caught:
        multiprog.parse(text)
    assert (caught.value.pos, caught.value.message) == (line, message)


VALUES = FilenameValues(128, user="root", job_name="fp", array_job_id=120, array_task_id=11, node="vm")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        *(("%%", "%"), ("%A", "120"), ("%a", "11"), ("%b", "1"), ("%J", "128"), ("%j", "128"), ("%N", "vm")),
        *(("%n", "0"), ("%r", "0"), ("%s", "batch"), ("%t", "0"), ("%u", "root"), ("%x", "fp"), ("%z", "%z")),
        *(("%4j", "0128"), ("%10j", "0000000128"), ("%99j", "0000000128"), ("%05A", "00120"), ("%4x", "fp")),
        *((r"bs\%j.txt", "bs%j.txt"), (r"a\\%j", r"a\%j"), ("none", "/dev/null"), ("NONE", "/dev/null")),
        *(("%", "%"), ("a%", "a%"), ("%5", "%5"), ("%5%", "%5%"), ("", ""), ("a b-%j", "a b-128")),
    ],
)
def test_file_names(pattern: str, name: str) -> None:
    assert filename.expand(pattern, VALUES) == name


def test_file_names_of_steps_and_of_jobs_without_an_array() -> None:
    step = FilenameValues(128, step_id=0, node_id=1, task_id=7)
    assert filename.expand("%J.%s.%n.%3t.%A", step) == "128.0.0.1.007.128".replace("0.0.1", "0.0.1")
    assert filename.expand("%A_%a", FilenameValues(5)) == "5_4294967294"


def test_files_per_task_and_per_node() -> None:
    assert filename.is_per_task("o.%3t") and not filename.is_per_task("o.%%t") and not filename.is_per_task(r"\%t")
    assert filename.is_per_node("%N") and filename.is_per_node("%2n") and not filename.is_per_node("%j")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("%.18i %9P|%j", [("i", 18, True, " "), ("P", 9, False, "|"), ("j", 0, False, "")]),
        ("x%i", ["x", ("i", 0, False, "")]),
        ("abc%", ["abc"]),
        ("a%%b%j", ["a", ("b", 0, False, ""), ("j", 0, False, "")]),
        ("%5jx%.5jy", [("j", 5, False, "x"), ("j", 5, True, "y")]),
        ("%5.3j|", [(".", 5, False, "3j|")]),
        ("%-10j|", [("-", 0, False, "10j|")]),
        ("%10", [("", 10, False, "")]),
        ("%.5%|", [("", 5, True, ""), ("|", 0, False, "")]),
        ("", []),
        ("%", []),
    ],
)
def test_short_formats(text: str, columns: list[object]) -> None:
    found = [c if isinstance(c, str) else (c.name, c.width, c.right, c.suffix) for c in formats.parse_short(text)]
    assert found == columns


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("jobid:5,name:.5", [("jobid", 5, False, ""), ("name", 5, True, "")]),
        ("jobid:.5,name:6:x", [("jobid", 5, True, ""), ("name", 6, False, ":x")]),
        ("name:x", [("name", 0, False, "x")]),
        ("name:.8|,jobid:|", [("name", 8, True, "|"), ("jobid", 0, False, "|")]),
        ("jobid,,name", [("jobid", 20, False, ""), ("name", 20, False, "")]),
        ("JOBID:", [("JOBID", 0, False, "")]),
        ("", []),
    ],
)
def test_long_formats(text: str, columns: list[object]) -> None:
    assert [(c.name, c.width, c.right, c.suffix) for c in formats.parse_long(text)] == columns


def test_sacct_formats() -> None:
    found = formats.parse_sacct("JobID%20,State%-10,Elapsed,,jobname%.5,user%, account%0")
    assert [(c.name, c.width, c.right) for c in found] == [
        ("JobID", 20, True),
        ("State", 10, False),
        ("Elapsed", None, None),
        ("jobname", 0, True),
        ("user", 0, True),
        ("account", 0, True),
    ]


ENVIRONMENT = {"A": "a", "B": "b", "SLURM_J": "1", "SPANK_X": "2", "C": "c"}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("ALL", ENVIRONMENT),
        ("all,A=1", {**ENVIRONMENT, "A": "1"}),
        ("A=1,ALL", ENVIRONMENT),
        ("none", {"SLURM_J": "1", "SPANK_X": "2"}),
        ("", {"SLURM_J": "1", "SPANK_X": "2"}),
        ("A,NOSUCH,B=2", {"A": "a", "B": "2", "SLURM_J": "1", "SPANK_X": "2"}),
        ("A='x,y'", {"A": "'x,y'", "SLURM_J": "1", "SPANK_X": "2"}),
        ("'A=x,y',B", {"A": "x,y", "B": "b", "SLURM_J": "1", "SPANK_X": "2"}),
        ("A=1,A=2", {"A": "2", "SLURM_J": "1", "SPANK_X": "2"}),
    ],
)
def test_exported_variables(text: str, chosen: dict[str, str]) -> None:
    assert exportspec.parse(text).apply(ENVIRONMENT) == chosen


def test_export_words() -> None:
    assert exportspec.parse("NONE").none and not exportspec.parse("NONE,A").none
    assert exportspec.parse("x,All").all
    assert exportspec.parse("A=it's,B").unclosed == "A=it's,B"
