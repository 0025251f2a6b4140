"""How what a memory budget leaves beside the kernels is divided."""

FACTORS = 0.4  # factors of the parameters that are worked on together; gradients of a matrix-free product
GRAPH = 0.3  # the graph of a forward pass, and the backward passes through it
WORKSPACE = 0.2  # temporaries of a contraction
EXAMPLES = 2  # the least that a pass is run on
