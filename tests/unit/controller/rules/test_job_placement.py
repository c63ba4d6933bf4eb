"""The nodes and CPUs that a job gets."""

from __future__ import annotations

from slurmsky.controller.rules.demand import demand_of
from slurmsky.controller.rules.job_placement import place
from slurmsky.controller.rules.node_use import NodeUse
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
        assert (None if shares is None else [share.memory_mib for share in shares]) == memory


def test_overcommitted_tasks_of_a_number_per_node_need_the_cpus_of_that_number() -> None:
    nodes = [NodeUse(NodeConfig(f"n{i}", cpus=8, memory_mib=4000)) for i in range(1, 5)]
    for ntasks, cpus_per_task, per_node, cpus in ((8, 3, 2, [3] * 4), (3, 3, 3, None), (10, 2, 5, None)):
        spec = JobSpec(ntasks=ntasks, cpus_per_task=cpus_per_task, ntasks_per_node=per_node, overcommit=True)
        shares = place(demand_of(spec), nodes)
        assert (None if shares is None else [len(share.cpu_ids) for share in shares]) == cpus


def test_overcommitted_tasks_of_a_number_per_node_need_memory_for_a_cpu_each() -> None:
    node = NodeConfig("n1", cpus=8, memory_mib=4000)
    for mem_mib, memory in ((1333, [1333]), (1334, None)):
        spec = JobSpec(ntasks_per_node=3, overcommit=True, mem_per_cpu_mib=mem_mib)
        shares = place(demand_of(spec), [NodeUse(node)])
        assert (None if shares is None else [share.memory_mib for share in shares]) == memory


def test_tasks_of_several_cpus_take_no_cpu_beyond_a_multiple_of_them() -> None:
    """22.05 gives 8,3 here: it takes a node's remaining CPUs, too. Source: 25.11 job_test.c _allocate_sc."""
    nodes = [NodeUse(NodeConfig(f"n{i}", cpus=8, memory_mib=4000)) for i in range(1, 5)]
    shares = place(demand_of(JobSpec(ntasks=4, cpus_per_task=3, nodes="2")), nodes)
    assert shares is not None and [len(share.cpu_ids) for share in shares] == [6, 6]


def test_nodes_of_an_arbitrary_distribution_keep_the_order_of_the_cluster() -> None:
    nodes = [NodeUse(NodeConfig(f"n{number}", cpus=8)) for number in range(1, 5)]
    shares = place(demand_of(JobSpec(ntasks=4, distribution="arbitrary", nodelist="n2,n1,n2,n3")), nodes)
    assert shares is not None
    assert [(share.name, share.tasks) for share in shares] == [("n1", 1), ("n2", 2), ("n3", 1)]


def test_gres_that_are_not_consumed_are_open_to_any_number_of_jobs() -> None:
    use = NodeUse(NodeConfig("n1", cpus=4, gres=(("r1", "", 1), ("r2", "", 1)), gres_not_consumed=("r1",)))
    for name, later in (("r1", True), ("r2", False)):
        demand = demand_of(JobSpec(gres=name))
        shares = place(demand, [use])
        assert shares and shares[0].gres == {name: (0,)}
        use.allocate(1, shares[0], exclusive=False)
        assert bool(place(demand, [use])) is later
        use.release(1, shares[0])
        assert use.gres == {name: set() for name in use.gres}
