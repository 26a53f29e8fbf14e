"""The command line: one file a verb, imported only when the verb is called.

Exit codes are those of `appliance/errors.py`; a traceback shows only with --debug.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from appliance import __version__
from appliance.errors import ApplianceError, InterruptedRun, ResourceError
from appliance.offline import go_offline

VERBS = {
    "assess": "Tell whether a folder is worth tuning on, or a prompt or a search does as well.",
    "tune": "Fine-tune a base model on a folder of documents, prove it, export it.",
    "pretrain": "Let a base model read much plain text of a domain before it is tuned.",
    "recipes": "List, show, check and write recipes: what a job is told.",
    "documents": "Compare a folder with a run; find the runs that used a file.",
    "plan": "Tell what `tune` would do with a folder, how long it takes, and why.",
    "report": "Tell what came of a run, or what this machine can tune and serve.",
    "chat": "Talk to the model in a bundle.",
    "serve": "Serve a bundle through an OpenAI-compatible API.",
    "verify": "Check that a bundle is whole and unchanged.",
    "keys": "Sign bundles, and say whose signatures are believed.",
    "airgap": "Bring the program and its bases to a machine without a network.",
    "bases": "List, show, import, check and remove base models.",
    "jobs": "See and steer the jobs of the service.",
    "daemon": "Run the service: jobs in the background, through crashes and reboots.",
    "dashboard": "Show jobs, machine and models in a browser, and as an API.",
    "tokens": "Say who may use the dashboard, what for, and until when.",
    "audit": "Check the log of who did what in the dashboard.",
    "service": "Explain the state of the service on this machine.",
}


class _LazyGroup(click.Group):
    """A group that knows its verbs' names and imports a verb when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        verb: click.Command = getattr(
            importlib.import_module(f"appliance.cli.{cmd_name}"), cmd_name
        )
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


EXAMPLE = """
\b
Example:
  appliance tune ./company_docs
  appliance chat runs/company_docs-c8a31b -m "How do I return a sensor?"
"""


@click.group(
    cls=_LazyGroup, epilog=EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="appliance")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Fine-tune, prove, export and serve a language model on your own documents."""
    ctx.obj = debug


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and leave with its exit code."""
    go_offline()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(arguments, prog_name="appliance", standalone_mode=False)
    except ApplianceError as exc:
        if "--debug" in arguments:
            raise
        sys.exit(_fail(exc))
    except click.exceptions.Abort:
        sys.exit(_fail(InterruptedRun("stopped", fix="run the same command again")))
    except KeyboardInterrupt:
        sys.exit(_fail(InterruptedRun("stopped", fix="run the same command again")))
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except BrokenPipeError:  # the reader of our output went away
        sys.exit(0)
    except OSError as exc:
        if "--debug" in arguments:
            raise
        name = f" {exc.filename}" if isinstance(exc.filename, str) else ""
        sys.exit(
            _fail(
                ResourceError(
                    f"cannot use{name or ' a file'}",
                    why=exc.strerror or type(exc).__name__,
                    fix="mend the path, its permissions or the free disk space",
                )
            )
        )
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: ApplianceError) -> int:
    click.echo(str(error), err=True)
    return error.exit_code
