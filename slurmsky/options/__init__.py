"""Everything that is read from one table of options: parsing, precedence, checks, help.

``table`` holds the rows, ``getopt`` splits words into options, ``values`` turns one option's text into
field values, ``submit`` and ``query`` assemble requests, ``help`` prints what the table says. Bad input is
a CommandError (``errors``) that carries Slurm's own lines and exit code.
"""
