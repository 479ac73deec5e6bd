"""The fast path of byte-pair encoding: arrays and threads around the compiled kernels."""
