# Sourced by several of the jobs: what a group keeps in one place.
export PYTHONUNBUFFERED=1
export HF_HOME=${HF_HOME:-$PWD/cache}
export TOKENIZERS_PARALLELISM=false
