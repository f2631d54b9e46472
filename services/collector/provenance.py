"""What the archive of a data folder was recorded from; real and invented markets never mix. Shell.

The first source that records into a folder leaves its name there, and a later one of another kind
is refused. A recording or an import adds to either: the user says where it comes from.

The decision a reader would question: this is a refusal and not a warning. A model that was trained
on a simulator's quotes beside a venue's would be wrong in a way that no gate can see, and there is
no way back from an archive in which the two are mixed.
"""

from pathlib import Path

import msgspec

from libs.common import durable
from libs.common.checks import ArchiveError, ConfigError

FILE = Path("archive") / "source.json"

REAL = "the venues themselves"
SIMULATED = "a simulator of the venues"

STREAMED = Path("archive") / "journal" / "collector" / "snapshots"
"""There once a collector has run here, whatever its source; an import leaves no such thing."""


class Provenance(msgspec.Struct):
    """Where an archive comes from, in words."""

    source: str


def claim(root: Path, source: str) -> None:
    """Let `source` record into `root`; raise `ConfigError` if another has done so before."""
    path = root / FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Provenance).source
    except FileNotFoundError:
        if source == REAL and (root / STREAMED).exists():
            raise ConfigError(
                f"{root} was recorded when Hawk did not note from what and simulated by default: "
                f"use another data folder, or if it does hold {REAL}, write "
                f'{{"source": "{REAL}"}} into {path}'
            ) from None
        content = msgspec.json.encode(Provenance(source))
        durable.write_atomic(path, content, name="source")
        return
    except (OSError, msgspec.DecodeError) as error:
        raise ArchiveError(
            f"cannot read {path}: {error}; it says what this archive was recorded from, restore it "
            "from a backup or use another folder"
        ) from error
    if found != source:
        raise ConfigError(
            f"{root} was recorded from {found}, now the source is {source}: the two must not mix; "
            "use another data folder (in containers: docker compose down --volumes, or another "
            "project with -p)"
        )
