"""Files with credentials in a user's home folder; for Python 3.9.

They are not shipped to the cloud with a submit folder, and not sent back. They are identified by device and inode,
regardless of names and links.
"""

from __future__ import annotations

import os
import stat
from typing import Iterable, Iterator, List, Optional, Sequence, Set, Tuple


def _words(text: str) -> Tuple[str, ...]:
    return tuple(text.split())


#: paths in a home folder that hold credentials, of clouds and of common tools; the most common first
CREDENTIALS = _words(
    """
    .ssh .gnupg .password-store .vault-token .netrc .git-credentials .config/git/credentials .config/gh .config/hub
    .config/glab-cli .config/op .config/sops .age .1password .local/share/keyrings .pki
    .aws .azure .boto .s3cfg .config/gcloud .gsutil .oci .ibm .bluemix .kube .minikube .sky .lambda_cloud .runpod
    .paperspace .vast_api_key .config/vastai .fluidstack .nebius .cloudflare .config/.wrangler .coreweave .cwconfig
    .config/cudo .config/doctl .config/hcloud .config/openstack .config/linode-cli .config/scw .scp .vsphere .prime
    .hyperbolic .seeweb_cloud .shadeform .mithril .together .modal.toml .config/flyctl .fly .pulumi .terraform.d
    .terraformrc .config/rclone .rclone.conf .databrickscfg .snowsql .snowflake
    .docker .config/containers .singularity .apptainer .ngc .config/enroot .npmrc .yarnrc.yml .pypirc .config/pip
    .pip .config/pypoetry .condarc .conda/.condarc .cargo/credentials .cargo/credentials.toml .gem/credentials
    .m2/settings.xml .gradle/gradle.properties .composer/auth.json .config/composer .bundle/config .nuget
    .huggingface .cache/huggingface/token .cache/huggingface/stored_tokens .kaggle .config/kaggle .comet.config
    .config/wandb .config/openai .openai .anthropic .config/anthropic .claude .codex .gemini
    .pgpass .my.cnf .mylogin.cnf .mongorc.js .config/psql .cassandra .msmtprc .mailrc .fetchmailrc .s3ql
    .globus .globusonline .krb5 .x509up .Xauthority .ICEauthority .mozilla .thunderbird .config/google-chrome
    .config/chromium .config/BraveSoftware .bash_history .zsh_history .python_history .psql_history .mysql_history
    .node_repl_history .lesshst
    """
)
#: folders of a home folder that no job needs: large, and specific to the machine
MACHINE = frozenset((".config", ".cache", ".local"))

_CREDENTIALS = frozenset(CREDENTIALS)

Inode = Tuple[int, int]

_MAX_ENTRIES = 5_000  # entries of private folders that are read to find files with other names


def _inode(metadata: os.stat_result) -> Inode:
    return metadata.st_dev, metadata.st_ino


class Private:
    """Private files in some home folders. ``others``: further folders that are treated as private."""

    def __init__(self, homes: Iterable[str], others: Iterable[str] = ()) -> None:
        self.homes: Set[Inode] = set()
        self.inodes: Set[Inode] = set()  # of credentials
        self.machine: Set[Inode] = set()  # of MACHINE folders
        self._folders: List[str] = []
        for home in homes:
            self._add(home, self.homes)
            for name in CREDENTIALS:
                path = os.path.join(home, name)
                if self._add(path, self.inodes):
                    self._folders.append(path)
            for name in MACHINE:
                self._add(os.path.join(home, name), self.machine)
        for path in others:
            self._add(path, self.machine)
        self._linked: Optional[Set[Inode]] = None

    @staticmethod
    def _add(path: str, to: Set[Inode]) -> bool:
        try:
            to.add(_inode(os.stat(path)))
        except OSError:
            return False
        return True

    def contains_inode(self, metadata: os.stat_result) -> bool:
        """True for a private file or folder, under any name."""
        inode = _inode(metadata)
        if inode in self.inodes or inode in self.machine:
            return True
        if self._linked is None:
            self._linked = set(self._with_other_names())
        return inode in self._linked

    def _with_other_names(self) -> Iterator[Inode]:
        """Yield files in private folders that have another name by hard or symbolic links."""
        seen = 0
        for top in self._folders:
            for root, folders, names in os.walk(top):
                for name in [*names, *folders]:
                    seen += 1
                    if seen > _MAX_ENTRIES:
                        return
                    path = os.path.join(root, name)
                    try:
                        metadata = os.lstat(path)
                        if stat.S_ISLNK(metadata.st_mode):
                            yield _inode(os.stat(path))
                        elif metadata.st_nlink > 1 and stat.S_ISREG(metadata.st_mode):
                            yield _inode(metadata)
                    except OSError:
                        continue  # removed meanwhile, or a dangling link

    def is_private(self, folder: os.stat_result, rest: Sequence[str]) -> bool:
        """True if a path below ``folder`` has a private name. ``rest``: the path, which need not exist."""
        if not rest or _inode(folder) not in self.homes:
            return False
        return rest[0] in MACHINE or any("/".join(rest[:size]) in _CREDENTIALS for size in range(1, len(rest) + 1))

    def private_parent(self, folder: str) -> str:
        """Return the private folder that equals or contains ``folder``, or ""."""
        path = os.path.realpath(folder)
        while True:
            try:
                if _inode(os.stat(path)) in self.inodes:
                    return path
            except OSError:
                pass  # removed; its parents may exist
            if path == "/":
                return ""
            path = os.path.dirname(path)


def homes(home: str = "") -> Iterator[str]:
    """Home folders of this account: environment and password database."""
    import pwd

    found = [home, os.environ.get("HOME", "")]
    try:
        found.append(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        pass  # a container's user without an entry
    yield from dict.fromkeys(path for path in found if path.startswith("/"))


def holds_home(folder: str, home: str) -> bool:
    """True if ``folder`` is a home folder, or contains one."""
    try:
        wanted = _inode(os.stat(folder))
        path = os.path.realpath(home)
        while _inode(os.stat(path)) != wanted:
            if path == "/":
                return False
            path = os.path.dirname(path)
    except OSError:
        return False
    return True
