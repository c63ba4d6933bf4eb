"""Renders records of jobs as one self-contained HTML page. Pure."""
