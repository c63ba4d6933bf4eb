"""Maps sites' GPU names to SkyPilot's catalog names.

Sites choose gres types, features and partitions freely: ``nvidia_a100-sxm4-80gb``, ``TESLA_V100``, ``v100-32g``,
``gpu80``, ``1g.5gb``, ``MI250``, ``gfx90a``, ``HOPPER``. A name is split into words: vendor words are dropped, model
and memory decide.

Source: SkyPilot's catalog common/accelerators.csv; gres.conf examples; names that NVML reports.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: model as sites write it -> SkyPilot's name; with a memory size in GB where the catalog has several sizes
_MODELS: dict[str, str] = {
    "gb300": "GB300", "gb200": "GB200", "gh200": "GH200", "b300": "B300", "b200": "B200", "h200": "H200",
    "h100": "H100", "h800": "H100", "h20": "H20", "a100": "A100", "a800": "A100-80GB", "a100l": "A100-80GB",
    "a100x": "A100-80GB", "v100": "V100", "v100l": "V100-32GB", "v100s": "V100-32GB", "p100": "P100", "p40": "P40",
    "p4": "P4", "t4": "T4", "k80": "K80", "k40": "K80", "k40m": "K80", "k20": "K80", "m60": "M60", "m40": "M60",
    "l4": "L4", "l40": "L40", "l40s": "L40S", "a10": "A10", "a10g": "A10G", "a30": "A30", "a40": "A40", "a2": "T4",
    "a16": "A10", "a6000": "RTXA6000", "a5000": "RTXA5000", "a4500": "RTXA4500", "a4000": "RTXA4000",
    "rtxa6000": "RTXA6000", "rtxa5000": "RTXA5000", "rtxa4500": "RTXA4500", "rtxa4000": "RTXA4000",
    "rtx6000": "RTX6000", "rtx8000": "RTX8000", "rtx5000": "RTX5000", "rtx4000": "RTX4000",
    "rtx6000ada": "RTX6000-Ada", "6000ada": "RTX6000-Ada", "rtxpro6000": "RTXPRO6000", "rtx5090": "RTX5090",
    "5090": "RTX5090", "rtx4090": "RTX4090", "4090": "RTX4090", "rtx3090": "RTX3090", "3090": "RTX3090",
    "rtx3080": "RTX3080", "3080": "RTX3080", "rtx3070": "RTX3070", "rtx2080ti": "RTX2080Ti", "2080ti": "RTX2080Ti",
    "2080": "RTX2080Ti", "1080ti": "GTX1080Ti", "gtx1080ti": "GTX1080Ti", "1080": "GTX1080Ti", "titanx": "TitanXp",
    "titanxp": "TitanXp", "titanv": "V100", "titanrtx": "TitanRTX", "mi25": "MI25", "mi50": "MI50", "mi60": "MI60",
    "mi100": "MI100", "mi210": "MI210", "mi250": "MI250", "mi250x": "MI250", "mi300": "MI300X", "mi300a": "MI300X",
    "mi300x": "MI300X", "mi325x": "MI325X", "mi350x": "MI350X", "mi355x": "MI355X", "gfx906": "MI50",
    "gfx908": "MI100", "gfx90a": "MI250", "gfx940": "MI300X", "gfx942": "MI300X", "gfx950": "MI350X",
    "gtx2080ti": "RTX2080Ti", "gtx2080": "RTX2080Ti", "gtx1080": "GTX1080Ti",
    "rtx2080": "RTX2080Ti", "geforce2080ti": "RTX2080Ti", "geforce3090": "RTX3090", "quadrortx": "RTX6000",
    "a100.40gb": "A100", "a100.80gb": "A100-80GB", "h100.80gb": "H100", "volta16gb": "V100", "volta32gb": "V100-32GB",
    # names of architectures: the most common model of each
    "kepler": "K80", "pascal": "P100", "volta": "V100", "turing": "T4", "ampere": "A100", "hopper": "H100",
    "blackwell": "B200", "lovelace": "L40S", "cdna2": "MI250", "cdna3": "MI300X", "sm70": "V100", "sm75": "T4",
    "sm80": "A100", "sm86": "A40", "sm89": "L40S", "sm90": "H100",
    # partitions of well-known clusters
    "standardg": "MI250", "smallg": "MI250", "devg": "MI250", "booster": "A100", "develbooster": "A100",
    # the memory size where the site's name has no model
    "gpu80": "A100-80GB", "gpu80gb": "A100-80GB", "gpumem80": "A100-80GB", "gpumem80gb": "A100-80GB",
    "hbm80g": "A100-80GB", "hbm40g": "A100", "gpu40": "A100", "gpu40gb": "A100", "gpumem40": "A100",
    "gpu32": "V100-32GB", "gpu32gb": "V100-32GB", "gpumem32": "V100-32GB", "gpumem32g": "V100-32GB", "gpu16": "V100",
    "gpu16gb": "V100", "gpumem16": "V100", "gpu24": "A10", "gpumem24": "A10", "gpu48": "L40S", "gpumem48": "L40S",
}  # fmt: skip
_BY_MEMORY = {("A100", 80): "A100-80GB", ("A100", 40): "A100", ("V100", 32): "V100-32GB", ("V100", 16): "V100",
              ("H100", 141): "H200"}  # fmt: skip
#: words without information on the model
_DROPPED = re.compile(r"^(nvidia|tesla|quadro|geforce|amd|instinct|radeon|gpu|gpus|graphics|hbm2e?|hbm3e?|pcie|sxm\d?|"
                      r"nvl|nvlink|"
                      r"oam|p\d|dgx|hgx|node|nodes|part|queue|q|type|gpu_type|model|arch|small|large|big|dev|shared|x\d|\d|"
                      r"generation|gen|mem|memory|vram|only|s|m|l|mig)$")  # fmt: skip
_MEMORY = re.compile(r"^(\d{2,3})(?:g|gb|gib)$")
#: a slice of a GPU (MIG), by memory -> the GPU. Source: NVIDIA's MIG profiles.
_SLICE = re.compile(r"^(?:mig)?([1-7])g\.?(\d{1,3})gb?(?:\.?(?:me|gfx))?$")
_SLICES = {5: "A100", 10: "A100-80GB", 20: "A100-80GB", 40: "A100-80GB", 12: "H100", 24: "H100", 47: "H100", 80: "H100",
           18: "H200", 35: "H200", 71: "H200", 6: "A30", 141: "H200", 16: "GH200", 32: "GH200"}  # fmt: skip


@lru_cache(maxsize=1 << 10)
def known_gpu(word: str) -> str:
    """SkyPilot's name for a word; "" if it names no GPU.

    >>> [known_gpu(word) for word in ("TESLA_V100", "a100-sxm4-80gb", "v100-32g", "mig_1g.5gb", "gfx90a", "skylake")]
    ['V100', 'A100-80GB', 'V100-32GB', 'A100', 'MI250', '']
    """
    text = word.lower().strip().rpartition("=")[2]
    text = re.sub(r"^(gpu|gres|gpu_type)[:_-](?=[a-z])", "", text)
    whole = re.sub(r"[^a-z0-9.]", "", text)
    for name in (whole, whole.removeprefix("gpu")):
        if name in _MODELS:
            return _MODELS[name]
    pieces = [piece for piece in re.split(r"[^a-z0-9.]+", text) if piece]
    model, memory, sliced = "", 0, ""
    rest = 0
    for index, piece in enumerate(pieces):
        size, part = _MEMORY.match(piece), _SLICE.match(piece)
        both = (piece + pieces[index + 1]) if index + 1 < len(pieces) else ""
        if part:
            sliced = _SLICES.get(int(part[2]), "A100")
        elif both in _MODELS:
            model = model or _MODELS[both]
        elif piece in _MODELS and not (piece.isdecimal() and len(pieces) > 1 and not model and "rtx" not in text):
            model = model or _MODELS[piece]
        elif size:
            memory = int(size[1])
        elif not _DROPPED.match(piece):
            found = re.match(
                r"^(?:gpu|dgx|hgx)?([a-z]+\d+[a-z]{0,2}?)(?:x\d+|_?\d+g?b?|sxm\d?|pcie|nv|nvl|nvlink)?$", piece
            )
            if found and found[1] in _MODELS:
                model = model or _MODELS[found[1]]
            else:
                rest += 1
    if rest > 1 or (rest and not model):
        return sliced if sliced and not rest else ""
    name = model or sliced
    return _BY_MEMORY.get((name, memory), name) if name else ""
