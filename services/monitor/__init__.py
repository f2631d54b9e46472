"""Monitor: will own drift, silence, the audit of model changes and alerts; comes with the live bus.

Offline its checks are `hawk verify`'s.
"""
