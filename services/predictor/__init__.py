"""Predictor: owns the served model and turns feature rows into forecasts.

Pure: `scorer.py` (one row), `slot.py` (the bundle of one underlying), `swaps.py` (when a slot is
told of which), `probe.py` (what a bundle must answer), `request.py` (HTTP bodies), `board.py` (open
markets). Shell: `native.py` (LightGBM's C call), `verify.py` and `child.py` (a bundle's way to a
scorer), `champion.py` (what `models/current` makes of what serves), `app.py` and `pages.py` (HTTP),
`metrics.py`, `shell.py` (threads), `__main__.py`.
"""
