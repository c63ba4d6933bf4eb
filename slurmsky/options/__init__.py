"""Command-line options from one table: parsing, precedence, checks, help.

``table`` holds the rows, ``getopt`` splits words into options, ``values`` converts one option's text to field values,
``submit`` and ``query`` assemble requests, ``help`` prints texts from the table. Bad input raises a CommandError
(``usage_errors``) with Slurm's own lines and exit code.
"""
