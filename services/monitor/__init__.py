"""Monitor: silence, the audit of model changes, who serves what, who is behind, who answers.

It reads everything and writes alerts and metrics, nothing else. Drift and decay of calibration come
to it later; offline its checks of records are `hawk verify`'s.
"""
