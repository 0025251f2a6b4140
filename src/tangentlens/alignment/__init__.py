"""How the modes of a kernel relate to known features: arrays in, arrays out."""
