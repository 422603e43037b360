"""Studies in Optuna's database. The only package that imports Optuna."""
