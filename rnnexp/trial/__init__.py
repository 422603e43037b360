"""From one `TrialConfig` and a folder to events and files in that folder.

Runs in a process of its own. Knows neither Optuna nor MLflow; `events` is what it says to the rest of the program.
"""
