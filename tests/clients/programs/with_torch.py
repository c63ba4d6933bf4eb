"""PyTorch on two nodes: Lightning's SLURMEnvironment under srun, and torchrun that meets at the first node."""

import os
import subprocess
import sys
from pathlib import Path

from common import reach

HEAD = """#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node={tasks} --time=10 --output=%x.out
nodes=( $(scontrol show hostnames $SLURM_JOB_NODELIST) )
address=$(srun --nodes=1 --ntasks=1 -w "${{nodes[0]}}" hostname --ip-address | awk '{{print $1}}')
"""
LIGHTNING = HEAD.format(tasks=2) + (
    f"MASTER_ADDR=$address srun --kill-on-bad-exit=1 {sys.executable} -B {__file__} rank\n")  # fmt: skip
TORCHRUN = HEAD.format(tasks=1) + (
    f"srun {sys.executable} -m torch.distributed.run --nnodes 2 --nproc-per-node 2 --rdzv-id $SLURM_JOB_ID "
    f"--rdzv-backend c10d --rdzv-endpoint $address:29517 {__file__} rank\n")  # fmt: skip


def rank() -> None:
    import torch
    import torch.distributed as group

    if "TORCHELASTIC_RUN_ID" not in os.environ:
        from lightning_fabric.plugins.environments import SLURMEnvironment

        here = SLURMEnvironment()
        assert SLURMEnvironment.detect()
        here.validate_settings(num_devices=2, num_nodes=2)
        os.environ.update(RANK=str(here.global_rank()), WORLD_SIZE=str(here.world_size()),
                          MASTER_ADDR=here.main_address, MASTER_PORT=str(here.main_port))  # fmt: skip
    torch.set_num_threads(1)
    group.init_process_group("gloo")
    total = torch.ones(1) * (group.get_rank() + 1)
    group.all_reduce(total)
    # In one write, regardless of PYTHONUNBUFFERED: two ranks of a node share torchrun's pipe.
    os.write(1, f"rank {group.get_rank()} of {group.get_world_size()}: {total.item():.0f}\n".encode())
    group.barrier()
    group.destroy_process_group()


def main() -> None:
    for name, script in (("lightning", LIGHTNING), ("elastic", TORCHRUN)):
        Path(f"{name}.sh").write_text(script)
        line = ["sbatch", "--parsable", "-J", name, f"{name}.sh"]
        job = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        reach(job, "COMPLETED")
        lines = sorted(row for row in Path(f"{name}.out").read_text().splitlines() if row.startswith("rank "))
        assert lines == [f"rank {number} of 4: 10" for number in range(4)], Path(f"{name}.out").read_text()


if __name__ == "__main__":
    rank() if sys.argv[1:] == ["rank"] else main()
