"""The live trainer: when a run is due it starts one, and it does what operators order.

It reads no market stream. The stream clock comes from the newest id of each snapshots stream, whose
milliseconds are those of its last tick (one small command a second; reading the ticks themselves
would deliver every quote to a service that needs none), and what was resolved is counted in the
archive. Training itself is a process (`job.py`); here is only who starts it, why, and what is said
when it fails.

A reader would question that a failed run leaves the service ready. A damaged archive or a full disk
does not make the last model worse: the alert says what is wrong, runs are tried again at growing
distances, and activation and rollback work meanwhile.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from prometheus_client import Counter, Gauge

from libs.common.archive import date_of, hour_of
from libs.common.backoff import Backoff
from libs.common.checks import ArchiveError, BusError, HawkError
from libs.common.context import Context
from libs.common.events import Command
from libs.common.reader import ControlReader
from libs.common.service import underlyings
from libs.common.streams import stream_name
from libs.common.telemetry import log
from services.trainer import publish, serving
from services.trainer.announcer import Announcer, Stamp, journal_stamp
from services.trainer.census import Census
from services.trainer.gate import GatePolicy
from services.trainer.job import Job, Result, newest_ns
from services.trainer.past import Past, read_past
from services.trainer.schedule import Pace, Standing, due, need

LOOK_S = 1.0
"""How often the service looks: a command or an activation is noticed within it."""

COUNT_S, COUNT_NS = 15.0, 300_000_000_000
"""Resolutions are counted at most this often, by our clock and by the stream's: the running hour's
journal is decoded for it, and windows do not close more often than every five minutes."""

RETRY_S_FIRST, RETRY_S_MAX = 60.0, 3_600.0
"""Distances between tries of a run that fails."""

DISK = "disk"
"""The component of `/readyz` that is not ready while the data folder takes nothing."""

POLICY = GatePolicy()

RUNS = Counter("hawk_trainer_runs_total", "Training runs by outcome.", ["outcome"])
for _outcome in ("accepted", "rejected", "failed"):
    RUNS.labels(_outcome)  # from 0 on: what appears with 1 is no increase
RUN_SECONDS = Gauge("hawk_trainer_run_seconds", "Duration of the last training run.")
WINDOWS = Gauge("hawk_trainer_windows", "Windows that the next verdict can be based on, at most.")
HOURS = Gauge("hawk_trainer_hour_blocks", "Hours that the next verdict can be based on, at most.")
WINDOWS_MISSING = Gauge("hawk_trainer_windows_missing", "Windows that a positive verdict lacks.")
HOURS_MISSING = Gauge("hawk_trainer_hour_blocks_missing", "Hours that a positive verdict lacks.")
RUNNING = Gauge("hawk_trainer_running", "1: a training run is under way.")
VERDICT_ACCEPTED = Gauge(
    "hawk_trainer_last_verdict_accepted", "1: the last verdict was yes, 0: no; NaN: none yet."
)
VERDICT_ACCEPTED.set(math.nan)
VERDICT_SECONDS = Gauge(
    "hawk_trainer_last_verdict_seconds", "Event time of the last verdict; 0: none yet."
)


class RunsJob(Protocol):
    """What the service needs of a run under way."""

    cause: str

    @property
    def seconds(self) -> float:
        """How long it has been running."""

    def result(self) -> Result | None:
        """Return how it ended, None while it runs."""

    def stop(self) -> int:
        """End it; return its exit code."""


StartJob = Callable[[Path, str, int], RunsJob]


def _start_job(root: Path, cause: str, end_ns: int) -> RunsJob:
    return Job(root, cause=cause, end_ns=end_ns)


class Trainer:
    """One live trainer; `step` does one look and returns at once."""

    def __init__(self, context: Context, start_job: StartJob = _start_job) -> None:
        self._context, self._start_job = context, start_job
        self._root = context.root
        self._pace = Pace(context.settings.train_every_h, context.settings.train_resolutions)
        self._commands = ControlReader(context, kind="commands", group="trainer")
        self._announcer = Announcer(context)
        self._census = Census(context.root)
        self._past = Past()
        self._job: RunsJob | None = None
        self._asked: str | None = None
        self._backoff = Backoff(first_s=RETRY_S_FIRST, max_s=RETRY_S_MAX)
        self._retry_at_s = 0.0
        self._counted_at_s, self._counted_ns = -COUNT_S, -COUNT_NS
        self._past_stamp: Stamp | None = None

    def start(self) -> None:
        """Complete what a kill interrupted, and say that the service is ready."""
        try:
            with publish.publishing(self._root):
                pass
        except HawkError as error:
            # Tried again at the first look, which says what is wrong as long as it is.
            log().warning("trainer.records_not_completed", reason=str(error))
        with suppress(ArchiveError):  # empty, or unreadable, which counting will say
            self._context.clock.see(newest_ns(self._root))
        self._context.health.set("start", None)
        log().info("trainer.started", every_h=self._pace.every_h)

    def step(self, now_s: float) -> None:
        """Do one look: post, obey, count, and start or finish a run."""
        self._announcer.step(now_s)
        self._obey(now_s)
        self._see_clock()
        self._finish(now_s)
        self._count(now_s)
        if self._job is None:
            self._start_due(now_s)
        RUNNING.set(self._job is not None)

    def close(self) -> None:
        """Stop a run that is under way; killing it at any instant is safe."""
        if self._job is not None:
            log().info("training.stopped", cause=self._job.cause)
            self._job.stop()
            self._job = None

    def _see_clock(self) -> None:
        for underlying in underlyings(self._root, writer="collector", kind="snapshots"):
            try:
                last = self._context.bus.last_id(stream_name("snapshots", underlying))
            except BusError:
                return  # whoever reads or writes reports it; the clock stands meanwhile
            self._context.clock.see(last.ms * 1_000_000)

    def _obey(self, now_s: float) -> None:
        for command in self._commands.read():
            if not isinstance(command, Command):
                continue
            try:
                self._carry_out(command, now_s)
            except HawkError as error:
                log().warning("command.refused", command=command.command, reason=str(error))
                self._context.alerts.fire(
                    "command_refused", evidence=f"{command.command} by {command.who}: {error}"
                )
            else:
                self._context.alerts.resolve(
                    "command_refused", evidence=f"{command.command} by {command.who} was done"
                )
        self._commands.ack()

    def _carry_out(self, command: Command, now_s: float) -> None:
        words = (command.argument or "").split()
        reason = f"command {command.id} of {command.who}"
        if self._was_done(reason):
            return  # a kill came between the deed and its acknowledgement
        if command.command == "train":
            self._asked, self._retry_at_s = f"command of {command.who}", now_s
        elif command.command == "activate":
            overrides_gate = words[1:] == ["override"]
            if len(words) not in (1, 2) or (len(words) == 2 and not overrides_gate):
                raise HawkError("activate needs a bundle id, and `override` behind it or nothing")
            switched = serving.activate(
                self._root,
                words[0],
                reason=reason,
                overrides_gate=overrides_gate,
                ts_ns=self._context.clock.for_control(),
            )
            log().info("model.activated", **switched)
        elif command.command == "rollback":
            ts_ns = self._context.clock.for_control()
            switched = serving.rollback(self._root, reason=reason, ts_ns=ts_ns)
            log().info("model.rolled_back", **switched)

    def _was_done(self, reason: str) -> bool:
        """Tell whether a command took effect: twice, a rollback would put the bad model back."""
        return any(event.reason.endswith(reason) for event in publish.activations(self._root))

    def _count(self, now_s: float) -> None:
        """Bring up to date what there is to learn from, now and then."""
        stamp = journal_stamp(self._root)
        now_ns = self._context.clock.now_ns
        is_old = now_s >= self._counted_at_s + COUNT_S and now_ns >= self._counted_ns + COUNT_NS
        if stamp == self._past_stamp and not is_old:
            return
        self._counted_at_s, self._counted_ns = now_s, now_ns
        try:
            self._past, self._past_stamp = read_past(self._root), stamp
            self._census.update()
        except ArchiveError as error:
            self._context.alerts.fire("archive_unreadable", evidence=str(error))
            self._counted_ns = -COUNT_NS
            return
        self._context.alerts.resolve("archive_unreadable", evidence="resolutions were counted")
        self._note()

    def _standing(self) -> Standing:
        past = self._past
        tested = self._census.after(past.champion_end_ns or 0)
        return Standing(
            now_ns=self._context.clock.now_ns,
            last_ns=self._census.first_ns if past.verdict_ns is None else past.verdict_ns,
            resolutions=self._census.after(past.verdict_ns or 0).resolutions,
            windows=tested.windows,
            hours=tested.hours,
            has_champion=past.champion_end_ns is not None,
        )

    def _note(self) -> None:
        standing = self._standing()
        needed = need(POLICY, has_champion=standing.has_champion)
        WINDOWS.set(standing.windows)
        HOURS.set(standing.hours)
        windows_missing = max(0, needed.windows - standing.windows)
        hours_missing = max(0, needed.hours - standing.hours)
        WINDOWS_MISSING.set(windows_missing)
        HOURS_MISSING.set(hours_missing)
        since = " since the champion's data" if standing.has_champion else ""
        note = self._context.health.note
        lacks = f"{windows_missing} windows and {hours_missing} hours"
        note("missing", lacks if windows_missing or hours_missing else "nothing")
        note("windows", f"{standing.windows} of {needed.windows}{since}")
        note("hours", f"{standing.hours} of {needed.hours}{since}")
        note("resolutions", f"{standing.resolutions} of {self._pace.resolutions} new")
        if self._past.verdict is not None and self._past.verdict_ns is not None:
            at_ns = self._past.verdict_ns
            VERDICT_ACCEPTED.set(self._past.verdict.startswith("accepted"))
            VERDICT_SECONDS.set(at_ns / 1e9)
            note("verdict", f"{date_of(at_ns)}T{hour_of(at_ns)} {self._past.verdict}"[:300])

    def _start_due(self, now_s: float) -> None:
        if now_s < self._retry_at_s:
            return
        cause = self._asked or due(self._standing(), self._pace, POLICY)
        if cause is None:
            return
        # Exclusive: the newest instant may still be on its way into the archive.
        end_ns = self._context.clock.for_control()
        self._asked = None
        log().info("training.started", cause=cause, end_ns=end_ns)
        self._context.health.note("run", f"under way, {cause}")
        try:
            self._job = self._start_job(self._root, cause, end_ns)
        except OSError as error:
            self._asked = cause
            self._give_up(now_s, f"cannot start a process: {error.strerror}")

    def _finish(self, now_s: float) -> None:
        result = self._job.result() if self._job is not None else None
        if self._job is None or result is None:
            return
        job, self._job = self._job, None
        RUN_SECONDS.set(job.seconds)
        if result.figures is None:
            self._asked = self._asked or job.cause
            self._give_up(now_s, result.fault or "no reason given")
            return
        figures = {k: v for k, v in result.figures.items() if k not in ("scores", "left_out")}
        log().info("training.done", cause=job.cause, **figures)
        RUNS.labels(str(figures.get("verdict"))).inc()
        self._backoff.reset()
        self._context.health.note("run", "none")
        self._context.alerts.resolve(
            "training_failed", evidence=f"a run ended: {figures.get('verdict')}"
        )

    def _give_up(self, now_s: float, fault: str) -> None:
        """Say why a run gave nothing, and when it is tried again."""
        wait_s = self._backoff.next_s()
        self._retry_at_s = now_s + wait_s
        RUNS.labels("failed").inc()
        log().error("training.failed", reason=fault, retry_s=round(wait_s))
        self._context.health.note("run", f"failed: {fault}"[:300])
        self._context.alerts.fire("training_failed", evidence=fault)


def run(context: Context) -> None:
    """Be the trainer until the stop sign."""
    trainer = Trainer(context)
    trainer.start()
    try:
        while not context.stop.wait(LOOK_S):
            try:
                trainer.step(time.monotonic())
                context.flush()
                context.health.set(DISK, None)
            except ArchiveError as error:
                # A full disk or a damaged journal: nothing can be recorded, so nothing is done.
                context.health.set(DISK, str(error))
    finally:
        trainer.close()
