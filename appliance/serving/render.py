"""The child that renders chat templates: `python -m appliance.serving.render`.

A template comes with a base model and is a program. The sandbox keeps it from the machine, but not
from running on and on or from filling the memory; so it runs in this process, which has limits and
can be killed. It reads the template on its first line and conversations on the next ones, and
answers each with one line, all as JSON. `prompts.py` is the parent's side.

Time is processor time: a template can do nothing but compute, and a machine may be busy.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE

from appliance.dataset.template import ChatTemplate, TemplateRefusal
from appliance.dataset.tokenizer import TextTokenizer
from appliance.errors import BaseModelError
from appliance.values import Turn

MEMORY_BYTES = 256 * 2**20
"""What rendering may take, above what the process has when it starts."""


def main() -> None:
    """Answer until the input ends."""
    setup = json.loads(sys.stdin.readline())
    seconds = float(setup["seconds"])
    limit_memory(MEMORY_BYTES)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # ends the process by SIGPROF
    try:
        template = ChatTemplate(setup["source"], make_tokenizer(setup))
    except BaseModelError as exc:
        write({"refusal": f"{exc.what}: {exc.why}"})
        return
    write({})
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        write(render(template, [Turn(**turn) for turn in json.loads(line)]))


def render(template: ChatTemplate, turns: list[Turn]) -> dict[str, str]:
    """A conversation up to where the model answers, or why there is none."""
    try:
        return {"prompt": template.render_prompt(turns)}
    except TemplateRefusal as exc:
        return {"refusal": str(exc)}
    except (MemoryError, OverflowError, RecursionError):
        return {"refusal": "the chat template of the base takes too much memory"}


def make_tokenizer(setup: dict[str, Any]) -> TextTokenizer:
    """Special tokens are all that rendering needs of a tokenizer; its vocabulary stays out."""
    return TextTokenizer(
        plain=Tokenizer(BPE()),
        chat=Tokenizer(BPE()),
        bos_token=setup["bos_token"],
        bos_id=None,
        eos_token=setup["eos_token"],
        special_tokens=tuple(setup["special_tokens"]),
    )


def limit_memory(num_bytes: int) -> None:
    """Limit what the process may take from now on."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + num_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def write(reply: dict[str, str]) -> None:
    """One line."""
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
