"""The analysis of any trained network: a subject, steps, findings."""
