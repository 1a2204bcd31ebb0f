"""Results: what is measured on predictions and runs, its tables and figures, studies of trained runs, and the page."""
