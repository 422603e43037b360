"""Runs trials in slots and passes on their messages. Knows nothing of studies, Optuna or MLflow."""
