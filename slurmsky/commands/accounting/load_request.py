"""Words of a request ``sacctmgr load``.

Source: src/sacctmgr/file_functions.c load_sacctmgr_cfg_file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...controller.command_context import CommandContext
from ...language.key_values import Given, matching_value, parse

#: options of a line that are not limits of an association: name, shortest prefix, field. Those whose field is "" are
#: values that no record of this cluster has.
LINE_OPTIONS = (
    ("AdminLevel", 2, "admin_level"), ("Coordinator", 2, ""), ("Classification", 2, ""),
    ("DefaultAccount", 8, "default_account"), ("DefaultWCKey", 8, ""), ("Description", 3, "description"),
    ("Organization", 1, "organization"), ("Partition", 1, ""), ("WCKeys", 2, ""),
)  # fmt: skip
_CLEAN = {"acct": "accounts", "account": "accounts", "user": "users", "qos": "qos"}


@dataclass
class LoadRequest:
    """The words after ``load``. ``clean``: records to delete first; None: none."""

    file: str = ""
    cluster: str = ""
    clean: set[str] | None = None
    code: int = 0


def read(ctx: CommandContext, words: Sequence[str]) -> LoadRequest:
    """Parse the words, and print the errors in them."""
    request = LoadRequest()
    found: dict[str, str] = {}
    names = (("clean", 3, "clean"), ("File", 1, "file"), ("Cluster", 3, "cluster"))
    already = {"file": " File name already set to {}",
               "cluster": " Can only do one cluster at a time.  Already doing {}"}  # fmt: skip
    for word in words:
        given = parse(word) or Given(word, "", word)
        name = matching_value(given.name or word, names)
        if given.name and given.sign:
            request.code = 1
            ctx.err(f" Invalid operator '{given.sign}=' in {word}")
        elif name == "clean":
            kinds = {kind for text, kind in _CLEAN.items() if given.name and text in given.value.lower()}
            request.clean = (request.clean or set()) | kinds
        elif given.name and name is None:
            request.code = 1
            ctx.err(f" Unknown option: {word}")
        else:
            target = name if given.name and name else "file"
            if target in found:
                request.code = 1
                ctx.err(already[target].format(found[target]))
            else:
                found[target] = given.value
    return replace(request, file=found.get("file", ""), cluster=found.get("cluster", ""))
