"""The simulator: seeded recordings in which the true probability of every quote is known.

`path` draws prices, `markets` lists the contracts on them and what each is truly worth, `flow`
quotes those contracts, `recording` writes the folder that `hawk import` reads, and `day` one day of
it for the live collector. It exists so that claims about skill can be checked against the truth,
and so that the whole stack can run where no venue is at hand.
"""
