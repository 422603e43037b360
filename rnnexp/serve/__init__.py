"""Serves a bundle over HTTP: `/predict`, MLflow's `/invocations`, `/health`, `/metadata`, `/docs`.

Does not know studies or homes: it reads a bundle and nothing else.
"""
