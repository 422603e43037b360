"""Labels texts with the ONNX model of a bundle; needs ONNX Runtime and NumPy only: `python -m rnnexp.runtime`.

Does not know settings files, Keras or studies. The rest of the program reads a bundle's manifest through this package,
and encodes texts with it, so that all formats of a bundle see the same tokens.
"""
