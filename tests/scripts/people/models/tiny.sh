MODEL_ARGS=(--layers 2 --hidden 64)
