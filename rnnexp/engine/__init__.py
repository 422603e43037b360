"""Runs trials in slots and hands on what they say. Knows no study, no Optuna, no MLflow."""
