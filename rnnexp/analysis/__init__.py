"""From studies to frames, comparisons and pictures. Reads studies; writes only the files that it is asked for."""
