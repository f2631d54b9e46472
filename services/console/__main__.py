"""Entry of the `hawk` command: an operating error becomes one line and an exit code."""

import sys

from libs.common.checks import HawkError


def main() -> None:
    """Run the command line."""
    from services.console.cli import app

    try:
        app()
    except HawkError as error:
        sys.stderr.write(f"hawk: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)  # the reader of our output (`| head`) has seen enough


if __name__ == "__main__":
    main()
