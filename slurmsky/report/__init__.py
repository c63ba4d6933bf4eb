"""What squeue, sinfo, scontrol show, sacct and sstat print: records in, text out.

Pure: the time, the time zone and every switch are arguments. Texts are what Slurm 25.11 prints;
where 25.11 and 22.05 print the same key differently, 22.05's form is kept, since that is what
the recorded answers in the tests hold and what scripts in the field were written against.
A name with characters beyond ASCII is measured and cut in bytes, as printf does; a cut inside
a character leaves surrogates, so write the text with ``errors="surrogateescape"``.
"""
