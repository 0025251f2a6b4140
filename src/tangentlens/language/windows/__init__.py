"""Windows of text with their labels: sources, taggers, the search."""
