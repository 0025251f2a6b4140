"""The analysis of a language model on windows of text."""
