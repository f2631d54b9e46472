"""The ledger against its record, while both grow: what is found, and what is read for it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common.checkpoint import write_checkpoint
from libs.common.checks import ArchiveError
from libs.common.events import Event, Fill, Settlement
from libs.common.stream_writer import StreamWriter
from services.trader.engine import TraderEngine
from services.trader.proof import Proof
from tests.trader.scene import LIFE_S, at, fills, market, quote, resolution, run, step, trader


class Book:
    """A trader that writes down what it does, as the live one does."""

    def __init__(self, root: Path) -> None:
        self.root, self.engine = root, trader()
        self.writer = StreamWriter(root, writer="trader", kind="orders", underlying="BTC-USD")
        self.made: list[Event] = []

    def does(self, second: float, *events: Event) -> None:
        made = run(self.engine, events)
        self.made += made
        self.writer.append(made)
        self.save(second)

    def trades(self) -> None:
        self.does(1, market())
        self.does(30, *step(20), *step(25), *step(30))
        self.does(40, quote(31), quote(32), quote(33))
        assert fills(self.made)

    def settles(self) -> None:
        self.does(LIFE_S + 60, resolution("yes"))
        assert any(isinstance(event, Settlement) for event in self.made)

    def save(self, second: float, engine: TraderEngine | None = None) -> None:
        state = (engine or self.engine).checkpoint()
        write_checkpoint(self.root, state, tick_ns=at(second), run="live")

    def cooks(self, second: float, **changes: Any) -> None:
        """Write down another ledger than the record adds up to; its own books balance."""
        state = msgspec.json.decode(self.engine.checkpoint())
        balances = state["account"]["ledger"]["balances_e6"]
        balances["cash"] += 1
        balances["gains:edge"] = balances.get("gains:edge", 0) - 1
        write_checkpoint(self.root, msgspec.json.encode(state), tick_ns=at(second), run="live")


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def fault(proof: Proof) -> str | None:
    proven = proof.look()
    assert proven is not None
    return proven.fault


def test_nothing_is_proven_before_the_first_checkpoint(tmp_path: Path) -> None:
    assert Proof(tmp_path).look() is None


def test_a_sound_ledger_is_proven_at_each_look_as_it_grows(book: Book) -> None:
    proof = Proof(book.root)
    book.trades()
    assert fault(proof) is None
    book.settles()
    assert fault(proof) is None
    proven = proof.look()
    assert proven is not None and proven.events >= 3
    assert fault(Proof(book.root)) is None


def test_one_unit_too_much_is_a_fault_until_it_is_put_right(book: Book) -> None:
    proof = Proof(book.root)
    book.trades()
    assert fault(proof) is None
    book.cooks(41)
    assert "is not what its" in (fault(proof) or "")
    assert "is not what its" in (fault(proof) or "")
    book.save(41)
    assert fault(proof) is None


def test_a_fill_that_is_not_in_the_record_is_a_fault(book: Book) -> None:
    book.trades()
    lost = fills(book.made)[0]
    (path,) = book.root.glob("archive/journal/trader/orders/*/*.journal")
    book.writer.close()
    path.unlink()
    writer = StreamWriter(book.root, writer="trader", kind="orders", underlying="BTC-USD")
    writer.append([event for event in book.made if event.id != lost.id])
    assert "is not what its" in (fault(Proof(book.root)) or "")


def test_a_settlement_that_pays_another_sum_is_a_fault(book: Book) -> None:
    book.trades()
    made, book.made = book.made, []
    book.settles()
    right = next(event for event in book.made if isinstance(event, Settlement))
    wrong = msgspec.structs.replace(right, payout_e6=right.payout_e6 + 1)
    (path,) = book.root.glob("archive/journal/trader/orders/*/*.journal")
    book.writer.close()
    path.unlink()
    writer = StreamWriter(book.root, writer="trader", kind="orders", underlying="BTC-USD")
    writer.append([*made, wrong])
    assert "settlement" in (fault(Proof(book.root)) or "")


def test_what_lies_behind_the_checkpoint_is_not_counted_yet(book: Book) -> None:
    # Outputs are journalled first: a look in between must not take them for a difference.
    proof = Proof(book.root)
    book.trades()
    assert fault(proof) is None
    book.writer.append(run(book.engine, [resolution("yes")]))
    assert fault(proof) is None
    book.save(LIFE_S + 60)
    assert fault(proof) is None


def test_a_difference_by_a_missed_event_ends_with_the_reading_of_everything(book: Book) -> None:
    proof = Proof(book.root)
    book.trades()
    assert fault(proof) is None
    late = [event for event in book.made if isinstance(event, Fill)]
    assert proof._rebuild is not None
    proof._rebuild.ledger.fill(msgspec.structs.replace(late[0], id="f" * 16))
    assert fault(proof) is None


def test_a_damaged_checkpoint_proves_nothing(book: Book) -> None:
    book.trades()
    path = book.root / "ledger/checkpoint.json"
    path.write_bytes(path.read_bytes().replace(b"cash", b"cush", 1))
    with pytest.raises(ArchiveError):
        Proof(book.root).look()
