"""Runs a study: the supervisor's loop, the failure policy, the limits and the retention of checkpoints."""
