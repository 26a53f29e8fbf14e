"""`appliance tune`: start the worker, draw what it tells, print the result."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.options import job_arguments

EXAMPLE = """
\b
Example:
  appliance tune ./company_docs
  appliance tune ./company_docs --base ./models/Qwen3-0.6B --set tune.epochs=1
  appliance tune ./company_docs --json > result.json
"""


@click.command(epilog=EXAMPLE)
@job_arguments
@click.option("--fresh", is_flag=True, help="Forget what an earlier attempt did.")
@click.pass_obj
def tune(
    debug: bool | None,
    documents: Path,
    base: str | None,
    recipe: Path | None,
    settings: tuple[str, ...],
    runs: Path,
    fresh: bool,
    as_json: bool,
) -> None:
    """Fine-tune a base model on DOCUMENTS, prove it, export it, pack it.

    Killed or stopped, the same command goes on where it was.
    """
    from appliance.bases.catalogue import find_bases
    from appliance.cli.follow import follow_job
    from appliance.documents.walk import scan_folder
    from appliance.jobs import TuneRequest, name_run
    from appliance.recipe import load_recipe

    chosen = load_recipe(recipe, settings)
    scan_folder(documents)
    find_bases(base)
    path = runs.absolute() / name_run(documents, base, chosen)
    request = TuneRequest(
        documents=str(documents.absolute()),
        base=str(Path(base).absolute()) if base and Path(base).exists() else base,
        recipe=chosen,
        run=str(path),
        fresh=fresh,
        debug=bool(debug),
    )
    result = follow_job(request, as_json=as_json)
    if as_json:
        from appliance.cli.output import print_json

        print_json(result)
