"""The report of a run: one HTML file that needs no network. Reads run folders, runs nothing."""

from orbitune.report.page import write_report

__all__ = ["write_report"]
