"""Finds what a batch script needs: files, programs, packages, images and GPUs. Pure."""
