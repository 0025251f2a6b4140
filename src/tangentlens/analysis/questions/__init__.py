"""Three questions about every feature: aligned, learned, used."""
