"""Parsers and formatters of Slurm's small languages, one module each.

Every module has a `parse` (or a few named functions) that returns frozen records, `str(value)` as the inverse where
Slurm prints the language, and one error class from `syntax_errors`. The grammars are in `grammar/`;
`grammar/README.md` lists them. Importing a module is cheap: parsers are made at first use.
"""
