"""Mean seconds of a PMI-1 fence (after one put of 100 bytes by each task), printed by task 0."""

import os
import socket
import time

COUNT = 200

rank, job = int(os.environ["PMI_RANK"]), os.environ["PMI_JOBID"]
sock = socket.socket(fileno=int(os.environ["PMI_FD"]))


def ask(text: str) -> None:
    sock.sendall(text.encode() + b"\n")
    if not sock.recv(4096).endswith(b"\n"):
        raise SystemExit("no answer")


ask("cmd=init pmi_version=1 pmi_subversion=1")
ask("cmd=barrier_in")
start = time.monotonic()
for number in range(COUNT):
    ask(f"cmd=put kvsname={job} key=k{rank}-{number} value={'x' * 100}")
    ask("cmd=barrier_in")
if rank == 0:
    print(f"{(time.monotonic() - start) / COUNT:.6f}", flush=True)
ask("cmd=finalize")
