"""Login shells: the agent's commands stay first on PATH despite the shell's startup files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from .driver import BIN, Cluster

#: every startup file of every shell resets PATH
STARTUP = {
    ".profile": "export PATH=/usr/bin:/bin",
    ".bash_profile": "export PATH=/usr/bin:/bin",
    ".zshenv": "export PATH=/usr/bin:/bin",
    ".zlogin": "export PATH=/usr/bin:/bin",
    ".tcshrc": "set path = ( /usr/bin /bin )",
    ".config/fish/config.fish": "set -gx PATH /usr/bin /bin",
}
POSIX = 'echo "$0 $1 $2"; command -v srun; srun -l echo here; exit 3\n'
CSH = 'echo "$1 $2"\nwhich srun\nsrun -l echo here\nexit 3\n'
FISH = 'echo "$argv[1] $argv[2]"\nwhich srun\nsrun -l echo here\nexit 3\n'
SHELLS = [
    ("bash", "-l", POSIX),
    ("bash", "--login", POSIX),
    ("bash", "-lx", POSIX),
    ("bash", "", 'bash -lc "$(sed "1,/^#cut/d" "$0")" "$0" "$@"; exit\n#cut\n' + POSIX),
    ("sh", "-l", POSIX),
    ("dash", "-l", POSIX),
    ("ksh", "-l", POSIX),
    ("zsh", "-l", POSIX),
    ("zsh", "", POSIX),
    ("tcsh", "", CSH),
    ("csh", "", CSH),
    ("fish", "-l", FISH),
    ("fish", "", FISH),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, text in STARTUP.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return tmp_path


@pytest.mark.parametrize(("shell", "flag", "body"), SHELLS, ids=[f"{row[0]} {row[1]}".strip() for row in SHELLS])
def test_commands_are_found_in_a_login_shell(one: Cluster, home: Path, shell: str, flag: str, body: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    environment = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "SLURMSKY_PYTHON": sys.executable}
    script = f"#!{program} {flag}".rstrip() + "\n" + body
    event, text = one.run(script, argv=("a b", "c"), environment=environment)
    lines = [line for line in text.splitlines() if not line.startswith("+")]
    assert (event["state"], event["exit_code"]) == ("FAILED", 3), text
    assert lines[-3].endswith("a b c") and lines[-2] == f"{BIN}/srun" and lines[-1] == "0: here", text
    if body.startswith('echo "$0'):
        assert lines[-3].split(" ")[0].endswith("/slurm_script")
    assert "slurmsky" not in "".join(line for line in text.splitlines() if line.startswith("+ ") and "BASH" in line)


def test_a_callers_bash_env_is_read_and_path_is_unchanged_in_plain_shells(one: Cluster, tmp_path: Path) -> None:
    own = tmp_path / "mine.sh"
    own.write_text("MINE=yes\n")
    script = '#!/bin/bash -eux\necho "$MINE"\nPATH=/opt/tools:$PATH\nbash -c "echo \\$PATH" 2> /dev/null\n'
    _, text = one.run(script, environment={"PATH": "/usr/bin:/bin", "BASH_ENV": str(own)})
    lines = [line for line in text.splitlines() if not line.startswith("+")]
    assert lines[0] == "yes" and lines[1].startswith("/opt/tools:")


def test_a_job_without_path_stays_without(one: Cluster) -> None:
    _, text = one.run("#!/bin/sh\n/usr/bin/env\n", environment={})
    assert not [line for line in text.splitlines() if line.startswith(("PATH=", "BASH_ENV="))]


CONDA = """#!/bin/bash
echo 'conda() { [ "$1" = activate ] && PATH=/envs/$2/bin:$PATH && ENTERED=$2; }'
"""


def with_conda(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "condabin" / "conda"
    program.parent.mkdir()
    program.write_text(CONDA)
    program.chmod(0o755)
    (program.parent / "mamba").symlink_to("/bin/false")
    return {"PATH": f"/usr/bin:/bin:{program.parent}"}


@pytest.mark.parametrize("program", ["conda", "mamba"])
@pytest.mark.parametrize("line", ["#!/bin/bash", "#!/bin/bash -eu", "#!/bin/sh", "#!/usr/bin/env sh"])
def test_conda_activate_works_without_a_startup_file(one: Cluster, tmp_path: Path, line: str, program: str) -> None:
    script = f"{line}\n{program} activate fit\necho $ENTERED; echo $PATH | cut -d: -f1\n"
    _, text = one.run(script, environment=with_conda(tmp_path))
    assert text.splitlines() == ["fit", "/envs/fit/bin"]


def test_no_conda_function_without_conda(one: Cluster) -> None:
    _, text = one.run("#!/bin/bash\ncommand -v conda || echo none\n", environment={"PATH": "/usr/bin:/bin"})
    assert text == "none\n"


@pytest.mark.parametrize(
    ("body", "bash"),
    [("source /dev/null", True), ("[[ a = a ]] && :", True), ("cat <<< x >/dev/null", True), ("[ a = a ]", False)],
)
def test_a_script_for_sh_with_words_of_bash_is_run_by_bash(one: Cluster, body: str, bash: bool) -> None:
    """On most clusters sh is bash, as no dash is installed."""
    if Path("/bin/sh").resolve().name == "bash":
        pytest.skip("sh is bash here")
    script = f'#!/bin/sh -u\n{body}\necho "${{BASH_VERSION:+bash}}$1 $-"; echo "$0"; exit 4\n'
    event, text = one.run(script, argv=(" a",), environment={"PATH": "/usr/bin:/bin"})
    first, name = text.splitlines()
    assert event["exit_code"] == 4 and name.endswith("/slurm_script")
    assert first.startswith("bash a") == bash and "u" in first.split()[-1]
