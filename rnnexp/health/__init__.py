"""What is wrong with a home and how it is mended. Each check is a function of the home that gives findings.

Nothing here trains, and nothing imports TensorFlow; what the next start of a sweep would set right is set right by the
same code (`rnnexp.study`).
"""
