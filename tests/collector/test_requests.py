"""REST requests: asked when due, once at a time, and never remembered without end."""

from libs.common.venues import VENUES
from services.collector.lifecycle import Markets
from services.collector.requests import ASKED_S_MAX, ROUTINE_S, UNDER_WAY_MAX, Requests
from tests.collector.toy_venue import S, Toy, at, facts


def kalshi() -> Requests:
    venue = VENUES["kalshi"]
    return Requests({"kalshi": venue}, {"kalshi": Markets(venue, ["KXBTC15M"])})


def test_status_and_terms_are_asked_at_once_and_again_after_their_wait() -> None:
    requests = kalshi()
    asked: dict[str, list[int]] = {}
    for second in range(0, ROUTINE_S["terms"] + 10, 10):
        for fetch in requests.due(at(second)):
            asked.setdefault(fetch.get.purpose, []).append(second)
    assert asked["terms"] == [0, ROUTINE_S["terms"]]
    assert asked["status"][:3] == [0, ROUTINE_S["status"], 2 * ROUTINE_S["status"]]


def test_a_lacking_strike_is_urgent_and_a_listing_is_not() -> None:
    venue = Toy()
    markets = Markets(venue, ["TOY15"])
    markets.learn(facts(strike_usd=None), at(0.1))
    markets.opened(at(1), {})
    found = {
        f.get.purpose: f.is_urgent for f in Requests({"toy": venue}, {"toy": markets}).due(at(1))
    }
    assert found == {"list": False, "market": True}


def test_a_request_under_way_is_not_repeated_until_it_is_answered_or_lost() -> None:
    requests, get = kalshi(), VENUES["kalshi"].book("M-1")
    assert requests.is_wanted(get, 0)
    assert not requests.is_wanted(get, ASKED_S_MAX * S - 1)
    assert requests.is_wanted(get, ASKED_S_MAX * S)
    requests.answered(get)
    assert requests.is_wanted(get, ASKED_S_MAX * S + 1)


def test_requests_that_are_never_answered_are_remembered_up_to_a_limit() -> None:
    requests = kalshi()
    for number in range(UNDER_WAY_MAX + 500):
        requests.is_wanted(VENUES["kalshi"].book(f"M-{number}"), number)
    assert len(requests._asked_ns) <= UNDER_WAY_MAX
