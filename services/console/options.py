"""Options that several commands share, and what they mean: the data folder, the settings.

Imports are inside on purpose, as in `cli`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from libs.common.settings import Settings

DataOption = Annotated[Path | None, typer.Option("--data", help="data folder [HAWK_DATA, data]")]
JsonOption = Annotated[bool, typer.Option("--json", help="one line of JSON")]
UnderlyingOption = Annotated[str | None, typer.Option("--underlying", help="only this one")]
VenueArgument = Annotated[str | None, typer.Argument(help="only this venue; all if left out")]
FromOption = Annotated[str | None, typer.Option("--from", help="RFC 3339, inclusive")]
ToOption = Annotated[str | None, typer.Option("--to", help="RFC 3339, exclusive")]
SeriesOption = Annotated[str | None, typer.Option("--series", help="only this series")]
ReasonOption = Annotated[str, typer.Option("--reason", help="why, for the audit chain")]


def settings_of() -> "Settings":
    """Read the settings and open the log; raise `ConfigError` that names every fault."""
    from libs.common.settings import load_settings
    from libs.common.telemetry import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level)
    return settings


def root_of(data: Path | None) -> Path:
    """Return the data folder: the one that is named, else that of the settings."""
    settings = settings_of()  # always, so that a misspelt key is an error for every command
    return data if data is not None else settings.data
