"""The advice for a migration from Slurm to SkyPilot holds inside a job: SkyPilot's variables beside Slurm's on
every node, and the patterns of distributed jobs written for either.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cloud import namespaces_work
from sky_world import World

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not namespaces_work(), reason="needs mount namespaces")]

SCRIPT = r"""#!/bin/bash
# On the batch host: both worlds count and name the same nodes.
[ "$(echo "$SKYPILOT_NODE_IPS" | wc -l)" = "$SLURM_NNODES" ] && [ "$SKYPILOT_NUM_NODES" = "$SLURM_JOB_NUM_NODES" ]
echo "counts $?"
[ -n "$SKYPILOT_TASK_ID" ] && [ "$SKYPILOT_NUM_GPUS_PER_NODE" = "${SLURM_GPUS_PER_NODE:-0}" ]; echo "task and gpus $?"
for name in $(scontrol show hostnames $SLURM_JOB_NODELIST); do
    getent ahostsv4 $name | awk 'NR == 1 {print $1}'
done | cmp - <(echo "$SKYPILOT_NODE_IPS"); echo "names are addresses $?"
export MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1)
head=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)
# One task a node: the rank of SkyPilot, the node's id and the task's are one.
srun -l bash -c 'echo "$SKYPILOT_NODE_RANK $SLURM_NODEID $SLURM_PROCID $MASTER_ADDR"' | sort
# A guard for the head, as people write it for SkyPilot.
srun bash -c '[ "$SKYPILOT_NODE_RANK" = 0 ] && echo "head only" || true'
# A server on the head, workers that join at its address: Ray, torchrun, Monarch and MASTER_ADDR scripts.
cat > meet.py <<'END'
import os, socket, sys
rank = int(os.environ["SLURM_PROCID"])
if rank == 0:
    server = socket.create_server((sys.argv[1], 0))
    print("PORT", server.getsockname()[1], flush=True)
    peer, _ = server.accept()
    print("joined by", peer.recv(100).decode(), flush=True)
else:
    import time
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.05)
    worker = socket.create_connection((sys.argv[1], int(open(sys.argv[2]).read())), 20)
    worker.send(os.environ["SKYPILOT_NODE_RANK"].encode())
END
sbcast -f meet.py /tmp/meet-$SLURM_JOB_ID-$$.py
srun python3 -u /tmp/meet-$SLURM_JOB_ID-$$.py $head $SHARED | while read -r word rest; do
    if [ $word = PORT ]; then echo $rest > $SHARED.new; mv $SHARED.new $SHARED; else echo $word $rest; fi
done
"""


def test_a_job_has_the_variables_of_slurm_and_of_skypilot(world: World, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(world.user), "SHARED": str(tmp_path / "port")}
    environment["SKYPILOT_NODE_IPS"] = "stale"  # of the job that submitted this one

    async def what(world: World) -> None:
        await world.engine.start(world.launch(SCRIPT, nodes=2, environment=environment))
        await world.until(world.ended)

    world.play(what)
    lines = world.out.decode().splitlines()
    first = lines[3].rpartition(" ")[2]
    assert lines == [
        "counts 0",
        "task and gpus 0",
        "names are addresses 0",
        f"0: 0 0 0 {first}",
        f"1: 1 1 1 {first}",
        "head only",
        "joined by 1",
    ]
    assert world.ended()["state"] == "COMPLETED"
