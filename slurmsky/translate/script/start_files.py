"""Recognizes files that scripts source to set up software."""

from __future__ import annotations

import re

_SITE_START = re.compile(
    r"(/lmod/|/modules?/|/Modules/|modules\.sh|lmod\.sh|z0\d_|/etc/profile|/init/(bash|sh|ksh|zsh)$|module_init|setup-env\.sh"
    r"|/bin/jobsetup$|/flight/etc/setup\.sh$)"
)
_CONDA_START = re.compile(r"(/etc/profile\.d/(conda|mamba)\.sh|(conda|forge|mamba)[\w.-]*/(\w+/)*bin/activate)$")
_SHELL_START = re.compile(r"/\.(bashrc|bash_profile|profile|zshrc|bash_login|kshrc)$")
#: start files of software, and the module that replaces each
_SOFTWARE = (
    (re.compile(r"/GMXRC(?:\.\w*sh)?$"), "gromacs"),
    (re.compile(r"/(?:mklvars|compilervars|setvars|psxevars|iccvars|ifortvars|mpivars)\.c?sh$"), "intel"),
    (re.compile(r"/(?:oneapi|intel)/(?:\S+/)?(?:vars|env)\.c?sh$"), "intel"),
    (re.compile(r"/thisroot\.c?sh$"), "root"),
    (re.compile(r"/geant4\.c?sh$"), "geant4"),
    (re.compile(r"/amber\.c?sh$"), "ambertools"),
    (re.compile(r"/OpenFOAM-[^/]+/etc/bashrc$", re.IGNORECASE), "openfoam"),
    (re.compile(r"/cuda[-/](?P<version>\d+\.\d+)[^/]*/setup\.sh$"), "cuda/"),
    (re.compile(r"/fsl\.c?sh$"), "fsl"),
    (re.compile(r"/(?:SetUpFreeSurfer|FreeSurferEnv)\.c?sh$"), "freesurfer"),
)


def software_of(path: str) -> str:
    """Module that a start file sets up, or ""."""
    for pattern, module in _SOFTWARE:
        match = pattern.search(path)
        if match:
            return module + match.groupdict().get("version", "")
    return ""


def start_role(path: str, arguments: bool) -> str:
    """Role of a sourced file, for ``places``."""
    if software_of(path):
        return "software"
    for role, pattern in (("conda", _CONDA_START), ("modules", _SITE_START), ("shell", _SHELL_START)):
        if pattern.search(path):
            return role
    if path.endswith("/bin/activate"):
        return "venv"
    return "conda" if arguments and path.endswith("/activate") else "read"
