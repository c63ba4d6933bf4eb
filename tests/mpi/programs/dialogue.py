"""Sends the lines of a file to PMI_FD and prints the replies: one JSON object per task.

Usage: dialogue.py VERSION FILE. In a line `{rank}` and `{job}` are this task's and `\\n` ends a line; `@2 ` before it:
only task 2 says it.
"""

import json
import os
import socket
import sys


def counted(sock: socket.socket, text: str) -> str:
    body = text.encode()
    sock.sendall(b"%6d" % len(body) + body)
    return take(sock, int(take(sock, 6)))


def take(sock: socket.socket, count: int) -> str:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data.decode()


def line(sock: socket.socket, text: str) -> str:
    sock.sendall(text.encode() + b"\n")
    data = b""
    while not data.endswith(b"\n"):
        piece = sock.recv(4096)
        if not piece:
            raise EOFError
        data += piece
    return data.decode().rstrip("\n")


def main() -> None:
    version, path = sys.argv[1:]
    rank, job = int(os.environ["PMI_RANK"]), os.environ["PMI_JOBID"]
    answers = []
    with socket.socket(fileno=int(os.environ["PMI_FD"])) as sock, open(path) as file:
        sock.settimeout(20)
        ask = line
        for text in file.read().splitlines():
            if text.startswith("@"):
                only, _, text = text[1:].partition(" ")
                if int(only) != rank:
                    continue
            request = text.format(rank=rank, job=job).replace("\\n", "\n")
            answers.append([request.replace(job, "JOB"), ask(sock, request).replace(job, "JOB")])
            if version == "2":
                ask = counted
    names = ("PMI_JOBID", "PMI_RANK", "PMI_SIZE")
    environment = {name: os.environ.get(name, "").replace(job, "JOB") for name in names}
    print(json.dumps({"rank": rank, "environment": environment, "answers": answers}), flush=True)


main()
