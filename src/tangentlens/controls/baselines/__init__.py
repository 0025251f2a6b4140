"""What else could have found the features: rivals of the kernel at equal budget, and a supervised ceiling."""
