"""Any module: its parameters as arguments, checks, places where its activations are read and edited."""
