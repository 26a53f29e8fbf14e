"""`appliance tune`: order the job of a service, or do it here; draw it, print the result."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.options import job_arguments, run_options

EXAMPLE = """
\b
Example:
  appliance tune ./company_docs
  appliance tune ./company_docs --base ./models/Qwen3-0.6B --set tune.epochs=1
  appliance tune ./company_docs --json > result.json
"""


@click.command(epilog=EXAMPLE)
@job_arguments
@run_options
@click.option(
    "--nproc", type=click.IntRange(min=1), help="Processes that train together, a GPU each."
)
@click.pass_obj
def tune(debug: bool | None, /, nproc: int | None, **options: Any) -> None:
    """Fine-tune a base model on DOCUMENTS, prove it, export it, pack it.

    Killed or stopped, the same command goes on where it was. Where a service runs (`appliance
    daemon`), the job is done there, in its state folder; Ctrl-C leaves it running.
    """
    from appliance.cli.order import JobOptions, do_job
    from appliance.jobs import choose_kind
    from appliance.recipe import load_recipe

    if nproc is not None:
        options["settings"] = (*options["settings"], f"tune.num_processes={nproc}")
    typed = JobOptions(**options)
    recipe = load_recipe(typed.recipe, typed.settings)
    do_job(choose_kind(recipe), recipe, typed, debug=bool(debug))
