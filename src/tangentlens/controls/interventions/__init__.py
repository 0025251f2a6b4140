"""Do the modes matter for the computation? Ablate and steer along them, against controls of equal dimension."""
