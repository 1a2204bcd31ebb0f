"""A comparison as one HTML page: tables, figures and what they mean, with nothing to fetch."""

from tsnn_uq.results.page.page import write_report

__all__ = ["write_report"]
