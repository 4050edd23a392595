"""Training of one model: the loop, several workers, CUDA graphs."""
