"""The kernels of every group of parameters from one backward pass of many output directions."""
