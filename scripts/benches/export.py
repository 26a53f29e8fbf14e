"""The export matrix: every family trained, merged, exported, quantized and served, with figures.

    scripts/bench export --json FILE --page docs/reference/export-matrix.md

Small random models (tests/export/zoo.py) are held against transformers' eager attention on text
longer than window and original rope length. A family that misses a threshold of
`appliance/export/gates.py` must be refused by `find_why_not_exportable`, or this fails.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "export")]

from appliance.offline import go_offline  # noqa: E402

go_offline()

from family_proof import GREEDY_TOKENS, Proof, prove_family  # noqa: E402
from zoo import ORIGINAL, REFUSED, TOKENS, WINDOW, ZOO  # noqa: E402

from appliance.bases.config import read_architecture  # noqa: E402
from appliance.bases.families import find_why_not_exportable  # noqa: E402
from appliance.errors import BaseModelError  # noqa: E402
from appliance.export.compare import RungComparison  # noqa: E402
from appliance.export.corrections import CORRECTIONS  # noqa: E402

LIBRARIES = ("torch", "transformers", "peft", "onnxruntime", "onnxruntime-genai")


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
@click.option("--page", type=click.Path(path_type=Path), help="Write the page of the reference.")
@click.option("--only", help="A configuration by name; the page needs them all.")
def main(json_file: Path | None, page: Path | None, only: str | None) -> None:
    """Family × tune, merge, onnx fp32, int4, served; nothing silently wrong."""
    warnings.simplefilter("ignore")  # of peft and transformers, in passing
    proofs = []
    for member in ZOO:
        if only in (None, member.name):
            with tempfile.TemporaryDirectory() as folder:
                proofs.append(prove_family(member, Path(folder)))
            click.echo(describe(proofs[-1]))
    refusals = {} if only else {name: find_refusal(*pair) for name, pair in REFUSED.items()}
    for name, why in refusals.items():
        click.echo(f"{'refused' if why else 'SILENT '} {name:32} {why}")
    if json_file:
        body = {"proofs": [asdict(proof) for proof in proofs], "refused": refusals}
        json_file.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    if page:
        page.write_text(draw_page(proofs, refusals), encoding="utf-8")
    if not all(map(is_honest, proofs)) or not all(refusals.values()):
        sys.exit(1)


def is_honest(proof: Proof) -> bool:
    """Taken and right, or refused."""
    return bool(proof.why_not) or not proof.faults


def find_refusal(architecture: str, config: dict[str, Any]) -> str:
    """Why the program does not take an architecture."""
    config = {"architectures": [architecture], "model_type": "none"} | config
    try:
        read_architecture(Path(architecture), config)
    except BaseModelError:
        return f"{architecture} is not among the architectures that are known here"
    return find_why_not_exportable(architecture, config)


def describe(proof: Proof) -> str:
    """A row for people."""
    mark = "refused" if proof.why_not else "ok     " if not proof.faults else "WRONG  "
    cells = " · ".join(f"{name} {cell}" for name, cell in list_cells(proof).items())
    return f"{mark} {proof.name:32} {proof.why_not or cells} {' '.join(proof.faults)}"


def list_cells(proof: Proof) -> dict[str, str]:
    """The columns of the matrix."""
    merges = {
        name: merged if isinstance(merged, str) else f"{merged.max_abs_difference:.0e}"
        for name, merged in proof.merges.items()
    }
    return {
        "tune": f"{max(proof.loss_error, proof.gradient_error, proof.options_error):.0e}",
        "merge": ", ".join(
            f"{name} {'—' if isinstance(proof.merges[name], str) else cell}"
            for name, cell in merges.items()
        ),
        "onnx fp32": show(proof.fp32),
        "int4": f"{proof.int4.kl:.0e}" if proof.int4 else "",
        "answered": f"{min(proof.answered, default=0)}/{GREEDY_TOKENS}",
        "served": f"{min(proof.served, default=0)}/{GREEDY_TOKENS}",
        "library": f"{min(proof.library, default=0)}/{GREEDY_TOKENS}",
    }


def show(comparison: RungComparison | None) -> str:
    """KL, largest difference and top-1 agreement."""
    if comparison is None:
        return ""
    kl, largest = comparison.kl, comparison.max_abs_difference
    return f"{kl:.0e} / {largest:.0e} / {100 * comparison.top1:.1f} %"


def draw_page(proofs: list[Proof], refusals: dict[str, str]) -> str:
    """The page of the reference."""
    columns = list(list_cells(proofs[0]))
    taken = [proof for proof in proofs if not proof.why_not]
    lines = [
        "# Export matrix",
        "",
        "Written by `scripts/bench export --page docs/reference/export-matrix.md`; do not edit. "
        f"Small random models (four layers, norms and biases random too), {TOKENS} positions, "
        f"sliding window {WINDOW}, original rope length {ORIGINAL}; the oracle is transformers' "
        "eager attention on one example at a time, on a CPU in fp32. A model of the table passed "
        "every threshold of `appliance/export/gates.py`; anything else is refused before training. "
        "Every job proves its own graph again, on held-out documents.",
        "",
        ", ".join(f"{name} {version(name)}" for name in LIBRARIES) + ".",
        "",
        "- **tune**: largest relative error of loss and gradients of three packed examples, and of "
        "answers scored in one row behind a prompt.",
        "- **merge**: largest difference of a log-probability between tuned model and merged "
        "checkpoint, for each method; — where the method is refused.",
        "- **onnx fp32**: against transformers: KL, largest difference of a log-probability (nat), "
        "top-1 agreement.",
        "- **int4**: KL against the fp32 graph. Random weights have flat logits, so this says that "
        "the graph runs and is near, not how good int4 is on a trained model.",
        "- **answered**: greedy tokens equal to transformers', two prompts at once, one across the "
        "window, as the evaluation asks them; **served**: through the decoder that serves; "
        "**library**: through the loop of onnxruntime-genai.",
        "",
        f"| model | corrections | {' | '.join(columns)} |",
        "|" + "---|" * (len(columns) + 2),
        *(
            f"| {p.name} | {', '.join(p.corrections)} | {' | '.join(list_cells(p).values())} |"
            for p in taken
        ),
        "",
        "## Refused, with the reason",
        "",
        "| model | why |",
        "|---|---|",
        *(f"| {proof.name} | {proof.why_not} |" for proof in proofs if proof.why_not),
        *(f"| {name} | {why} |" for name, why in refusals.items()),
        "",
        "## Corrections of the exporter",
        "",
        "Each goes when its test in `tests/export/test_corrections.py` fails.",
        "",
        *(f"- **{correction.name}**: {correction.fault}." for correction in CORRECTIONS),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
