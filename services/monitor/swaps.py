"""Silent swaps in the stream: pure. Is each forecast made by the bundle that the records name?

In go model events (recorded swaps count) and forecasts, out come claims per underlying. The
predictor journals a swap before the first forecast of the new bundle, with the instant from which
it holds; so the bundle of any forecast can be looked up, whatever order streams are read in.

A reader would question the second state. A forecast of the base model where a bundle should serve
is no foreign model: it is flagged as fallback and nobody trades on it. It has a rule of its own,
because it means that trading has stopped, not that somebody swapped a model.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable

from libs.common.bundle import BASE
from libs.common.events import Forecast, ModelEvent
from services.monitor.claims import FALLBACK_SERVING, SILENT_SWAP, Claim

_Swap = tuple[int, int, str]
"""Instant, generation, bundle."""


class SwapWatch:
    """What every underlying's records say, and the last forecast that was held against them."""

    def __init__(self) -> None:
        self._swaps: dict[str, list[_Swap]] = {}
        self._last: dict[str, Forecast] = {}

    @property
    def newest_ns(self) -> int:
        """The instant of the newest swap known, 0 if there is none."""
        return max((swaps[-1][0] for swaps in self._swaps.values()), default=0)

    def note(self, events: Iterable[ModelEvent]) -> None:
        """Take recorded swaps, in any order, repeated or not."""
        for event in events:
            if event.action == "swapped" and event.underlying is not None:
                swaps = self._swaps.setdefault(event.underlying, [])
                swap = (event.ts_ns, event.generation or 0, event.bundle)
                if swap not in swaps:
                    insort(swaps, swap)

    def see(self, forecasts: Iterable[Forecast]) -> None:
        """Take forecasts; of each underlying the last champion's counts."""
        for forecast in forecasts:
            if forecast.role == "champion":
                self._last[forecast.underlying] = forecast

    def expected(self, underlying: str, ts_ns: int) -> str:
        """Return the bundle that served `underlying` at `ts_ns` by the records."""
        swaps = self._swaps.get(underlying, [])
        past = swaps[: bisect_right(swaps, ts_ns, key=lambda swap: swap[0])]
        return max(past, key=lambda swap: swap[1])[2] if past else BASE

    def has_suspects(self) -> bool:
        """Tell whether a forecast does not fit: the records should be read again before a claim."""
        return any(claim.is_firing for claim in self.claims())

    def claims(self) -> list[Claim]:
        """Return what the last forecasts say, underlying by underlying."""
        return [claim for name in sorted(self._last) for claim in self._claims_of(self._last[name])]

    def _claims_of(self, forecast: Forecast) -> tuple[Claim, Claim]:
        underlying, found = forecast.underlying, forecast.bundle
        expected = self.expected(underlying, forecast.ts_ns)
        is_fallback = found == BASE != expected
        evidence = f"forecast {forecast.id} of {forecast.market} was made by {found}"
        wrong = f"{evidence}, the recorded swaps say {expected}"
        right = f"{evidence}, as recorded"
        return (
            Claim(
                SILENT_SWAP,
                found != expected and not is_fallback,
                right if found == expected else wrong,
                underlying,
            ),
            Claim(FALLBACK_SERVING, is_fallback, wrong if is_fallback else right, underlying),
        )
