#!/usr/bin/env bash
# What the Slurm first on PATH answers to the lines of lines.txt: "$ line", its output, "= exit code".
# Usage: record.sh [LINES ANSWERS]; changes.txt has lines that change accounts, which need an administrator of slurmdbd.
cd "$(dirname "$0")"
while IFS= read -r line; do
    echo "\$ $line"
    timeout 20 bash -c "$line" </dev/null 2>&1
    echo "= $?"
done <"${1:-lines.txt}" >"${2:-answers.txt}"
