"""The compiled recurrent layers: arithmetic in NumPy and Numba, without Keras and TensorFlow."""
