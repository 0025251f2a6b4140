"""Which calls use the parameters, recorded as a model runs, and the proof of what they are."""
