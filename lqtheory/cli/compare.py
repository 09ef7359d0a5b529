"""`lqtheory compare`: is one network more compressible than another?"""

from typing import Any

import click

from .options import a_file, common, finish, write


@click.command()
@click.argument("sources", nargs=-1, required=True, shell_complete=a_file)
@click.option("--resamples", type=click.IntRange(0), default=400, show_default=True, help="0 for no intervals.")
@common
def compare(sources: tuple[str, ...], seed: int, resamples: int, device: str, **options: Any) -> None:
    """Say which of two or more SOURCES is the more compressible: A, B, or where their curves cross."""
    from ..comparison import compare as compared
    from ..measure import QS
    from ..terminal import comparison_table, markdown

    filters = {"include": options["include"], "exclude": options["exclude"]}
    result = compared(*sources, qs=options["qs"] or QS, resamples=resamples, seed=seed, device=device, **filters)
    texts = {
        "table": lambda: comparison_table(result),
        "json": result.to_json,
        "csv": lambda: result.to_pandas().to_csv(index=False).rstrip("\n"),
        "md": lambda: markdown(result.to_pandas()),
    }
    write(texts[options["form"]](), options["output"])
    finish(options["gates"], result.to_dict, [])
