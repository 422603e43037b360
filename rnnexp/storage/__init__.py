"""Studies in Optuna's database. The only package that imports Optuna; what only reads (`views`) does not import it."""
