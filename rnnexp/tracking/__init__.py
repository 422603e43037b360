"""Writes trials and studies to MLflow. The only package that imports MLflow.

`projection` replays a trial's events into its run: `runs` finds the run, `event_writer` writes one event, `payload`
builds the values. `sender` is the thread that does this while a study runs.
"""
