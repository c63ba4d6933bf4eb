"""The nodes and CPUs that a job gets."""

from __future__ import annotations

from slurmsky.controller.rules.demand import demand_of
from slurmsky.controller.rules.resources import NodeUse, place
from slurmsky.model.cluster import NodeConfig
from slurmsky.model.spec import JobSpec


def test_overcommitted_tasks_with_gpus_take_the_nodes_that_have_them() -> None:
    nodes = [NodeUse(NodeConfig(f"n{index}", cpus=8, gres=(("gpu", "", 4),))) for index in range(4)]
    for ntasks, per_task, tasks in ((16, 1, [4, 4, 4, 4]), (6, 2, [2, 2, 2]), (3, 1, [3])):
        spec = JobSpec(ntasks=ntasks, overcommit=True, gpus_per_task=str(per_task))
        shares = place(demand_of(spec), nodes)
        assert shares is not None and [share.tasks for share in shares] == tasks


def test_overcommitted_tasks_need_the_memory_of_their_cpus_alone() -> None:
    node = NodeConfig("n1", cpus=8, memory_mib=4000)
    for mem_mib, memory in ((360, [360]), (4000, [4000]), (4001, None)):
        spec = JobSpec(ntasks=30, overcommit=True, mem_per_cpu_mib=mem_mib)
        shares = place(demand_of(spec), [NodeUse(node)])
        assert (shares and [share.memory_mib for share in shares]) == memory
