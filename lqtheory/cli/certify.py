"""`lqtheory certify`: how far the network can be pruned, with a confidence, before held-out inputs are lost."""

from pathlib import Path
from typing import Any

import click

from .networks import chosen_device, recipe_of, running
from .options import write


@click.command()
@running
@click.option("--data", required=True, help="Held-out labelled inputs, never used to train, calibrate or choose.")
@click.option("--method", default="magnitude", show_default=True, metavar="SCORE[:BUDGET[:FIT[:EPOCHS]]]")
@click.option("--sparsity", "sparsities", multiple=True, type=float, help="A step of the path; default 5 % to 95 %.")
@click.option("--limit", type=float, default=0.01, show_default=True, help="Largest share that may be lost.")
@click.option("--confidence", type=float, default=0.95, show_default=True)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there, not to stdout.")
def certify(source: Path | None, model: str | None, data: str, calibration: str | None, **options: Any) -> None:
    """Certify a sparsity of the network in SOURCE from held-out data."""
    from ..certification import certify as certified
    from ..models import load_data, load_model

    device = chosen_device(options["device"])
    recipe = recipe_of(options["method"], **{key: options[key] for key in ("include", "exclude", "seed")})
    inputs = load_data(calibration).x.to(device) if calibration else None
    path = options["sparsities"] or None
    network = load_model(model, source).to(device)
    result = certified(network, load_data(data), options["limit"], options["confidence"], path, recipe, inputs, device)
    write(result.to_json() if options["form"] == "json" else result.summary(), options["output"])
