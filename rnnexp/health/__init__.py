"""Finds and repairs faults of a home. Each check is a function that takes the home and yields findings.

Nothing here trains or imports TensorFlow. Where the next start of a sweep would repair a fault, the repair here uses
the same code (`rnnexp.study`). Optuna and MLflow are used through `rnnexp.storage` and `rnnexp.tracking`; SQL that
reads MLflow's tables directly is in `mlflow_tables`, SQL for any SQLite file in `sqlite_files`.
"""
