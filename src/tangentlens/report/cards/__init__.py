"""Feature cards: a record of a language model's run in, plain data for the page or a file out."""
