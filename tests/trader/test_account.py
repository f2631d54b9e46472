"""The account: exposure counts what is held and what may still be bought."""

import msgspec

from libs.common.events import Fill, event_id
from services.trader.account import DAY_NS, Account
from services.trader.limits import Exposure, TraderSettings
from tests.trader.scene import at, order

SETTINGS = TraderSettings(orders_per_minute_max=3)
KEY = ("edge", "kalshi", "M1")


def account() -> Account:
    made = Account(SETTINGS)
    made.advance(at(0))
    return made


def fill(price_e4: int = 5_500, size_e2: int = 1_000, fee_e6: int = 180_000) -> Fill:
    return Fill(
        ts_ns=at(61), id=event_id("Fill", 1), order_id=order().id, strategy="edge", venue="kalshi",
        market="M1", underlying="BTC-USD", side="yes", price_e4=price_e4, size_e2=size_e2,
        fee_e6=fee_e6,
    )  # fmt: skip


def seen(by: Account, key: tuple[str, str, str] = KEY, second: float = 61) -> Exposure:
    return by.exposure(key, underlying="BTC-USD", side="yes", now_ns=at(second))


def test_an_order_in_flight_counts_at_its_worst() -> None:
    own = account()
    own.place(order(), is_sent=True)
    exposure = seen(own)
    assert exposure.market_e6 == exposure.venue_e6 == exposure.total_e6 == 5_680_000
    assert exposure.cash_e6 == SETTINGS.capital_e6 - 5_680_000
    assert exposure.has_order and exposure.positions == 1
    own.finish(order())
    assert seen(own).total_e6 == 0


def test_a_position_counts_with_its_fee() -> None:
    own = account()
    own.ledger.fill(fill())
    exposure = seen(own)
    assert exposure.market_e6 == 5_680_000 and exposure.has_position and not exposure.has_order
    assert exposure.cash_e6 == SETTINGS.capital_e6 - 5_680_000


def test_exposure_is_summed_across_strategies_and_kept_apart_by_place() -> None:
    own = account()
    own.place(order(), is_sent=True)
    own.place(order(id="2", strategy="edge_wide"), is_sent=True)
    own.place(order(id="3", market="M2", underlying="ETH-USD"), is_sent=True)
    own.place(order(id="4", venue="polymarket", market="M3"), is_sent=True)
    exposure = seen(own)
    in_units = [exposure.market_e6, exposure.underlying_e6, exposure.venue_e6, exposure.total_e6]
    assert [value // 5_680_000 for value in in_units] == [2, 3, 3, 4]


def test_the_other_side_of_what_is_held_is_opposite() -> None:
    own = account()
    own.ledger.fill(fill())
    no = own.exposure(KEY, underlying="BTC-USD", side="no", now_ns=at(61))
    assert no.is_opposite and not seen(own).is_opposite
    other = own.exposure(("edge_wide", "kalshi", "M1"), underlying="", side="no", now_ns=at(61))
    assert not other.is_opposite


def test_orders_of_the_last_minute_are_counted_up_to_the_limit() -> None:
    own = account()
    for i in range(5):
        own.place(order(id=str(i), ts_ns=at(i)), is_sent=False)
    assert seen(own, second=4).orders_last_minute == 3
    assert seen(own, second=62.5).orders_last_minute == 2
    assert seen(own, second=64).orders_last_minute == 0


def test_the_loss_of_a_day_begins_anew_at_midnight_utc_and_the_drawdown_does_not() -> None:
    own = account()
    own.ledger.fill(fill())
    own.settle(KEY, "no")
    assert seen(own).loss_day_e6 == seen(own).drawdown_e6 == 5_680_000
    own.advance((at(0) // DAY_NS + 1) * DAY_NS)
    assert (seen(own).loss_day_e6, seen(own).drawdown_e6) == (0, 5_680_000)
    own.forgive_drawdown()
    assert seen(own).drawdown_e6 == 0


def test_the_drawdown_is_measured_from_the_best_moment() -> None:
    own = account()
    own.ledger.fill(fill())
    own.settle(KEY, "yes")
    own.ledger.fill(fill())
    own.settle(KEY, "no")
    assert seen(own).drawdown_e6 == 5_680_000
    assert seen(own).loss_day_e6 == 5_680_000 - 4_320_000


def test_a_loss_limit_that_is_reached_stops_everything() -> None:
    for name in ("loss_day_e6_max", "drawdown_e6_max"):
        for limit_e6, reason in ((5_680_000, name.removesuffix("_e6_max")), (5_680_001, None)):
            own = Account(msgspec.structs.replace(SETTINGS, **{name: limit_e6}))
            own.advance(at(0))
            own.ledger.fill(fill())
            assert own.stop() is None
            own.settle(KEY, "no")
            assert own.stop() == reason


def test_a_restored_account_forgives_nothing() -> None:
    own = account()
    own.ledger.fill(fill())
    own.settle(KEY, "no")
    own.place(order(), is_sent=True)
    other = Account(SETTINGS)
    other.restore(own.state())
    assert seen(other) == seen(own) and other.state() == own.state()
