"""What stops trading from outside: kill switch, alerts, a venue that contradicts itself.

In go Command and Alert events, or the Skip that recorded one; out come the halts in force. A
control acts when the engine sees it and is recorded as a Skip of all strategies on all venues at
the current tick; replay feeds that Skip in place of the control stream and gets it back unchanged.
So the words of its reason are a format: `<verb> <argument>: <who or why>`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from libs.common.events import Alert, Command, Resolution, Skip, event_id
from services.trader.limits import TraderSettings

EVERY = "*"
"""Stands for all strategies, venues or markets in a Skip that is about none in particular."""

KILL = "kill"


class Control(NamedTuple):
    """One act: `verb` kill, resume, halt or clear; `argument` a venue (or none) or an alert's rule.

    `scope` is the underlying that an alert is about, or `*`.
    """

    verb: str
    argument: str
    scope: str
    why: str

    @property
    def reason(self) -> str:
        """The reason of the Skip that records this act.

        >>> Control("kill", "", "*", "alice").reason
        'kill: alice'
        """
        return f"{self.verb} {self.argument}".rstrip() + f": {self.why}"


def control_of(event: Command | Alert | Skip, settings: TraderSettings) -> Control | None:
    """Return what `event` asks of the trader, or None if it is not for it."""
    if isinstance(event, Command):
        if event.command not in ("kill", "resume"):
            return None
        return Control(event.command, event.argument or "", EVERY, event.who)
    if isinstance(event, Alert):
        if event.severity != "page" and not event.rule.startswith(settings.halting_rules):
            return None
        verb = "halt" if event.state == "firing" else "clear"
        return Control(verb, event.rule, event.underlying or EVERY, event.evidence)
    if event.strategy != EVERY or event.venue != EVERY:
        return None
    act, _, why = event.reason.partition(": ")
    verb, _, argument = act.partition(" ")
    return Control(verb, argument, event.market, why)


def halts_after(halts: Mapping[str, str], control: Control) -> dict[str, str]:
    """Return the halts in force, key -> reason, after `control`.

    >>> halts_after({}, Control("kill", "kalshi", "*", "alice"))
    {'venue kalshi': 'kill kalshi: alice'}
    """
    key = _key(control)
    after = dict(halts)
    if control.verb in (KILL, "halt"):
        after.setdefault(key, control.reason)
    elif control.verb == "resume" and not control.argument:
        # A person who says go has seen the alerts that fire.
        after = {k: why for k, why in after.items() if k != KILL and not k.startswith("alert ")}
    else:
        after.pop(key, None)
    return after


def halted_by(halts: Mapping[str, str], *, venue: str, underlying: str) -> str | None:
    """Return why trading of `underlying` on `venue` is halted, in one word and its name, or None.

    >>> halted_by({"kill": "kill: alice"}, venue="kalshi", underlying="BTC-USD")
    'halted: kill'
    """
    for key in sorted(halts):  # a restored dict has another order than one that grew
        kind, _, rest = key.partition(" ")
        if (
            kind == KILL
            or (kind == "venue" and rest == venue)
            or (kind == "alert" and rest.partition(" ")[0] in (EVERY, underlying))
        ):
            return f"halted: {key}"
    return None


class Halts:
    """The halts in force, and a count of acts that keeps the ids of their records apart."""

    def __init__(self) -> None:
        """Start with nothing halted."""
        self.by_key: dict[str, str] = {}
        self.count = 0

    def reason(self, venue: str, underlying: str) -> str | None:
        """Return why trading of `underlying` on `venue` is halted, or None."""
        return halted_by(self.by_key, venue=venue, underlying=underlying) if self.by_key else None

    def act(self, control: Control, *, now_ns: int, underlying: str) -> Skip | None:
        """Take `control`; return its record in `underlying`'s stream, None if nothing changes.

        A resume is always recorded: it also forgives a drawdown.
        """
        halts = halts_after(self.by_key, control)
        if halts == self.by_key and control.verb != "resume":
            return None
        self.by_key = halts
        self.count += 1
        return Skip(
            ts_ns=now_ns,
            id=event_id("Skip", EVERY, self.count, now_ns, control.reason),
            strategy=EVERY,
            venue=EVERY,
            market=control.scope,
            underlying=underlying,
            reason=control.reason,
        )

    def contradicted(self, event: Resolution, why: str) -> Skip | None:
        """Halt the venue of `event` until a person resumes it; None if it is halted already."""
        key = f"venue {event.venue}"
        if key in self.by_key:
            return None
        self.by_key[key] = f"{why} of {event.market}"
        return Skip(
            ts_ns=event.ts_ns,
            id=event_id("Skip", EVERY, event.venue, event.market, event.ts_ns, why),
            strategy=EVERY,
            venue=event.venue,
            market=event.market,
            underlying=event.underlying,
            reason=f"venue halted: {why}",
        )


def _key(control: Control) -> str:
    if control.verb in ("halt", "clear"):
        return f"alert {control.scope} {control.argument}"
    return f"venue {control.argument}" if control.argument else KILL
