"""`appliance pretrain`: let a base read plain text before anything else."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.options import job_arguments, run_options

EXAMPLE = """
\b
Example:
  appliance pretrain ./all_our_manuals
  appliance pretrain ./all_our_manuals --set pretrain.replay_share=0.1
  appliance tune ./all_our_manuals --recipe pretrain-then-tune
"""


@click.command(epilog=EXAMPLE)
@job_arguments
@run_options
@click.pass_obj
def pretrain(debug: bool | None, /, **options: Any) -> None:
    """Continue the pretraining of a base model on the plain text of DOCUMENTS.

    For much text of a domain: every token is learned, general text is read again among it so that
    little is forgotten, and the result is proved, exported and packed as that of `tune`. What there
    is too little text for, it says before it begins. Killed or stopped, the same command goes on
    where it was.
    """
    from appliance.cli.order import JobOptions, do_job
    from appliance.recipe import load_recipe

    typed = JobOptions(**options)
    do_job("pretrain", load_recipe(typed.recipe, typed.settings), typed, debug=bool(debug))
