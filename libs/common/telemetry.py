"""Log lines: one JSON object per decision on stderr, in colour on a terminal.

Results go to stdout and never through here. Keys are nouns and verbs with units; nothing is logged
per tick above debug. Pages with health and metrics are in `web.py`.
"""

import logging
import sys

import structlog


def configure_logging(level: str) -> None:
    """Send log lines of `level` and above to stderr."""
    is_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def log() -> structlog.typing.FilteringBoundLogger:
    """Return the logger."""
    return structlog.get_logger()  # type: ignore[no-any-return]


def bind_service(name: str) -> None:
    """Name the service in every line of this process."""
    structlog.configure(
        processors=[_named(name), *structlog.get_config()["processors"]],
    )


def _named(name: str) -> structlog.typing.Processor:
    def add(
        logger: object, method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {"service": name, **line}

    return add
