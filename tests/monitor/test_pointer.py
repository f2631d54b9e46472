"""What `models/current` must say by the records, and that a moment's lag is no fault."""

import pytest

from libs.common.bundle import Current
from libs.common.events import ModelEvent, event_id
from services.monitor.pointer import TwiceSeen, chain_fault, pointer_fault

ONE, TWO = "1" * 24, "2" * 24


def activation(bundle: str, generation: int, action: str = "activated") -> ModelEvent:
    return ModelEvent(
        ts_ns=generation,
        id=event_id(bundle, generation),
        bundle=bundle,
        action=action,  # type: ignore[arg-type]
        reason="test",
        cause="test",
        generation=generation,
    )


def current(bundle: str, generation: int) -> Current:
    return Current(bundle=bundle, generation=generation, reason="test", signature="")


EVENTS = [activation(TWO, 2, "rolled_back"), activation(ONE, 1)]
CHAINED = {event.id for event in EVENTS}


@pytest.mark.parametrize(
    ("pointer", "events", "says"),
    [
        (None, [], None),
        (current(TWO, 2), EVENTS, None),
        (current(TWO, 2), [*EVENTS, activation(ONE, 9, "refused")], None),
        (current(ONE, 1), [], "no activation was ever recorded"),
        (None, EVENTS, "is gone"),
        (current(TWO, 3), EVENTS, "the last recorded activation is 2"),
        (current(ONE, 1), EVENTS, "an old pointer was put back"),
        (current(ONE, 2), EVENTS, f"activation 2 was of {TWO}"),
    ],
)
def test_the_pointer_is_held_against_the_last_activation(
    pointer: Current | None, events: list[ModelEvent], says: str | None
) -> None:
    fault = pointer_fault(pointer, events, CHAINED)
    assert fault is None if says is None else says in (fault or "")


def test_an_activation_without_its_line_is_a_fault() -> None:
    chained = CHAINED - {EVENTS[0].id}
    assert "lacks activation 2" in (pointer_fault(current(TWO, 2), EVENTS, chained) or "")


def test_a_line_without_its_event_is_a_fault() -> None:
    assert chain_fault(EVENTS, CHAINED) is None
    assert EVENTS[1].id in (chain_fault(EVENTS[:1], CHAINED) or "")
    # An event without its line may be a kill between the two; the trainer completes it.
    assert chain_fault(EVENTS, set()) is None


def test_a_fault_counts_when_it_is_seen_twice_in_a_row() -> None:
    twice = TwiceSeen()
    looks = [None, "a", None, "a", "b", "b", None]
    assert [twice.confirmed(fault) for fault in looks] == [None] * 4 + ["b", "b", None]
    twice.confirmed("a")
    assert twice.is_waiting
