"""The venues, one pure file each: wire text in, typed messages out, and the texts to send.

`messages` is what all of them say, `venue` what each of them provides, `numbers` how strictly their
texts are read. A new venue is a file here and its line in `VENUES`; a contract test runs every
entry over recorded messages and over damaged ones.
"""

from libs.common.venues.coinbase import COINBASE
from libs.common.venues.kalshi import KALSHI
from libs.common.venues.polymarket import POLYMARKET
from libs.common.venues.venue import Venue

VENUES: dict[str, Venue] = {venue.name: venue for venue in (COINBASE, KALSHI, POLYMARKET)}
