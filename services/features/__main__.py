"""`python -m services.features`: the live service; with `rows`, the archive's rows into a file.

`rows --data D --to T --out FILE` is how the live trainer gets its table: services do not import
each other, so it starts this as a process, which also keeps the two peaks of memory apart. The file
is Arrow's (memory-mapped by the reader, exact to the bit), whole or not there.
"""

import argparse
import sys
from pathlib import Path

from libs.common.checks import HawkError


def main() -> int:
    """Run the service, or write the rows; return the exit code."""
    if len(sys.argv) == 1:
        _serve()
    parser = argparse.ArgumentParser("python -m services.features", description=main.__doc__)
    parser.add_argument("what", choices=("rows",))
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--to", type=int, required=True, help="ns UTC, exclusive")
    parser.add_argument("--out", type=Path, required=True, help="Arrow file to write")
    wanted = parser.parse_args()
    try:
        count = write_rows(wanted.data, wanted.out, end_ns=wanted.to)
    except HawkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(count)
    return 0


def write_rows(root: Path, path: Path, *, end_ns: int) -> int:
    """Write the feature rows of what was known before `end_ns`; return how many."""
    import pyarrow as pa

    from libs.common import durable
    from libs.common.archive import Archive
    from libs.common.events import Market, QuoteSnapshot, SpotSnapshot
    from services.features.batch import build_rows

    archive = Archive(root)
    markets, spot, quotes = (
        archive.table(kind, end_ns=end_ns) for kind in (Market, SpotSnapshot, QuoteSnapshot)
    )
    rows = build_rows(markets, spot, quotes)

    def fill(temporary: Path) -> None:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)

    durable.write_atomic(path, fill, name="rows")
    return int(rows.num_rows)


def _serve() -> None:
    from libs.common.service import main as serve
    from services.features.shell import run

    serve("features", run)


if __name__ == "__main__":
    sys.exit(main())
