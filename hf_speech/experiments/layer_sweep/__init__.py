"""Which layer of an encoder serves a task: one pass, and a probe on each layer.

parts     the rows, fold by fold
numbers   what the probes said, measured
runs      the Transformer probe, as ordinary runs
sweep     `hf-speech layer-sweep`
tables    what it leaves for people
"""
