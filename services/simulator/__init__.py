"""The simulator: seeded worlds in which the true probability of every quote is known.

`path` draws prices. On them stand two things. A recording: `markets` lists contracts and what each
is truly worth, `flow` quotes them, `recording` writes the folder that `hawk import` reads, and
`day` one day of it. And live venues: `world` draws what happens in a second (`prices`, `life`,
`quoting`, `books`, `stepping`), the files named after a venue write it as that venue does, `faults`
says what can go wrong, `truth` what was true, `engine` runs it all, and `server` puts it on a port.
It exists so that claims about skill and about reliability can be checked against the truth, and so
that the whole stack can run where no venue is at hand.
"""
