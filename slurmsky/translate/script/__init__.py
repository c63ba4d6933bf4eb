"""Finds a script's needs: files, programs, packages, images, GPUs."""
