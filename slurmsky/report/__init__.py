"""Text output of Slurm's query commands, as pure functions.

The time, the time zone and every option are arguments. Slurm 25.11 prints the same text. Where 25.11 and 22.05 print a
key differently, this package prints 22.05's form: the recorded answers in the tests have it, and existing scripts were
written for it. Names with non-ASCII characters are measured and cut in bytes, as in printf. A cut inside a character
leaves surrogates, so write the text with ``errors="surrogateescape"``.
"""
