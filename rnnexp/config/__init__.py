"""From YAML to frozen, checked values: `SweepConfig` and `TrialConfig`.

Knows what may be written and what it means; knows no data set, no Keras and no store.
"""
