"""Programs of other authors run unchanged.

Each uses its client in a separate folder and raises at the first unexpected result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from local_engine import LocalEngine

PROGRAMS = Path(__file__).parent / "programs"
CLIENTS = {
    "with_simple_slurm": ("simple_slurm==0.3.6",),
    "with_submitit": ("submitit==1.5.4", "cloudpickle"),
    "with_dask": ("dask-jobqueue==0.9.0", "distributed"),
    "with_snakemake": ("snakemake==9.27.1", "snakemake-executor-plugin-slurm==2.8.0"),
    "with_torch": ("torch==2.13.0", "numpy", "lightning-fabric==2.6.6"),
}


@pytest.mark.clients
@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", CLIENTS)
def test_client(name: str, engine: LocalEngine, interpreter: Callable[[str, tuple[str, ...]], Path]) -> None:
    python = interpreter(name, CLIENTS[name])
    folder = engine.root / name
    folder.mkdir()
    path = f"{engine.env['PATH']}:{python.parent}"
    done = engine.run([str(python), "-B", str(PROGRAMS / f"{name}.py")], cwd=folder, limit_s=600,
                      env={"PATH": path, "PYTHONPATH": str(PROGRAMS)})  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
