"""What the truth says, and how it is compared."""

from services.simulator.faults import Switch
from services.simulator.naming import NS_PER_S
from services.simulator.truth import book_hash, contract_levels, spot_levels, switch_line
from tests.simulator.running import START_S, Run, market_of


def test_a_hash_sees_prices_sizes_and_sides_of_the_best_five() -> None:
    five = [(5_000 - i, 100) for i in range(5)]
    same = book_hash(five, [(5_100, 7)])
    assert book_hash([*five, (1, 1)], [(5_100, 7)]) == same
    assert book_hash(five[:4], [(5_100, 7)]) != same
    assert book_hash([(5_100, 7)], five) != same
    assert book_hash(five, [(5_100, 8)]) != same


def test_sizes_are_cut_to_hundredths_and_spot_is_in_usd() -> None:
    assert contract_levels(((4_900, 1_239_999),)) == [(4_900, 123)]
    assert spot_levels(((800_000_000, 150_000_000),)) == [(80_000.0, 1.5)]


def test_the_first_version_of_a_second_is_the_book_of_the_tick_before() -> None:
    run = Run()
    run.until(START_S + 5)
    before, after = run.ticks()[-2:]
    for name, book in after["books"].items():
        # Of spot a recorder keeps the touch alone, and so does the hash.
        n = 1 if name == "BTC-USD" else 5
        if name in before["books"]:
            old = before["books"][name]
            assert book["versions"][0] == [0, book_hash(old["bids"][:n], old["asks"][:n])]
            assert book["versions"][-1][1] == book_hash(book["bids"][:n], book["asks"][:n])


def test_the_book_that_a_market_begins_with_is_a_version() -> None:
    run = Run()
    quarter_s = 900 - START_S % 900
    run.until(START_S + quarter_s + 2)
    opened = market_of(run, "KXBTC15M").name
    first = next(tick["books"][opened] for tick in run.ticks() if opened in tick["books"])
    assert first["versions"][0] == [0, book_hash([], [])]
    assert len(first["versions"]) > 1


def test_markets_that_stand_at_the_start_are_named_with_what_is_known_of_them() -> None:
    run = Run()
    standing = {line["market"]: line for line in run.lines if line["kind"] == "standing"}
    quarter = market_of(run, "KXBTC15M")
    assert standing[quarter.name]["strike_usd"] > 0
    ahead = [line for line in standing.values() if line["open_ns"] > run.now_ns]
    assert ahead
    assert all("strike_usd" not in line for line in ahead)


def test_a_switch_is_a_line() -> None:
    line = switch_line(Switch("drop", "kalshi", 1, 2), is_on=True, ns=NS_PER_S)
    assert '"kind":"fault_on"' in line
    assert line.endswith("\n")
