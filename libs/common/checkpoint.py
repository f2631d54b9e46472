"""The checkpoint: up to which instant output is complete, and the trader's state there.

Written whole or not at all, after the outputs that it covers are journalled and before anything of
them is published; what the journals hold behind it is cut off and made again. It names the number
up to which each stream counts, because an operator's act is recorded at the instant before it and a
time alone would not tell whether it is covered.
"""

from hashlib import sha256
from pathlib import Path

import msgspec

from libs.common import durable
from libs.common.checks import ArchiveError

CHECKPOINT_FILE = "ledger/checkpoint.json"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The instant up to which all is complete, and the trader's state there.

    `run` names what is replayed with which bundle, so that no output is continued by another run;
    `seqs` is the last number given per underlying in the orders stream (live only).
    """

    tick_ns: int
    run: str
    trader: msgspec.Raw
    sha256: str
    seqs: dict[str, int] = {}


def write_checkpoint(
    root: Path, state: bytes, *, tick_ns: int, run: str, seqs: dict[str, int] | None = None
) -> None:
    """Replace the checkpoint of the folder `root`."""
    checkpoint = Checkpoint(
        tick_ns=tick_ns,
        run=run,
        trader=msgspec.Raw(state),
        sha256=_seal_of(tick_ns, run, seqs or {}, state),
        seqs=seqs or {},
    )
    content = msgspec.json.encode(checkpoint)
    durable.write_atomic(root / CHECKPOINT_FILE, content, name="checkpoint")


def read_checkpoint(root: Path) -> Checkpoint | None:
    """Return the checkpoint of a folder; raise `ArchiveError` if it is damaged."""
    path = root / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        checkpoint = msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except (msgspec.DecodeError, OSError) as error:
        raise ArchiveError(f"ledger {path} cannot be read ({error}): restore it") from error
    expected = _seal_of(
        checkpoint.tick_ns, checkpoint.run, checkpoint.seqs, bytes(checkpoint.trader)
    )
    if checkpoint.sha256 != expected:
        raise ArchiveError(f"ledger {path} is damaged: it does not fit its hash; restore it")
    return checkpoint


def _seal_of(tick_ns: int, run: str, seqs: dict[str, int], state: bytes) -> str:
    counted = "".join(f"{name} {seq}\n" for name, seq in sorted(seqs.items()))
    return sha256(f"{tick_ns}\n{run}\n{counted}".encode() + state).hexdigest()
