"""Results of predictions and runs: measures, tables, figures, studies of trained runs, and the HTML page."""
