"""The small networks of the paper's settings, seeded by an explicit generator."""
