"""Language models: loading, checks, windows of text, the sweep over all layers, the analysis."""
