"""One worker of xdist has all tests below, so that two do not compile the same kernels side by side."""
