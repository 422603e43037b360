"""The supervisor's loop: asks, submits, reports, prunes, tells. Optuna is here, MLflow is here, and their reconciling.

Optuna holds the truth about a study; MLflow is a projection of the trials' events and can be written late.
"""
