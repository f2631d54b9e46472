"""The board: open markets and their latest forecasts, and nothing else."""

from libs.common.bundle import BASE_BUNDLE
from libs.common.events import FeatureRow, Forecast, Tick, event_id
from services.predictor.board import Board
from services.predictor.scorer import Scorer
from tests.predictor.models import row

SCORER = Scorer(BASE_BUNDLE)
CLOSE_NS = 1_000 + 900_000_000_000


def tick(ts_ns: int, underlying: str = "BTC-USD") -> Tick:
    return Tick(ts_ns=ts_ns, id=event_id("Tick", underlying, ts_ns), underlying=underlying)


def see(board: Board, seen: FeatureRow) -> Forecast | None:
    made = SCORER.forecast(seen)
    board.see(seen, (made,) if made else ())
    return made


def test_a_market_shows_its_latest_row_and_forecast() -> None:
    board = Board()
    see(board, row(1, ts_ns=1_000))
    later = row(1, ts_ns=2_000)
    made = see(board, later)
    assert [(p.row, p.forecast) for p in board.places()] == [(later, made)]


def test_an_unusable_row_keeps_the_forecast_before_it() -> None:
    board = Board()
    made = see(board, row(1, ts_ns=1_000))
    see(board, row(1, ts_ns=2_000, unusable="stale"))
    (place,) = board.places()
    assert place.row.unusable == "stale"
    assert place.forecast == made


def test_a_market_without_a_forecast_is_open_all_the_same() -> None:
    board = Board()
    see(board, row(1, ts_ns=1_000, unusable="crossed"))
    assert [place.forecast for place in board.places()] == [None]


def test_a_shadow_forecast_is_not_the_champions() -> None:
    board = Board()
    seen = row(1, ts_ns=1_000)
    shadow = SCORER.forecast(seen, "shadow")
    assert shadow is not None
    board.see(seen, (shadow,))
    assert [place.forecast for place in board.places()] == [None]


def test_a_market_leaves_the_board_at_its_close_by_its_own_stream() -> None:
    board = Board()
    see(board, row(1, ts_ns=1_000))
    board.see(tick(CLOSE_NS, "ETH-USD"), ())
    board.see(tick(CLOSE_NS - 1), ())
    assert len(board.places()) == 1
    board.see(tick(CLOSE_NS), ())
    assert board.places() == []


def test_the_first_to_close_comes_first() -> None:
    board = Board()
    for seed, ts_ns in ((1, 3_000), (2, 1_000), (3, 2_000)):
        see(board, row(seed, ts_ns=ts_ns))
    closes = [place.row.close_ns for place in board.places()]
    assert closes == sorted(closes)
    assert len(closes) == 3
