"""An operator's order on the `commands` stream, journalled first: `hawk kill`, `hawk resume`, and
what only the trainer may do where its key is not ours (containers): train, activate, roll back.

Without Redis the streams are in the memory of `hawk up`, which takes orders on a page of its own.
The page asks for the token in `DIR/run/up.json`: who may read the data folder may stop trading, a
web page that guesses the port may not.
"""

import getpass
import hmac
import time
from pathlib import Path
from typing import Literal

import msgspec

from libs.common import durable
from libs.common.archive import HOUR_NS, Archive
from libs.common.bus import Bus
from libs.common.checks import BusError, HawkError, UnavailableError
from libs.common.events import Command, event_id, set_seq
from libs.common.keys import PRIVATE_KEY
from libs.common.settings import Settings
from libs.common.stream_writer import StreamWriter
from libs.common.streams import CONTROL, stream, stream_name
from libs.common.web import Application, Receive, Scope, Send, problem, respond
from services.console.bus_place import find_bus, nothing_runs
from services.console.event_lines import json_of
from services.console.listing import ask
from services.console.output import emit

PAGE = "/v1/commands"
WRITER, KIND = "console", "commands"
BODY_BYTES_MAX = 4_096

Verb = Literal["kill", "resume", "train", "activate", "rollback"]

_TOLD = {
    "kill": "kill trading {where} (`hawk tail orders` shows when it acts)",
    "resume": "resume trading {where} (`hawk tail orders` shows when it acts)",
    "train": "train (`hawk tail models` shows the verdict, in minutes)",
    "activate": "activate {argument} (`hawk tail models` shows it, `hawk tail alerts` a refusal)",
    "rollback": "roll back (`hawk tail models` shows it, `hawk tail alerts` a refusal)",
}


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page is asked for."""

    command: Verb
    who: str
    argument: str | None = None


def run_command(root: Path, settings: Settings, wish: Wish) -> Command:
    """Give an order; raise `UnavailableError` where nobody could hear it."""
    place = find_bus(root, settings)
    if place.bus is not None:
        return give(root, place.bus, wish)
    if place.running is None:
        raise nothing_runs(root)
    answer = ask(place.running, PAGE, content=msgspec.json.encode(wish))
    return msgspec.json.decode(answer, type=Command)


def is_trainers(root: Path, settings: Settings) -> bool:
    """Tell whether the trainer that runs beside us has the key, and we have not."""
    return settings.redis_url is not None and not (root / PRIVATE_KEY).exists()


def print_command(
    root: Path, settings: Settings, verb: Verb, *, argument: str | None = None, as_json: bool
) -> None:
    """Give an order and print it."""
    command = run_command(root, settings, Wish(verb, user(), argument))
    if as_json:
        emit(json_of(command))
    else:
        where = f"on {argument}" if argument else "everywhere"
        emit(f"ordered: {_TOLD[verb].format(where=where, argument=argument)}")


def give(root: Path, bus: Bus, wish: Wish) -> Command:
    """Journal an order and post it; one that cannot be posted is taken back.

    Not by an outbox, which posts again what a stream has lost: an order is for the moment it is
    given in, and what was stopped and resumed before a flush must not be stopped once more.
    """
    with durable.writer_lock(root, WRITER, waits=True):
        writer = StreamWriter(root, writer=WRITER, kind=KIND, underlying=CONTROL)
        before = writer.seq
        command = _command(root, wish)
        writer.seal(command.ts_ns // HOUR_NS * HOUR_NS)
        writer.append([command])
        try:
            name, limit = stream_name(KIND, CONTROL), stream(KIND).entries_max
            bus.post(name, [command], entries_max=limit)
        except BusError as error:
            writer.cut_behind(before)
            raise UnavailableError(
                f"nobody has heard the order to {wish.command} for certain ({error}): give it "
                "again, or stop `hawk up` to stop trading now"
            ) from error
        finally:
            writer.close()
    set_seq(command, 0)
    return command


def page(bus: Bus, root: Path, token: str) -> Application:
    """Return the page that takes orders for a bus in memory."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if scope["method"] != "POST":
            await problem(send, 405, f"{PAGE} takes orders with POST")
        elif not hmac.compare_digest(headers.get(b"x-hawk-token", b""), token.encode()):
            await problem(send, 403, "the token of run/up.json is needed")
        elif (content := await _content(receive)) is None:
            await problem(send, 413, f"an order has at most {BODY_BYTES_MAX} bytes")
        else:
            try:
                command = give(root, bus, msgspec.json.decode(content, type=Wish))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                await problem(send, 422, str(error))
            except HawkError as error:
                await problem(send, 503, str(error))
            else:
                await respond(send, 200, msgspec.json.encode(command))

    return app


def user() -> str:
    """Return who gives orders here."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"  # a container's user may have no name


async def _content(receive: Receive) -> bytes | None:
    content = b""
    while True:
        message = await receive()
        content += bytes(message.get("body", b""))
        if len(content) > BODY_BYTES_MAX:
            return None
        if not message.get("more_body"):
            return content


def _command(root: Path, wish: Wish) -> Command:
    wall_ns = time.time_ns()
    span = Archive(root).span_ns()
    ts_ns = span[1] if span else wall_ns
    return Command(
        ts_ns=ts_ns,
        id=event_id("Command", wish.command, wish.argument, wish.who, ts_ns, wall_ns),
        command=wish.command,
        who=wish.who,
        argument=wish.argument,
    )
