"""Report: records of runs as tables, figures and pages. Nothing here trains anything."""
