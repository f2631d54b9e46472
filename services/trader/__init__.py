"""Trader: from forecasts to paper orders, fills, ledger and settlement.

Owns the decision (strategies, sizing, limits), the paper fill against the recorded book, and the
ledger. Pure: `engine.TraderEngine` is a checkpointed handler over all underlyings, because limits
on exposure and loss are about one account and not about one stream. No code here, or anywhere in
this release, can send an order to a venue.
"""
