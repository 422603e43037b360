"""Runs in MLflow, replayed from the trials' events. The only package that imports MLflow."""
