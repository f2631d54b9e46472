"""Errors of Hawk: one small family, so that a shell knows what it may survive.

An *operating error* is expected (bad file, full disk, missing key): it carries one clear line that
names what, where and what to do, and the command that meets it ends with the exit code of its
class. A *broken invariant* is a bug: `check` raises `InvariantError`, nobody catches it, the
process dies and its state is rebuilt from the archive.

`check` exists because `python -O` removes `assert`.
"""

from typing import ClassVar


class HawkError(Exception):
    """Operating error; `str(error)` is one line for a person. `exit_code` is the command's."""

    exit_code: ClassVar[int] = 1


class UsageError(HawkError):
    """The command line asked for something that cannot be."""

    exit_code: ClassVar[int] = 2


class ConfigError(HawkError):
    """A setting is unknown, missing or out of range; every fault is named at once."""

    exit_code: ClassVar[int] = 3


class UnavailableError(HawkError):
    """Something outside (file system, archive, venue, bus) does not answer or cannot be used."""

    exit_code: ClassVar[int] = 4


class ArchiveError(UnavailableError):
    """The archive, a journal or a recording is damaged, unreadable or cannot be written."""


class BusError(UnavailableError):
    """Redis does not answer or refuses; what was to be published stands in the journal."""


class BusFullError(BusError):
    """Redis has no memory left and evicts nothing; only a separate trim makes room."""


class BusForeignError(BusError):
    """A stream holds entries that this data folder never wrote."""


class BusLostError(BusError):
    """A stream that was there is gone: flushed, deleted, or another Redis."""


class BundleError(HawkError):
    """A model bundle is damaged, unsigned, for another feature set or otherwise refused."""


class GateRejected(HawkError):
    """The gate said no; the reason is the message."""

    exit_code: ClassVar[int] = 5


class InvariantError(Exception):
    """A promise inside Hawk is broken: a bug. Never caught."""


def check(holds: bool, message: str) -> None:
    """Raise `InvariantError` with `message` unless `holds`.

    >>> check(1 + 1 == 2, "arithmetic")
    """
    if not holds:
        raise InvariantError(message)
