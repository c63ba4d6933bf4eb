"""Count the primes below a bound: primes.py N."""

import sys

bound = int(sys.argv[1])
sieve = bytearray([1]) * bound
sieve[0:2] = b"\0\0"
for number in range(2, int(bound**0.5) + 1):
    if sieve[number]:
        sieve[number * number :: number] = bytes(len(range(number * number, bound, number)))
print(f"{sum(sieve)} primes below {bound}")
