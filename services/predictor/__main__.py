"""`python -m services.predictor`: the live service as a process of its own."""

from services.predictor.native import leave_out_extras


def main() -> None:
    """Run the service; LightGBM loads without what only training needs."""
    leave_out_extras()
    from libs.common.service import main as serve
    from services.predictor.shell import run

    serve("predictor", run)


if __name__ == "__main__":
    main()
