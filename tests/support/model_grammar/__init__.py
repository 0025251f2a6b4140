"""A grammar of torch models: short specs that hypothesis draws, and the modules that they build."""
