"""Ground-truth features over the inputs, as named (N, K) matrices."""
