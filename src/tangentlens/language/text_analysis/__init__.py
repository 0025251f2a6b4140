"""Analysis of any language model on any text, with labels of any kind or none."""
