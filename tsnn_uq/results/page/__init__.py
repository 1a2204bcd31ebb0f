"""Reports of comparisons as one self-contained HTML page with tables, figures and explanations."""

from tsnn_uq.results.page.figure_catalog import prediction_figures
from tsnn_uq.results.page.render_page import write_predictions_report, write_report

__all__ = ["prediction_figures", "write_predictions_report", "write_report"]
