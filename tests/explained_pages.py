"""Scripts explained for a site with accounts, paths and modules, and the findings about them."""

from __future__ import annotations

from moving_script import moving

from slurmsky.site import load
from slurmsky.translate.explain.explanation import Finding, Page

SITE = load(
    """
accounts = ["ml"]
[gpus]
default = "H100"
[paths]
"/data" = "s3://team/data"
[modules]
"tool" = "docker:team/tool:1"
[[partition]]
name = "main"
default = true
features = { highmem = "r6i.8xlarge" }
""",
    "site.toml",
)
BARE = load("", "none")


def explain(text: str, engine: str = "sky", site: object = SITE) -> Page:
    page: Page = moving.explained(text.encode("utf-8", "surrogateescape"), site, "job.sh", engine)
    return page


def one(text: str, kind: str, engine: str = "sky", site: object = SITE) -> Finding:
    found = [entry for entry in explain(text, engine, site).findings if entry.kind == kind]
    assert found, explain(text, engine, site)
    return found[-1]
