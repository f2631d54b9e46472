"""The `hawk models` commands.

Who serves what is the trainer's to change, with its key. Offline the command acts as the trainer
itself; beside services that run elsewhere (containers), where the key is not, it gives the trainer
the order.
"""

from typing import Annotated

import typer

from services.console.options import DataOption, JsonOption, ReasonOption, root_of, settings_of

models_app = typer.Typer(no_args_is_help=True, help="Bundles: list, show, activate, roll back.")


@models_app.command("list")
def models_list(data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the bundles, what the gate said of each, and which one serves."""
    from services.console.output import emit_json
    from services.console.tables import print_models
    from services.trainer.serving import list_models

    lines = list_models(root_of(data))
    emit_json(lines) if as_json else print_models(lines)


@models_app.command("show")
def models_show(
    bundle: Annotated[str, typer.Argument(help="ID or current")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a bundle: its manifest, and the report that the gate wrote."""
    from services.console.tables import print_bundle

    print_bundle(root_of(data), bundle, as_json=as_json)


@models_app.command("activate")
def models_activate(
    bundle: Annotated[str, typer.Argument(help="ID or base")],
    data: DataOption = None,
    reason: ReasonOption = "operator's choice",
    override_gate: Annotated[
        bool, typer.Option("--override-gate", help="serve a rejected bundle; is recorded")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve a bundle from the archive's newest instant on."""
    from services.console.commanding import is_trainers, print_command
    from services.console.offline import newest_ns
    from services.console.tables import print_switch
    from services.trainer.serving import activate

    root, settings = root_of(data), settings_of()
    if is_trainers(root, settings):
        argument = f"{bundle} override" if override_gate else bundle
        print_command(root, settings, "activate", argument=argument, as_json=as_json)
        return
    switched = activate(
        root, bundle, reason=reason, overrides_gate=override_gate, ts_ns=newest_ns(root)
    )
    print_switch(switched, as_json=as_json)


@models_app.command("rollback")
def models_rollback(
    data: DataOption = None,
    reason: ReasonOption = "operator's choice",
    as_json: JsonOption = False,
) -> None:
    """Serve again what served before."""
    from services.console.commanding import is_trainers, print_command
    from services.console.offline import newest_ns
    from services.console.tables import print_switch
    from services.trainer.serving import rollback

    root, settings = root_of(data), settings_of()
    if is_trainers(root, settings):
        print_command(root, settings, "rollback", as_json=as_json)
        return
    print_switch(rollback(root, reason=reason, ts_ns=newest_ns(root)), as_json=as_json)
