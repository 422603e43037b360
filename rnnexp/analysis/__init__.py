"""Data frames, comparisons, figures and reports of studies. Only reads studies."""
