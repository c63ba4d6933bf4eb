"""Names of a job's nodes in /etc/hosts."""

from slurmsky.agent.cloud.rendezvous import hosts_with

BEFORE = "127.0.0.1 localhost\n10.0.0.9 k1 # slurmsky\n10.0.0.8 k11 # slurmsky\n"


def test_a_node_at_another_address_replaces_its_line():
    assert hosts_with(BEFORE, ["k1"], ["10.0.0.7"]) == (
        "127.0.0.1 localhost\n10.0.0.8 k11 # slurmsky\n10.0.0.7 k1 # slurmsky\n"
    )


def test_lines_of_other_jobs_remain():
    assert hosts_with("10.0.0.1 k1\n\n# x", ["k1"], ["10.0.0.7"]) == "10.0.0.1 k1\n\n# x\n10.0.0.7 k1 # slurmsky\n"
