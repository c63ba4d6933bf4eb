#!/usr/bin/env bash
# What the Slurm first on PATH answers to the lines of lines.txt: "$ line", its output, "= exit code".
cd "$(dirname "$0")"
while IFS= read -r line; do
    echo "\$ $line"
    timeout 20 bash -c "$line" </dev/null 2>&1
    echo "= $?"
done <lines.txt >answers.txt
