"""Collector: owns what was seen at the venues, and is the only writer of snapshots.

`recording` reads recordings made elsewhere and imports them; `judgement` (with `validation`,
`markets`, `gaps`, `snapshot_tables`) judges each of their rows. Live, the same judged tables become
`instants`, which `play` writes at their `pace` through the `publisher`; `simulation` has days drawn
ahead by the simulator. Feeds of the venues themselves come beside them.
"""
