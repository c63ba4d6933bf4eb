"""As many threads as OMP_NUM_THREADS says, each with its share of a sum."""

import os
from concurrent.futures import ThreadPoolExecutor

threads = int(os.environ["OMP_NUM_THREADS"])
with ThreadPoolExecutor(threads) as pool:
    total = sum(pool.map(lambda first: sum(range(first, 100_000, threads)), range(threads)))
print(f"{threads} threads, sum {total}")
