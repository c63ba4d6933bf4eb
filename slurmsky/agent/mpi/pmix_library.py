"""Bindings of a PMIx library: search, C structures and calls.

For releases 4 to 6 of libpmix.so.2. The PMIx standard's C header defines the structures; they have not changed
since release 3.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    Union,
    c_bool,
    c_char,
    c_char_p,
    c_int,
    c_size_t,
    c_uint16,
    c_uint32,
    c_void_p,
)
from typing import Any, Mapping, Optional, Sequence

NAME = "libpmix.so.2"
SUCCESS = 0
NOT_FOUND = -46
OPERATION_SUCCEEDED = -157
#: rank that means all processes of a namespace
RANK_WILDCARD = 0xFFFFFFFE

_BOOL, _STRING, _UINT16, _UINT32, _INFO, _DATA_ARRAY, _PROC_RANK = 1, 3, 13, 14, 24, 39, 40


class Proc(Structure):
    """pmix_proc_t"""

    _fields_ = (("nspace", c_char * 256), ("rank", c_uint32))


class _DataArray(Structure):
    _fields_ = (("type", c_uint16), ("size", c_size_t), ("array", c_void_p))


class _Data(Union):
    _fields_ = (
        ("flag", c_bool),
        ("string", c_char_p),
        ("uint16", c_uint16),
        ("uint32", c_uint32),
        ("array", POINTER(_DataArray)),
        ("room", c_size_t * 3),
    )


class _Value(Structure):
    _fields_ = (("type", c_uint16), ("data", _Data))


class Info(Structure):
    """pmix_info_t"""

    _fields_ = (("key", c_char * 512), ("flags", c_uint32), ("value", _Value))


class Rank(int):
    """A value of type pmix_rank_t."""


class Short(int):
    """A value of type uint16_t."""


def infos(settings: Sequence[tuple[str, Any]]) -> Any:
    """Build a C array of pmix_info_t. The array keeps references to its objects."""
    array = (Info * len(settings))()
    keep: list[Any] = []
    for info, (key, value) in zip(array, settings):
        info.key = key.encode()
        if isinstance(value, bool):
            info.value.type, info.value.data.flag = _BOOL, value
        elif isinstance(value, str):
            info.value.type, info.value.data.string = _STRING, value.encode()
        elif isinstance(value, list):
            inner = infos(value)
            record = _DataArray(_INFO, len(value), ctypes.cast(inner, c_void_p))
            keep += [inner, record]
            info.value.type, info.value.data.array = _DATA_ARRAY, ctypes.pointer(record)
        elif isinstance(value, Rank):
            info.value.type, info.value.data.uint32 = _PROC_RANK, value
        elif isinstance(value, Short):
            info.value.type, info.value.data.uint16 = _UINT16, value
        else:
            info.value.type, info.value.data.uint32 = _UINT32, value
    array.keep = keep  # type: ignore[attr-defined]
    return array


OpDone = CFUNCTYPE(None, c_int, c_void_p)
Release = CFUNCTYPE(None, c_void_p)
ModexDone = CFUNCTYPE(None, c_int, c_void_p, c_size_t, c_void_p, Release, c_void_p)
DmodexReply = CFUNCTYPE(None, c_int, c_void_p, c_size_t, c_void_p)
Abort = CFUNCTYPE(c_int, POINTER(Proc), c_void_p, c_int, c_char_p, POINTER(Proc), c_size_t, c_void_p, c_void_p)
Fence = CFUNCTYPE(c_int, POINTER(Proc), c_size_t, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_void_p)
Log = CFUNCTYPE(c_int, POINTER(Proc), POINTER(Info), c_size_t, c_void_p, c_size_t, c_void_p, c_void_p)
DirectModex = CFUNCTYPE(c_int, POINTER(Proc), c_void_p, c_size_t, c_void_p, c_void_p)


class PmixModule(Structure):
    """Callbacks of pmix_server_module_t. All others are NULL, which means "not supported"."""

    _fields_ = (
        ("client_connected", c_void_p),
        ("client_finalized", c_void_p),
        ("abort", Abort),
        ("fence_nb", Fence),
        ("direct_modex", DirectModex),
        ("publish_to_tool_connected", c_void_p * 12),
        ("log", Log),
        ("rest", c_void_p * 24),
    )


def log_texts(data: Any, count: int) -> str:
    """Texts that a client logs to stdout or stderr."""
    return "".join(
        (data[index].value.data.string or b"").decode(errors="replace")
        for index in range(count)
        if data[index].value.type == _STRING and data[index].key in (b"pmix.log.stderr", b"pmix.log.stdout")
    )


def find(env: Mapping[str, str]) -> Optional[str]:
    """Find the PMIx library of a program's MPI, or None.

    The search covers the installation of an mpirun on PATH, LD_LIBRARY_PATH, and the system's library.
    """
    folders = []
    for folder in env.get("PATH", "").split(":"):
        if folder and os.path.isfile(os.path.join(folder, "mpirun")):
            root = os.path.dirname(os.path.realpath(folder))
            folders += [os.path.join(root, "lib"), os.path.join(root, "lib", "openmpi")]
    folders += [folder for folder in env.get("LD_LIBRARY_PATH", "").split(":") if folder]
    for folder in folders:
        path = os.path.join(folder, NAME)
        if os.path.exists(path):
            return path
    try:
        ctypes.CDLL(NAME)
    except OSError:
        return None
    return NAME


def load(path: str) -> Any:
    """Load the library and declare the types of its calls. Raises OSError, AttributeError."""
    library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    library.PMIx_server_init.argtypes = (POINTER(PmixModule), c_void_p, c_size_t)
    library.PMIx_server_register_nspace.argtypes = (c_char_p, c_int, c_void_p, c_size_t, OpDone, c_void_p)
    library.PMIx_server_register_client.argtypes = (POINTER(Proc), c_uint32, c_uint32, c_void_p, OpDone, c_void_p)
    library.PMIx_server_setup_fork.argtypes = (POINTER(Proc), POINTER(POINTER(c_char_p)))
    library.PMIx_server_dmodex_request.argtypes = (POINTER(Proc), DmodexReply, c_void_p)
    library.PMIx_Error_string.restype = c_char_p
    return library
