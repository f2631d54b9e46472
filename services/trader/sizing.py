"""How many contracts: a fixed-dollar stake on the venue's grid of counts.

C = floor(stake / (price + fee)), at the order's limit price, so that the stake is what an order can
cost at most. The fee is the highest the order may meet: fees peak at 0.50, so above that a fill at
a better price carries a larger fee than one at the limit, and the bound must hold then, too.
"""

from libs.common.events import FeeSchedule
from libs.common.pricing import PRICE_ONE_E4, Terms, fee_e6
from services.trader.strategies import fee_unit_e6


def fee_e6_max(fee: FeeSchedule, *, price_limit_e4: int, size_e2: int) -> int:
    """Return the highest fee of an order of `size_e2` at `price_limit_e4` or better.

    >>> from libs.common.pricing import KALSHI_FEE
    >>> fee_e6_max(KALSHI_FEE, price_limit_e4=8000, size_e2=10_000)  # as if filled at 0.50
    1750000
    """
    return fee_e6(fee, price_e4=_dearest_e4(price_limit_e4), size_e2=size_e2)


def contracts_e2(budget_e6: int, *, price_limit_e4: int, fee: FeeSchedule, terms: Terms) -> int:
    """Return the largest count, in 1e-2, whose price and fee fit `budget_e6`; 0 if below minimum.

    >>> from libs.common.pricing import TERMS
    >>> kalshi = TERMS["kalshi", "KXBTC15M"]
    >>> contracts_e2(25_000_000, price_limit_e4=5000, fee=kalshi.fee, terms=kalshi)
    4830
    """
    # One contract costs price x 100 + fee in 1e-6 USD, a hundredth of it a hundredth.
    contract_e6 = price_limit_e4 * 100 + fee_unit_e6(fee, _dearest_e4(price_limit_e4))
    if price_limit_e4 <= 0 or contract_e6 <= 0:
        return 0
    size_e2 = _floor(budget_e6 * 100 // contract_e6, terms)
    if _cost_e6(size_e2, price_limit_e4, fee) > budget_e6:
        # The fee's rounding alone broke the budget: one rounding unit less always fits.
        size_e2 = _floor((budget_e6 - fee.round_e6) * 100 // contract_e6, terms)
    return size_e2 if is_tradable(size_e2, price_limit_e4, terms) else 0


def is_tradable(size_e2: int, price_e4: int, terms: Terms) -> bool:
    """Tell whether the venue takes an order of `size_e2` at `price_e4`."""
    return (
        size_e2 > 0
        and size_e2 >= terms.size_e2_min
        and size_e2 % terms.size_e2_step == 0
        and size_e2 * price_e4 >= terms.notional_e6_min
    )


def _floor(size_e2: int, terms: Terms) -> int:
    return max(size_e2, 0) // terms.size_e2_step * terms.size_e2_step


def _cost_e6(size_e2: int, price_limit_e4: int, fee: FeeSchedule) -> int:
    return size_e2 * price_limit_e4 + fee_e6_max(
        fee, price_limit_e4=price_limit_e4, size_e2=size_e2
    )


def _dearest_e4(price_limit_e4: int) -> int:
    return min(price_limit_e4, PRICE_ONE_E4 // 2)
