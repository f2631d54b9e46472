"""The trainer: from an archive's feature rows to a candidate model and a verdict about it.

Pure: `dataset` (rows and labels as arrays), `splits` (walk-forward in whole blocks), `fit` and
`trees` (the rungs), `calibrate`, `walk` (what one training set learns), `ladder` (which rung is
earned), `canaries` (leaks), `gate` (the verdict), `report`. Shell: `shell` (`train`), which spreads
folds over processes. It reads no clock and no file; whoever calls it writes the bundle.
"""
