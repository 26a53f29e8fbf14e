"""`appliance assess`: should a model be tuned on these documents at all?"""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.options import job_arguments, run_options

EXAMPLE = """
\b
Example:
  appliance assess ./company_docs
  appliance assess ./company_docs --base ./models/Qwen3-0.6B
  appliance assess ./company_docs --json | jq .recommendation
"""


@click.command(epilog=EXAMPLE)
@job_arguments
@run_options
@click.pass_obj
def assess(debug: bool | None, /, **options: Any) -> None:
    """Tell whether DOCUMENTS are worth tuning on, or whether a prompt or a search does as well.

    Asks the base questions from held-out documents: alone, with a good prompt, with a search over
    the documents, after a short trial tune, and with both. Recommends the cheapest way that no
    dearer one beats. Makes no bundle. Killed or stopped, the same command goes on where it was.
    """
    from appliance.cli.assess_text import show_assessment
    from appliance.cli.order import JobOptions, do_job
    from appliance.recipe import load_recipe

    typed = JobOptions(**options)
    recipe = load_recipe(typed.recipe, typed.settings)
    do_job("assess", recipe, typed, debug=bool(debug), show=show_assessment)
