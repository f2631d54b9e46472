"""Console: the operator's side, the `hawk` command.

Offline it runs the owning role in its own process, under that role's lock: an import writes as the
collector, training and activation as the trainer. `cli.py` is the table of commands; each command's
work stands in a file of its own.
"""
