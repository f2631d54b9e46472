"""Who answers, and what was given up: a start takes time, a single miss is none."""

from libs.common.events import DeadLetter
from services.monitor.presence import LETTER_S, START_S_MAX, DeadLetters, ServiceWatch

LETTER = DeadLetter(ts_ns=1, id="0" * 16, stream="s", entry_id="1-1", reason="no", group="g")


def firing(watch: ServiceWatch, now_s: float) -> list[bool]:
    return [claim.is_firing for claim in watch.claims(now_s)]


def test_three_misses_in_a_row_are_down_and_one_answer_is_up() -> None:
    watch = ServiceWatch(["trader", "features"], now_s=0.0)
    watch.see({"trader": True, "features": True})
    assert firing(watch, 1.0) == [False]
    for expected in ([], [], [True]):
        watch.see({"trader": False, "features": True})
        assert firing(watch, 2.0) == expected
    assert "trader" in watch.claims(2.0)[0].evidence
    watch.see({"trader": True, "features": True})
    assert firing(watch, 3.0) == [False]


def test_a_service_that_never_answered_may_still_be_starting() -> None:
    watch = ServiceWatch(["trader"], now_s=100.0)
    for _ in range(9):
        watch.see({"trader": False})
    assert firing(watch, 100.0 + START_S_MAX - 1) == []
    assert firing(watch, 100.0 + START_S_MAX) == [True]


def test_nobody_to_ask_is_no_claim() -> None:
    assert ServiceWatch([], now_s=0.0).claims(1e6) == []


def test_letters_fire_for_an_hour_after_the_last() -> None:
    letters = DeadLetters()
    assert [c.is_firing for c in letters.claims(0.0)] == [False]
    letters.note(LETTER, 10.0)
    assert letters.claims(10.0 + LETTER_S)[0].is_firing
    letters.note(LETTER, 20.0)
    assert letters.claims(20.0 + LETTER_S)[0].is_firing
    assert "(2 in all)" in letters.claims(20.0)[0].evidence
    assert not letters.claims(21.0 + LETTER_S)[0].is_firing
