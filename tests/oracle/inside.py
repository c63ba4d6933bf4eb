"""Runs the shell lines of a JSON list inside an allocation and records their output: inside.py LINES ANSWERS.

Stands alone (standard library only, any Python 3.9+): it runs as the command of a job on either side.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

lines, answers = (Path(name) for name in sys.argv[1:3])
found = []
for line in json.loads(lines.read_text()):
    try:
        done = subprocess.run(["bash", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        out, err, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        out, err, code = late.stdout or b"", late.stderr or b"", 124
    found.append({"stdout": out.decode(errors="replace"), "stderr": err.decode(errors="replace"), "code": code})
part = answers.with_suffix(".part")
part.write_text(json.dumps(found))
os.replace(part, answers)
