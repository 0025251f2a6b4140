"""Analysis of any language model on windows of text with labels."""
