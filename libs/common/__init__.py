"""The library that all services share; it imports none of them.

Pure: `events` (what is said), `streams` (where), `handler` (by whom), `checks` (what goes wrong),
`pricing` (costs), `fair_value`, `model` (the arithmetic of a forecast), `scoring`, `rows`.
Shell: `archive` and `journal` (the truth on disk), `replay` (handlers from the archive), `bundle`
(signed models), `audit` (hash chain), `settings`, `telemetry`. The bus and the live runner come
beside them.
"""
