"""Slurm's small languages, one module each: text to values and back.

Every module has a `parse` (or verbs of its own) that gives frozen records, `str(value)` as the
inverse where Slurm prints the language, and one error class from `errors`.  Grammars lie in
`grammar/`; see `grammar/README.md` for the map.  Importing a module costs nothing: parsers are made
at first use.
"""
