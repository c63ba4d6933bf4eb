"""Prints each failure when it happens, and the running tests if the run is interrupted."""

from __future__ import annotations

import re

import pytest

_KINDS = {"failed": "FAILED", "error": "ERROR", "rerun": "RERUN"}
_LINE = 600  # characters of an error
#: an exception in an exception group, as the traceback prints it
_INNER = re.compile(r"^[ |]+\| ([\w.]+(?:Error|Warning): .*)$", re.MULTILINE)


def last_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The last line of a report's error: the exception, not the traceback."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else report.longreprtext
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if crash:  # an assertion's first line names it, the others explain it
        lines = ["; ".join([lines[0], *_INNER.findall(report.longreprtext)])] if lines else []
    return lines[-1][:_LINE] if lines else ""


class Progress:
    """Prints failures at once.

    Only a run without workers and the controller of xdist's workers print.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.running: dict[str, None] = {}  # in the order of their starts

    def _print(self, line: str) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal:
            terminal.ensure_newline()
            terminal.write_line(line)
            terminal.flush()  # a log that is cut has it

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.running.pop(nodeid, None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        kind = "error" if report.failed and report.when != "call" else report.outcome
        if kind in _KINDS:
            self._print(f"{_KINDS[kind]} {report.nodeid} ({report.duration:.1f} s): {last_line(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._print(f"ERROR {report.nodeid}: {last_line(report)}")

    def pytest_keyboard_interrupt(self) -> None:
        for nodeid in self.running:
            self._print(f"INTERRUPTED {nodeid}")
