"""Collector: owns what was seen at the venues, and is the only writer of snapshots.

`recording.py` imports recordings made elsewhere; `validation.py` (pure) judges each of their rows.
The live feeds come beside them.
"""
