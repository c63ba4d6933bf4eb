"""Finds environment variables with credentials of this machine.

As under Slurm, a job's nodes receive the user's environment. Cloud nodes are other people's machines, and keys of this
machine's accounts are sent there only on the user's request: by name in --export (``--export=ALL,HF_TOKEN``), or in
``[sky] credentials`` of the site file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from ...language import exportspec
from ...model.spec import JobSpec

#: names of variables with a credential, or with the path of one
_NAMES = re.compile(
    r"""(?x)
    (AWS|AZURE|ARM_CLIENT|ALICLOUD|DIGITALOCEAN|HCLOUD|LINODE|OCI|OVH|SCW|VAULT|CLOUDSDK)_.+
    | GOOGLE_(APPLICATION_)?CREDENTIALS | GOOGLE_OAUTH.* | GCLOUD_.*KEY.* | KUBECONFIG | OS_.*PASSWORD
    | (.*_)?(TOKEN|API_?KEY|APIKEY|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|PAT|JWT)
    | (.*_)?(ACCESS_KEY|ACCESS_KEY_ID|(ACCOUNT|PRIVATE|SECRET|SIGNING|ENCRYPTION|AUTH|SSH)_KEY)
    | (.*_)?(SECRET|TOKEN|PASSWORD|CREDENTIALS?|API_KEY)_(FILE|PATH|ID|VALUE)
    | PGPASS(WORD|FILE) | MYSQL_PWD | NETRC | REDISCLI_AUTH | SSHPASS | (.*_)?(BASIC|PROXY)_AUTH
    | SKYPILOT_API_COOKIE_FILE
    """,
    re.IGNORECASE,
)
#: a URL with a password in it, as in DATABASE_URL or HTTPS_PROXY
_PASSWORD = re.compile(r"(?<=://)[^/@\s:'\"]*:[^/\s'\"]+@(?=[^@]*)")
_SWITCHES = frozenset(("", "0", "1", "true", "false", "yes", "no", "on", "off"))  # values that are no credentials
_SHOWN = 12  # maximum number of names in one line


def is_credential(name: str, value: str) -> bool:
    """Return whether a variable holds a credential or its file's path."""
    if value.lower() in _SWITCHES:
        return False
    return _NAMES.fullmatch(name) is not None or _PASSWORD.search(value) is not None


def redacted(text: str) -> str:
    """Remove the passwords of the URLs in a text.

    >>> redacted("no answer from https://me:pw@sky.example:46580/api")
    'no answer from https://***@sky.example:46580/api'
    """
    return _PASSWORD.sub("***@", text) if "://" in text else text


def left_out(environment: Mapping[str, str], spec: JobSpec, allowed: Iterable[str]) -> list[str]:
    """Names of the variables that are not sent. ``allowed``: patterns of the site file."""
    found = [name for name, value in environment.items() if is_credential(name, value)]
    if not found or spec.export_file:
        return []  # such a file names each variable, and the user wrote it for the job
    named = {name for name, _ in exportspec.parse(spec.export).items} if spec.export else set()
    patterns = tuple(allowed)
    return sorted(
        name for name in found if name not in named and not any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def line(names: list[str]) -> str:
    """One line that names the removed variables, or ""."""
    if not names:
        return ""
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"not sent to the cloud: {shown} (--export=ALL,{names[0]} or [sky] credentials of the site file sends it)"
