"""Gradient descent on a line, standing for a training run; RANK and WORLD_SIZE as torchrun sets them."""

import argparse
import json
import os
import random

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=2)
parser.add_argument("--out")
options = parser.parse_args()

rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
weight = random.Random(options.seed).random()
for _ in range(options.steps):
    weight -= options.lr * 2 * (weight - 0.5)
print(f"rank {rank} of {world}: trained {options.steps} steps", flush=True)
if options.out:
    with open(options.out, "w") as results:
        json.dump({"lr": options.lr, "seed": options.seed, "weight": round(weight, 6)}, results)
