"""Predictor: owns the served model and turns feature rows into forecasts.

`scorer.py` and `slot.py` are pure; `native.py` calls LightGBM's C interface for one row.
"""
