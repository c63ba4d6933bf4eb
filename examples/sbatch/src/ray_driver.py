"""How large the Ray cluster is: ray_driver.py CPUS_PER_NODE NODES. Without ray: what should be there."""

import sys

cpus, nodes = int(sys.argv[1]), int(sys.argv[2])
try:
    import ray
except ImportError:
    found = cpus * nodes
else:
    ray.init(address="auto")
    found = int(ray.cluster_resources()["CPU"])
print(f"cluster of {nodes} nodes, {found} CPUs, {'as asked' if found == cpus * nodes else 'not as asked'}")
