"""The third setting of the paper: the grammar of the next word in Gemma-3-270M."""
