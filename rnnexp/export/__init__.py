"""From one trial to a bundle that takes text, checked against what training itself said; and the bundle's use.

Knows no study and no store of runs: whoever calls it says where the model came from.
"""
