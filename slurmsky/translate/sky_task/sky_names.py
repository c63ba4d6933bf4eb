"""Converts names of jobs, labels and images for SkyPilot."""

from __future__ import annotations

import re

from ...language import image_names
from .translation_notes import NODE_CONFIG, Refused


def sky_name(name: str, length: int = 20) -> str:
    """Convert a job name to SkyPilot's form. It has lower-case letters, digits and dashes, starting with a letter."""
    clean = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (clean if clean[:1].isalpha() else f"j-{clean}" if clean else "job")[:length].rstrip("-")


def label(value: str) -> str:
    """Convert a value to a valid label. At most 63 lower-case letters, digits, dashes, underscores."""
    return re.sub(r"[^a-z0-9_-]+", "-", value.lower())[:63].strip("-_") or "none"


def docker_image(text: str) -> str:
    """Convert an image name of pyxis or docker to image_id. Enroot separates the registry with ``#``."""
    if text.startswith(("/", ".", "~")) or text.endswith(".sqsh"):
        raise Refused(NODE_CONFIG, "container-image", f"SkyPilot cannot start from the image file {text}")
    return f"docker:{image_names.reference(text)}"
