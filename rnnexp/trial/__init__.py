"""Trains one `TrialConfig` and writes events and files to the folder of the trial.

Runs in a separate process. Knows neither Optuna nor MLflow; it reports to the rest of the program by `events`.
"""
