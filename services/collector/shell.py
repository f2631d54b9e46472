"""Run the collector: play its source into the snapshots streams until it ends or we are stopped.

This page joins what the others do: `live` records the venues, `recording` and `simulation` read,
`judgement` decides, `instants` order, `play` paces, `publisher` writes. A recording that has been
played to its end returns from `run` once the streams have all of it, and the process exits 0.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from libs.common.context import Context
from libs.common.sources import Source, parse_source
from libs.common.telemetry import log
from services.collector.instants import Piece, instants, underlyings_of
from services.collector.judgement import judge
from services.collector.pace import HOLE_NS_MAX, Pace
from services.collector.play import Player
from services.collector.provenance import claim
from services.collector.publisher import Publisher
from services.collector.recording import read_recording
from services.collector.simulation import Simulation

DRAWN = "a simulation drawn day by day"
SIMULATOR = "simulator"
"""The component of `/readyz` that waits for a simulated day."""


def run(context: Context) -> None:
    """Play the source of the settings.

    Raises `ConfigError` for a source that cannot be, `ArchiveError` for a recording that cannot be
    read.
    """
    source = parse_source(context.settings.source)
    if source.kind == "live":
        # Loaded only where it is wanted: sockets and signatures are a third of this process.
        from services.collector.live import run_live

        run_live(context)
    elif source.directory is None:
        _run_simulated(context, source)
    else:
        _run_recording(context, source.directory, source.speed)


def _run_recording(context: Context, directory: Path, speed: float | None) -> None:
    judged = judge(read_recording(directory))
    log().info(
        "recording.judged",
        directory=str(directory),
        rows={kind.__name__: table.num_rows for kind, table in judged.kinds.items()},
        dropped=dict(judged.dropped),
        flagged=dict(judged.flagged),
    )
    pace = None if speed is None else Pace(speed, hole_ns_max=HOLE_NS_MAX)
    with _player(context, underlyings_of(judged.kinds), pace) as (player, position_ns):
        player.play(instants([Piece(judged.kinds)], after_ns=position_ns))
        player.drain()
        if not context.stop.is_set():
            log().info("recording.played", directory=str(directory))


def _run_simulated(context: Context, source: Source) -> None:
    text = "SIMULATED DATA: prices, quotes and results are drawn from a seed, no market is behind"
    log().warning("source.simulated", note=text, source=context.settings.source)
    context.health.note("source", text)
    claim(context.root, DRAWN)
    simulation = Simulation(
        context.root,
        source,
        stop=context.stop,
        report=lambda reason: context.health.set(SIMULATOR, reason),
    )
    pace = Pace(source.speed or 1.0, hole_ns_max=None)
    with _player(context, source.underlyings, pace) as (player, position_ns):
        try:
            pieces: Iterable[Piece | None] = simulation.pieces(position_ns)
            player.play(instants(pieces, after_ns=position_ns))
        finally:
            simulation.close()


@contextmanager
def _player(
    context: Context, named: Iterable[str], pace: Pace | None
) -> Iterator[tuple[Player, int]]:
    """Give a player and the instant behind which it goes on."""
    publisher = Publisher(context, list(named))
    try:
        log().info("collector.started", underlyings=publisher.underlyings)
        context.clock.see(publisher.position_ns)
        context.health.set("start", None)
        yield Player(context, publisher, pace), publisher.position_ns
    finally:
        publisher.close()
