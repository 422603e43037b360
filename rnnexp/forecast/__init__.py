"""Estimates of the time, memory and disk that a study needs, before it starts."""
