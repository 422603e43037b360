"""Reads YAML files into frozen, checked values: `SweepConfig` and `TrialConfig`.

Defines which settings exist and which values are allowed. Does not read data, and imports neither Keras nor Optuna.
"""
