"""Redis hurt in every way that was measured, under a writer and a service that must go on.

Each fault ends the same: nothing lost and nothing twice in the archive and in what the handler was
fed; a log line and an alert that name it, once; nothing buffered but the journal; few attempts, not
a busy loop; and recovery without a hand. Attempts are counted, never timed: the bound is what the
back-off allows in the time the fault happened to take.
"""

import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from libs.common.archive import TIME_MAX_NS
from libs.common.bus import Bus
from libs.common.checks import BusForeignError
from libs.common.context import REASONS_TOLD_MAX, Context
from libs.common.events import Alert, Event, QuoteSnapshot
from libs.common.memory_bus import MemoryBus
from libs.common.reader import COUNT, ControlReader, OrderedReader
from libs.common.redis_bus import PIPELINE_ENTRIES_MAX, connect
from libs.common.service import ATTEMPTS_MAX, Attempts
from libs.common.settings import Settings
from libs.common.streams import stream
from libs.common.web import Web
from tests.redis_server import Connects, RedisServer, needs_redis, redis_server, wait_until
from tests.scenarios.pipeline import (
    ALERTS,
    DEAD,
    FEATURES,
    SNAPSHOTS,
    UNDERLYING,
    Pipeline,
    instant,
)

pytestmark = needs_redis

TIMEOUT_S = 0.3
"""The client's, short so that a stall of several fits a test; the product's is 5 s."""

ATTEMPTS_PER_S_MAX = 40
"""Of all threads of the pipeline together: some six that ask, each at most every 50 ms at first and
every few seconds later. A busy loop makes tens of thousands."""

ENTRY_BODY = b'{"type":"SpotSnapshot","ts_ns":1,"id":"00","underlying":"BTC-USD","source":"x"}'

Lines = list[MutableMapping[str, Any]]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def pipeline(tmp_path: Path, server: RedisServer, lines: Lines) -> Iterator[Pipeline]:
    made = Pipeline(tmp_path, lambda: connect(server.url, timeout_s=TIMEOUT_S))
    yield made
    made.stop()
    assert not [line for line in lines if line["event"] == "handler.failed" and not made.poisoned]


def said(lines: Lines, event: str) -> int:
    """How many log lines there are of an event."""
    return sum(line["event"] == event for line in lines)


def all_alerts(pipeline: Pipeline) -> list[tuple[str, str]]:
    """The alerts of both services."""
    return [*pipeline.alerts("collector"), *pipeline.alerts("features")]


def down_alerts(pipeline: Pipeline) -> list[list[str]]:
    """The states of `bus_down`, in order, of each service that raised it."""
    both = [pipeline.alerts(writer) for writer in ("collector", "features")]
    states = [[state for rule, state in alerts if rule == "bus_down"] for alerts in both]
    return [of_one for of_one in states if of_one]


class Asked:
    """Counts what is asked of the server during a fault and holds it to what back-off allows."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count, self._began, self._began_s = count, count(), time.monotonic()

    @property
    def made(self) -> int:
        return self._count() - self._began

    def assert_few(self) -> None:
        bound = ATTEMPTS_PER_S_MAX * (1 + time.monotonic() - self._began_s)
        assert 0 < self.made <= bound, f"{self.made} attempts, {bound:.0f} allowed"


def hammered(pipeline: Pipeline) -> bool:
    """Flush again and again: when to try is the outbox's own business."""
    return not any(pipeline.outbox.flush() for _ in range(50))


def refused_batches(server: RedisServer) -> int:
    """Reads and, a pipeline each, the entries sent: what is refused once is not sent to its end."""
    return server.calls("xreadgroup") + server.calls("xadd") // PIPELINE_ENTRIES_MAX


@contextmanager
def outage(pipeline: Pipeline, lines: Lines) -> Iterator[None]:
    """At the end of the block, wait until it has been noticed."""
    before = said(lines, "bus.down")
    yield
    wait_until(lambda: said(lines, "bus.down") > before, "somebody notices")
    assert reasons(pipeline)


def reasons(pipeline: Pipeline) -> str:
    """Why the two services say that they are not ready."""
    contexts = [pipeline.collector, *([pipeline.service.context] if pipeline.service else [])]
    return "; ".join(c.health.reasons().get("bus", "") for c in contexts).strip("; ")


def assert_recovered(pipeline: Pipeline, lines: Lines) -> None:
    """Everything is done, once, and the outage was announced and called off once by each."""
    pipeline.settle()
    wait_until(lambda: not reasons(pipeline), "both are ready")
    pipeline.stop()
    pipeline.assert_exact()
    announced = down_alerts(pipeline)
    assert announced and all(states == ["firing", "resolved"] for states in announced)
    outages = ("bus_down", "resolved"), ("stream_flushed", "resolved")
    over = [alert for alert in all_alerts(pipeline) if alert in outages]
    assert said(lines, "bus.up") == len(over)
    # A new reason is told, the same one not again.
    assert len(announced) <= said(lines, "bus.down") <= REASONS_TOLD_MAX * len(announced)
    posted = [d.event for d in pipeline.bus.entries(ALERTS, count=1000)]
    states = [e.state for e in posted if isinstance(e, Alert) and e.rule == "bus_down"]
    # Posted in order behind the journal, at the next start if the back-off outlasts this one: what
    # was posted ends as the journal does, or has not begun.
    assert states.count("resolved") <= len(announced) and states[-1:] in ([], ["resolved"])


# --- readers that are slow, stopped, restarted ---------------------------------------------------


def test_a_slow_reader_holds_little_and_loses_nothing(pipeline: Pipeline, lines: Lines) -> None:
    pipeline.start_held()
    pipeline.write(1500, batch=50)
    facts = pipeline.bus.facts(SNAPSHOTS)
    assert facts is not None and facts.length == len(pipeline.sent)
    [group] = facts.groups
    # What is not read waits in the stream, not in the service.
    assert group.pending <= COUNT and group.lag_true >= 4500 - COUNT
    pipeline.brake.set()
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()
    assert pipeline.alerts() == []


def test_a_slow_reader_is_not_robbed_of_what_it_works_on(pipeline: Pipeline) -> None:
    pipeline.write(1)
    first = pipeline.bus.read(SNAPSHOTS, group="features", consumer="slow", count=1, block_s=0)
    claimed = pipeline.bus.claim(
        SNAPSHOTS, group="features", consumer="other", idle_s_min=60, count=9
    )
    assert first and claimed == ([], [])


def test_a_slow_reader_that_is_trimmed_past_reads_the_archive_and_says_so(
    pipeline: Pipeline, lines: Lines
) -> None:
    pipeline.start_held()
    pipeline.write(1500, batch=50)
    pipeline.bus.trim(SNAPSHOTS, entries_max=100)
    pipeline.brake.set()
    pipeline.settle()
    pipeline.write(5)
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()
    assert said(lines, "stream.hole") == 1
    assert pipeline.alerts() == [("stream_hole", "firing"), ("stream_hole", "resolved")]


def test_a_stopped_reader_that_was_trimmed_past_starts_from_the_archive(
    pipeline: Pipeline,
) -> None:
    pipeline.start()
    pipeline.write(20)
    pipeline.settle()
    pipeline.stop()
    pipeline.write(600, batch=50)
    pipeline.bus.trim(SNAPSHOTS, entries_max=10)
    facts = pipeline.bus.facts(SNAPSHOTS)
    assert facts is not None
    # What the monitor alerts on: the first entry left lies behind the next one of the group.
    assert facts.first.seq > facts.groups[0].delivered.seq + 1
    assert facts.groups[0].lag_true == 1800
    pipeline.start()
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()


def test_a_restart_that_missed_nothing_raises_no_alert(pipeline: Pipeline, lines: Lines) -> None:
    for _ in range(3):
        pipeline.start()
        pipeline.write(20)
        pipeline.settle()
        pipeline.stop()
    pipeline.start()
    pipeline.stop()
    pipeline.assert_exact()
    assert pipeline.alerts() == []
    assert said(lines, "stream.hole") == 0


def test_a_reader_that_starts_abreast_finds_no_hole(
    tmp_path: Path, pipeline: Pipeline, lines: Lines
) -> None:
    pipeline.write(5)
    reader = snapshots_reader(tmp_path, pipeline)
    assert len(reader.read(block_s=0)) == 15
    assert reader.read(block_s=0) == []
    reader.ack()
    again = snapshots_reader(tmp_path, pipeline, after_ns=pipeline.sent[-1].ts_ns)
    assert again.read(block_s=0) == []
    pipeline.write(1)
    assert len(again.read(block_s=0)) == 3
    assert pipeline.alerts() == []
    assert said(lines, "stream.hole") == 0


def test_a_reader_that_was_away_for_hours_starts_from_sealed_files(
    pipeline: Pipeline, server: RedisServer
) -> None:
    pipeline.start()
    pipeline.write(5, every_s=600)
    pipeline.settle()
    pipeline.stop()
    pipeline.write(20, every_s=600)
    pipeline.outbox.seal(pipeline.sent[-1].ts_ns)
    server.flush()
    pipeline.write(1, every_s=600)
    pipeline.start()
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()


def test_hours_that_are_sealed_while_a_reader_starts_are_read_once(
    tmp_path: Path, pipeline: Pipeline
) -> None:
    """Sealing drops the numbers of ticks: what the stream still has is known by its time."""
    pipeline.write(12, every_s=600)
    reader = snapshots_reader(tmp_path, pipeline)
    pipeline.outbox.seal(TIME_MAX_NS)
    got: list[Event] = []
    for _ in range(4):
        got += reader.read(block_s=0)
    assert [event.id for event in got] == [event.id for event in pipeline.sent]
    assert pipeline.alerts() == []


def test_an_answer_that_was_lost_on_the_way_is_read_again(
    tmp_path: Path, pipeline: Pipeline, server: RedisServer
) -> None:
    """Delivered, the reply lost with the connection, and nothing follows that would show a hole."""
    reader = snapshots_reader(tmp_path, pipeline)
    pipeline.write(1)
    got = reader.read(block_s=0) + reader.read(block_s=0)
    pipeline.write(1)
    server.raw("XREADGROUP", "GROUP", "features", "features", "STREAMS", SNAPSHOTS, ">")
    server.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for _ in range(5):
        got += reader.read(block_s=0.01)
    assert [event.id for event in got] == [event.id for event in pipeline.sent]


# --- entries that nobody can use -----------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        ["v", "1", "body", "garbage"],
        ["v", "1", "body", '{"type":"Unheard","ts_ns":1,"id":"00"}'],
        ["v", "9", "body", ENTRY_BODY],
        ["v", "1", "body", b"[" * 100_000],
        ["v", "1", "body", ENTRY_BODY[:-1] + b',"x":' + b"[" * 100_000],
        ["unheard", "of"],
    ],
    ids=["no JSON", "unknown type", "unknown version", "nested", "nested in an event", "no body"],
)
@pytest.mark.parametrize("place", ["between", "far above", "in the writer's place"])
def test_an_intruders_garbage_goes_to_dead_and_stops_nobody(
    pipeline: Pipeline, server: RedisServer, lines: Lines, *, fields: list[Any], place: str
) -> None:
    pipeline.start()
    pipeline.write(10)
    last = pipeline.bus.last_id(SNAPSHOTS)
    where = {
        "between": f"{last.ms}-{last.seq + 100_000}",
        "far above": "*",
        "in the writer's place": f"{last.ms + 1000}-{last.seq + 1}",
    }[place]
    given: bytes = server.raw("XADD", SNAPSHOTS, where, *fields)
    wait_until(pipeline.letters, "the dead letter")
    pipeline.write(10)
    pipeline.settle()
    pipeline.write(3)
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()
    pipeline.assert_stream_exact(FEATURES)
    [letter] = pipeline.letters()
    assert (letter.stream, letter.entry_id) == (SNAPSHOTS, given.decode())
    assert letter.group == "features" and letter.reason
    assert said(lines, "entry.given_up") == 1
    assert [d.event and d.event.id for d in pipeline.bus.entries(DEAD, count=9)] == [letter.id]
    # The stream ends with ours again: what is foreign on top would block every later entry.
    assert pipeline.bus.last_id(SNAPSHOTS).seq == len(pipeline.sent)


def test_garbage_is_given_up_once_though_its_acknowledgement_is_lost(
    tmp_path: Path, pipeline: Pipeline, server: RedisServer, lines: Lines
) -> None:
    reader = snapshots_reader(tmp_path, pipeline)
    pipeline.write(1)
    server.raw("XADD", SNAPSHOTS, "*", "unheard", "of")
    got = [*reader.read(block_s=0), *reader.read(block_s=0)]
    for _ in range(2):
        server.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        reader.ack()
        server.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        got += [*reader.read(block_s=0), *reader.read(block_s=0)]
    assert [event.id for event in got] == [event.id for event in pipeline.sent]
    assert said(lines, "entry.given_up") == len(pipeline.letters()) == 1
    reader.ack()
    facts = pipeline.bus.facts(SNAPSHOTS)
    assert facts is not None and facts.groups[0].pending == 0


def test_an_intruders_well_formed_entry_is_not_taken_for_one_of_the_writers(
    pipeline: Pipeline, server: RedisServer
) -> None:
    pipeline.start()
    pipeline.write(10)
    pipeline.settle()
    server.raw("XADD", SNAPSHOTS, "*", "v", "1", "body", ENTRY_BODY)
    pipeline.write(10)
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()


def test_an_intruder_on_a_control_stream_stops_nobody(
    tmp_path: Path, pipeline: Pipeline, server: RedisServer
) -> None:
    context = reading_context(tmp_path, pipeline.bus, name="monitor")
    server.raw("XADD", ALERTS, "*", "v", "1", "body", "garbage")
    context.alerts.fire("rule", evidence="for a test")
    server.raw("XADD", ALERTS, "*", "v", "9", "body", ENTRY_BODY)
    reader = ControlReader(context, kind="alerts", group="monitor")
    assert [type(event) for event in reader.read()] == [Alert]
    assert len(pipeline.letters()) == 2


def test_an_event_that_no_handler_can_take_is_given_up_and_the_rest_done(
    pipeline: Pipeline, lines: Lines
) -> None:
    pipeline.poisoned = True
    poison = instant(7)[1].id
    met: list[str] = []

    def fail(event: Event) -> None:
        met.append(event.id)
        if event.id == poison:
            raise ZeroDivisionError("poison")

    pipeline.start(meet=fail)
    pipeline.write(20)
    pipeline.settle()
    pipeline.stop()
    assert met.count(poison) == ATTEMPTS_MAX
    [letter] = pipeline.letters()
    assert (letter.event, letter.group, letter.stream) == (poison, "features", SNAPSHOTS)
    assert "poison" in letter.reason
    assert said(lines, "entry.given_up") == 1 and said(lines, "handler.failed") == ATTEMPTS_MAX
    done = {event.id for event in pipeline.archived_rows()}
    quotes = [e for e in pipeline.sent if isinstance(e, QuoteSnapshot)]
    assert len(done) == len(pipeline.archived_rows()) == len(quotes) - 1
    # It stays given up: a restart does not begin anew.
    assert Attempts(reading_context(pipeline.root, pipeline.bus)).given_up == {poison}
    pipeline.start(meet=fail)
    pipeline.write(3)
    pipeline.settle()
    pipeline.stop()
    assert met.count(poison) == ATTEMPTS_MAX
    assert len(pipeline.letters()) == 1


def test_a_retried_publish_writes_once(pipeline: Pipeline, server: RedisServer) -> None:
    """A second writer's connection sends what is there already, from the start and in part."""
    pipeline.write(20)
    entries = list(pipeline.outbox.journalled())
    other = connect(server.url)
    for part in (entries, entries[-5:], entries[:5]):
        other.publish(SNAPSHOTS, part, entries_max=stream("snapshots").entries_max)
    assert len(pipeline.bus.entries(SNAPSHOTS, count=1000)) == len(pipeline.sent)
    # A restarted writer asks the stream what it has.
    pipeline.outbox.close()
    pipeline.open_outbox()
    assert pipeline.outbox.flush()
    pipeline.write(5)
    assert len(pipeline.bus.entries(SNAPSHOTS, count=1000)) == len(pipeline.sent)
    pipeline.assert_stream_exact()


def test_a_repeated_control_event_is_read_once(tmp_path: Path, pipeline: Pipeline) -> None:
    context = reading_context(tmp_path, pipeline.bus, name="monitor")
    context.alerts.fire("rule", evidence="for a test")
    [alert] = pipeline.archived(Alert)
    pipeline.bus.post(ALERTS, [alert, alert], entries_max=100)
    reader = ControlReader(context, kind="alerts", group="monitor")
    assert [event.id for event in reader.read()] == [alert.id]
    reader.ack()
    pipeline.bus.post(ALERTS, [alert], entries_max=100)
    assert reader.read() == []


# --- a server that stalls, dies, forgets ---------------------------------------------------------


def test_a_stall_longer_than_the_time_out(
    pipeline: Pipeline, server: RedisServer, lines: Lines
) -> None:
    pipeline.start()
    pipeline.write(20)
    pipeline.settle()
    attempts = Asked(Connects(server))
    with server.paused(), outage(pipeline, lines):
        pipeline.write(200, batch=20)
        wait_until(lambda: attempts.made >= 4, "several attempts run into the time-out")
        assert not pipeline.outbox.is_in_step()
        assert len(pipeline.outbox._fresh) == 0  # the journal is the buffer
    attempts.assert_few()
    assert_recovered(pipeline, lines)
    pipeline.assert_stream_exact()
    pipeline.assert_stream_exact(FEATURES)


def test_short_stalls_in_a_row(pipeline: Pipeline, server: RedisServer) -> None:
    """What was sent into a stall may have been taken: the case that makes duplicates of retries."""
    pipeline.start()
    for _ in range(5):
        pipeline.write(5)
        with server.paused():
            pipeline.write(1)
        pipeline.write(5)
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()
    pipeline.assert_stream_exact()
    pipeline.assert_stream_exact(FEATURES)


def test_the_stop_sign_is_obeyed_during_a_stall(
    pipeline: Pipeline, server: RedisServer, lines: Lines
) -> None:
    """A service has 10 s to drain, which is two of the product's time-outs."""
    pipeline.start()
    pipeline.write(20)
    pipeline.settle()
    with server.paused(), outage(pipeline, lines):
        pipeline.write(20, batch=20)
    with server.paused():
        connects = Connects(server)
        pipeline.stop()
    # Each thread, the worker and the one that looks after it, may just have begun an attempt.
    assert connects() <= 2, f"{connects()} attempts were begun after the stop sign"
    pipeline.start()
    pipeline.write(1)
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()


@pytest.mark.parametrize("reader", ["abreast", "behind"])
def test_flushall_while_all_goes_on(
    pipeline: Pipeline, server: RedisServer, lines: Lines, *, reader: str
) -> None:
    pipeline.start_held()
    for _ in range(4):
        if reader == "abreast":
            pipeline.brake.set()
        pipeline.write(25)
        if reader == "abreast":
            pipeline.settle()
        server.flush()
        pipeline.write(25)
    pipeline.brake.set()
    pipeline.settle()
    facts = pipeline.bus.facts(SNAPSHOTS)
    pipeline.stop()
    pipeline.assert_exact()
    assert facts is not None and [group.name for group in facts.groups] == ["features"]
    # The writer puts back what the stream lost, not only what came later.
    assert facts.length == len(pipeline.sent)
    pipeline.assert_stream_exact()


def test_flushall_is_one_log_line_and_one_alert(
    pipeline: Pipeline, server: RedisServer, lines: Lines
) -> None:
    pipeline.start()
    pipeline.write(25)
    pipeline.settle()
    server.flush()
    pipeline.write(25)
    pipeline.settle()
    pipeline.write(25)
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()
    # The snapshots by their writer, the features by the service.
    assert 1 <= said(lines, "stream.republished") <= 2
    assert [state for _, state in pipeline.alerts()] == ["firing", "resolved"], pipeline.alerts()


def test_flushall_behind_the_last_entry_still_reaches_a_reader_that_lags(
    pipeline: Pipeline, server: RedisServer
) -> None:
    """The recording is over, nothing follows that would show a hole."""
    pipeline.start_held()
    pipeline.write(1000, batch=50)
    server.flush()
    pipeline.brake.set()
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()


def test_an_acknowledgement_after_a_flush_harms_nothing(
    tmp_path: Path, pipeline: Pipeline, server: RedisServer
) -> None:
    reader = snapshots_reader(tmp_path, pipeline)
    pipeline.write(3)
    got = reader.read(block_s=0)
    got += reader.read(block_s=0)
    server.flush()
    reader.ack()
    assert server.raw("EXISTS", SNAPSHOTS) == 0
    pipeline.write(3)
    for _ in range(4):
        got += reader.read(block_s=0.01)
        reader.ack()
    assert [event.id for event in got] == [event.id for event in pipeline.sent]
    facts = pipeline.bus.facts(SNAPSHOTS)
    assert facts is not None and facts.groups[0].pending == 0


def test_killed_and_restarted_empty(pipeline: Pipeline, server: RedisServer, lines: Lines) -> None:
    pipeline.start()
    pipeline.write(20)
    pipeline.settle()
    attempts = Asked(Connects(server))
    with outage(pipeline, lines):
        server.kill()
        pipeline.write(200, batch=20)
    attempts.assert_few()
    server.start()
    assert_recovered(pipeline, lines)
    pipeline.assert_stream_exact()
    assert len(pipeline.bus.entries(SNAPSHOTS, count=10_000)) == len(pipeline.sent)


def test_killed_again_and_again(pipeline: Pipeline, server: RedisServer) -> None:
    pipeline.start()
    for _ in range(6):
        pipeline.write(10)
        server.restart()
        pipeline.write(10)
    pipeline.settle()
    wait_until(lambda: not reasons(pipeline), "both are ready")
    pipeline.stop()
    pipeline.assert_exact()
    for states in down_alerts(pipeline):
        assert states == ["firing", "resolved"] * (len(states) // 2)


def test_connections_cut_again_and_again(pipeline: Pipeline, server: RedisServer) -> None:
    pipeline.start()
    for _ in range(20):
        pipeline.write(3)
        server.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        pipeline.write(1)
    pipeline.settle()
    wait_until(lambda: not reasons(pipeline), "both are ready")
    pipeline.stop()
    pipeline.assert_exact()
    pipeline.assert_stream_exact()


# --- a server that refuses -----------------------------------------------------------------------


def test_absent_from_the_start(pipeline: Pipeline, server: RedisServer, lines: Lines) -> None:
    server.kill()
    attempts = Asked(Connects(server))
    pipeline.start()
    with outage(pipeline, lines):
        pipeline.write(200, batch=20)
        wait_until(lambda: hammered(pipeline) and attempts.made >= 6, "several attempts")
    attempts.assert_few()
    for line in [line for line in lines if line["event"] == "bus.down"]:
        assert str(server.socket) in line["reason"] and "\n" not in line["reason"]
    server.start()
    assert_recovered(pipeline, lines)


def test_a_wrong_password(pipeline: Pipeline, server: RedisServer, lines: Lines) -> None:
    server.user("default", "on", ">right-secret", "~*", "&*", "+@all")
    pipeline.connect = lambda: connect(server.url, password="wrong-secret")
    pipeline.bus = pipeline.connect()
    pipeline.open_outbox()
    attempts = Asked(Connects(server))
    pipeline.start()
    with outage(pipeline, lines):
        pipeline.write(100, batch=20)
        wait_until(lambda: hammered(pipeline) and attempts.made >= 6, "several attempts")
    attempts.assert_few()
    assert "HAWK_REDIS_PASSWORD_FILE" in reasons(pipeline)
    assert any("HAWK_REDIS_PASSWORD_FILE" in str(line.get("reason")) for line in lines)
    assert "secret" not in "".join(str(line) for line in lines)
    alerts = [alert for alert in pipeline.archived(Alert) if isinstance(alert, Alert)]
    assert alerts and not [alert for alert in alerts if "secret" in alert.evidence]
    server.user("default", "on", ">wrong-secret", "~*", "&*", "+@all")
    assert_recovered(pipeline, lines)


def test_a_password_that_is_changed_while_all_goes_on(
    pipeline: Pipeline, server: RedisServer, lines: Lines
) -> None:
    pipeline.start()
    pipeline.write(10)
    pipeline.settle()
    with outage(pipeline, lines):
        server.user("default", "on", ">other", "~*", "&*", "+@all")
        server.raw("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        pipeline.write(50, batch=10)
    server.user("default", "on", "nopass", "~*", "&*", "+@all")
    assert_recovered(pipeline, lines)


@pytest.mark.parametrize(
    ("hurt", "heal", "reason"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read only"),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "replicas",
        ),
    ],
    ids=["a replica", "too few replicas"],
)
def test_read_only(
    pipeline: Pipeline,
    server: RedisServer,
    lines: Lines,
    *,
    hurt: tuple[str, ...],
    heal: tuple[str, ...],
    reason: str,
) -> None:
    pipeline.start()
    pipeline.write(20)
    pipeline.settle()
    attempts = Asked(lambda: refused_batches(server))
    with outage(pipeline, lines):
        server.raw(*hurt)
        pipeline.write(1000, batch=200)
        wait_until(lambda: hammered(pipeline) and attempts.made >= 6, "several attempts")
        attempts.assert_few()
    # A replica first cuts its clients: what is wrong now is worth more than what was first seen.
    context = pipeline.service.context  # type: ignore[union-attr]
    wait_until(lambda: reason in context.health.reasons().get("bus", ""), "the reason")
    assert any(reason in str(line.get("reason")) for line in lines)
    server.raw(*heal)
    assert_recovered(pipeline, lines)
    pipeline.assert_stream_exact()


def test_full_until_the_operator_gives_memory(
    pipeline: Pipeline, server: RedisServer, lines: Lines
) -> None:
    """Full of what is not ours: nothing that we may trim helps."""
    pipeline.start()
    pipeline.write(20)
    pipeline.settle()
    attempts = Asked(lambda: refused_batches(server))
    with outage(pipeline, lines):
        server.config(maxmemory=1)
        pipeline.write(1000, batch=200)
        wait_until(lambda: hammered(pipeline) and attempts.made >= 6, "several attempts")
        attempts.assert_few()
    assert not pipeline.outbox.is_in_step()
    assert len(pipeline.outbox._fresh) == 0
    assert "full" in reasons(pipeline) and "maxmemory" in reasons(pipeline)
    assert any("maxmemory" in str(line.get("reason")) for line in lines)
    server.config(maxmemory=0)
    assert_recovered(pipeline, lines)


def test_full_of_what_everybody_has_read(
    pipeline: Pipeline, server: RedisServer, lines: Lines
) -> None:
    """A refused XADD trims nothing: room comes from a separate trim, however short the stream."""
    pipeline.start()
    pipeline.write(3000, batch=100)
    pipeline.settle()
    server.config(maxmemory=server.facts("memory")["used_memory"])
    pipeline.write(100, batch=20)
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()
    assert said(lines, "stream.trimmed") >= 1
    assert ["firing", "resolved"] in down_alerts(pipeline), "a full Redis is announced"


def test_full_while_a_reader_lags(pipeline: Pipeline, server: RedisServer) -> None:
    pipeline.start_held()
    pipeline.write(1500, batch=100)
    server.config(maxmemory=server.facts("memory")["used_memory"])
    pipeline.write(100, batch=20)
    pipeline.brake.set()
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()


def test_the_redis_of_another_data_folder_is_refused(
    tmp_path: Path, pipeline: Pipeline, server: RedisServer
) -> None:
    pipeline.write(5)
    other = Pipeline(tmp_path / "other", lambda: connect(server.url))
    other.offset_s = 1
    with pytest.raises(BusForeignError, match="another") as caught:
        other.write(2)
    assert SNAPSHOTS in str(caught.value) and "\n" not in str(caught.value)
    assert len(pipeline.bus.entries(SNAPSHOTS, count=100)) == len(pipeline.sent)


# --- without Redis -------------------------------------------------------------------------------


def test_a_bus_in_memory_that_forgets_harms_nothing(tmp_path: Path) -> None:
    bus = MemoryBus()
    pipeline = Pipeline(tmp_path, lambda: bus)
    pipeline.start_held()
    for _ in range(3):
        pipeline.write(10)
        bus.remove(SNAPSHOTS)
        pipeline.write(10)
    pipeline.brake.set()
    pipeline.settle()
    pipeline.stop()
    pipeline.assert_exact()


def reading_context(root: Path, bus: Bus, name: str = "features") -> Context:
    """Return a context to read by hand with."""
    return Context(name, root, Settings(_env_file=None), bus, Web())  # type: ignore[call-arg]


def snapshots_reader(root: Path, pipeline: Pipeline, *, after_ns: int = -1) -> OrderedReader:
    """Return a reader to step by hand."""
    context = reading_context(root, pipeline.bus)
    return OrderedReader(
        context, kind="snapshots", underlying=UNDERLYING, group="features", after_ns=after_ns
    )
