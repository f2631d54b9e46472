"""Features: what is known about a market at a quote, as named numbers.

`catalog` is the table of features, `definitions` their formulas, each written once. `engine` feeds
the formulas from streaming state (live and replay), `batch` from whole tables (training); both rest
on the integers of `inputs`, so they give the same bits. `windows`, `tracks`, `basis` keep the state
of the streaming side, `spot_columns` and `table_columns` are its counterpart in batch. This service
owns the feature-set id: a model fitted on another id is refused by the predictor.
"""
