"""KangarooTwelve, the hash function of Slurm's hash/k12, with 32 bytes of output.

Source: the paper of Bertoni and others, "KangarooTwelve: fast hashing based on Keccak-p"; RFC 9861.
"""

from __future__ import annotations

_CHUNK = 8192
_RATE = 168
_MASK = (1 << 64) - 1


def _round_constants() -> list[int]:
    """The last twelve of Keccak-f[1600]'s 24 round constants, from its shift register."""
    found, register = [], 1
    for _ in range(24):
        constant = 0
        for power in range(7):
            if register & 1:
                constant |= 1 << ((1 << power) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        found.append(constant)
    return found[12:]


def _offsets() -> list[tuple[int, int]]:
    """The target position of each lane in step pi, in sequence, and its rotation in step rho."""
    x, y, found = 1, 0, []
    for step in range(24):
        x, y = y, (2 * x + 3 * y) % 5
        found.append((x + 5 * y, (step + 1) * (step + 2) // 2 % 64))
    return found


_ROUNDS = _round_constants()
_MOVES = _offsets()


def _permute(lanes: list[int]) -> None:
    for constant in _ROUNDS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        for x in range(5):
            after = columns[(x + 1) % 5]
            mixed = columns[(x - 1) % 5] ^ ((after << 1 | after >> 63) & _MASK)
            for y in range(0, 25, 5):
                lanes[x + y] ^= mixed
        carried = lanes[1]
        for place, by in _MOVES:
            carried, lanes[place] = lanes[place], (carried << by | carried >> (64 - by)) & _MASK
        for y in range(0, 25, 5):
            row = lanes[y : y + 5]
            for x in range(5):
                lanes[y + x] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5])
        lanes[0] ^= constant


def _turbo_shake(data: bytes, end: int) -> bytes:
    """TurboSHAKE128 with 32 bytes of output; ``end``: its domain byte."""
    padded = data + bytes([end])
    padded += bytes(-len(padded) % _RATE)
    padded = padded[:-1] + bytes([padded[-1] ^ 0x80])
    lanes = [0] * 25
    for start in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            at = start + 8 * lane
            lanes[lane] ^= int.from_bytes(padded[at : at + 8], "little")
        _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _length(value: int) -> bytes:
    """A number followed by the count of its bytes."""
    text = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return text + bytes([len(text)])


def digest(data: bytes) -> bytes:
    """The hash of the data, without a customisation string.

    >>> digest(b"").hex()[:16]
    '1ac2d450fc3b4205'
    """
    whole = data + _length(0)
    if len(whole) <= _CHUNK:
        return _turbo_shake(whole, 0x07)
    first, *others = (whole[at : at + _CHUNK] for at in range(0, len(whole), _CHUNK))
    tree = first + b"\x03" + bytes(7) + b"".join(_turbo_shake(chunk, 0x0B) for chunk in others)
    return _turbo_shake(tree + _length(len(others)) + b"\xff\xff", 0x06)
