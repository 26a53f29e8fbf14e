"""The main job, from documents to bundle, with its control.

    scripts/bench main-job --json FILE           the main job on the sample and on real documents
    scripts/bench main-job --only sample         one corpus alone
    scripts/bench main-job --json FILE --readme  also renew the table in README.md

Real documents are looked for in $APPLIANCE_TEST_DATA, else in shared/data beside the repository;
what is not there is left out, and said. The control trains on as many tokens of general text (the
documents that the embedded base never saw) and is scored on the same held-out documents.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from appliance.offline import go_offline  # noqa: E402

CORPORA = {
    "sample": (ROOT / "samples" / "company_docs", 0.05),
    "clef-handbook": (Path("clef-handbook"), 0.05),
    "18f-handbook": (Path("18f-handbook"), 0.10),
    "openstax-intellectual-property": (Path("openstax-intellectual-property"), 0.03),
}
"""Folder, and by how much the loss on unseen text has to fall."""

MAX_SECONDS = 240
"""From documents to bundle on the sample, two cores."""

HELD_OUT_DOCUMENTS = 40
"""Last documents of each group of the base corpus, which the embedded base was not trained on."""

Row = dict[str, Any]


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write rows and checks.")
@click.option("--only", multiple=True, type=click.Choice(list(CORPORA)), help="Corpora to run.")
@click.option("--work", type=click.Path(path_type=Path), default=ROOT / "build" / "bench")
@click.option("--control/--no-control", default=True, help="Train on general text for comparison.")
@click.option("--readme", is_flag=True, help="Renew the table in README.md.")
def main(
    json_file: Path | None, only: tuple[str, ...], work: Path, control: bool, readme: bool
) -> None:
    """Run `appliance tune` on every corpus and hold the results against their targets."""
    go_offline()
    rows: list[Row] = []
    checks: list[Row] = []
    for name in only or CORPORA:
        folder = find_data() / CORPORA[name][0]
        if not folder.is_dir():
            click.echo(f"{name}: left out, {folder} is not there", err=True)
            continue
        result = tune(folder, work / name)
        row = make_row(name, result)
        if control:
            row["control"] = run_control(Path(result["run"]), work / f"{name}-control")
        rows.append(row)
        checks += list_checks(name, row)
        click.echo(describe_row(row), err=True)
    body: Row = {"machine": describe_machine(), "rows": rows, "checks": checks}
    for check in checks:
        mark = "ok    " if check["ok"] else "MISSED"
        click.echo(f"{mark} {check['name']}: {check['value']:.4g} (target {check['target']})")
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(body, indent=1) + "\n")
    if readme:
        renew_readme(make_table(rows, body["machine"]))
    sys.exit(0 if all(check["ok"] for check in checks) else 1)


def find_data() -> Path:
    """Where openly licensed corpora lie."""
    return Path(os.environ.get("APPLIANCE_TEST_DATA", ROOT.parent / "shared" / "data"))


def tune(folder: Path, runs: Path) -> Row:
    """The command that a person would type, from scratch."""
    command = [sys.executable, "-m", "appliance", "tune", str(folder), "--runs", str(runs)]
    done = subprocess.run(
        [*command, "--fresh", "--json"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise click.ClickException(f"tune {folder.name} failed:\n{done.stderr}")
    result: Row = json.loads(done.stdout)
    return result


def make_row(name: str, result: Row) -> Row:
    """The figures of a run that are held against targets."""
    evaluation = result["evaluation"]
    strict = next(rung for rung in result["parity"] if rung["rung"] == "onnx-fp32")
    return {
        "corpus": name,
        "seconds": {stage: round(value, 1) for stage, value in result["seconds"].items()},
        "total_seconds": round(sum(result["seconds"].values()), 1),
        "planned_seconds": round(sum(result["planned_seconds"].values()), 1),
        "train_tokens": result["tokens"]["train"],
        "lr": result["lr"],
        "text_loss": [evaluation["base"]["text_loss"], evaluation["tuned"]["text_loss"]],
        "text_improvement": evaluation["text_improvement"],
        "text_improvement_low": evaluation["text_improvement_low"],
        "improvement": evaluation["improvement"],
        "improvement_low": evaluation["improvement_low"],
        "bits_per_byte": [
            evaluation["base"]["bits_per_byte"],
            evaluation["tuned"]["bits_per_byte"],
        ],
        "answer_f1": [evaluation["base"]["answer_f1"], evaluation["tuned"]["answer_f1"]],
        "precision": result["precision"],
        "gain_kept": result["gain_kept"],
        "strict_kl": strict["kl"],
        "strict_top1": strict["top1"],
        "planned_memory_bytes": result["planned_memory_bytes"],
        "peak_memory_bytes": result["peak_memory_bytes"],
        "tokens_per_second": result["tokens_per_second"],
    }


def run_control(run: Path, work: Path) -> Row:
    """Train the same plan on general text and score it on the same held-out documents."""
    script = [sys.executable, __file__, str(run), str(work)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"the control of {run.name} failed:\n{done.stderr}")
    result: Row = json.loads(done.stdout.splitlines()[-1])
    return result


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.argument("work", type=click.Path(path_type=Path))
def control(run: Path, work: Path) -> None:
    """Train a finished run's plan on general text; prints one line of JSON."""
    import shutil

    from appliance.dataset.tokens import write_token_file
    from appliance.evaluation.evaluate import evaluate
    from appliance.events import ignore_event
    from appliance.recipe import EvaluateRecipe, TuneRecipe
    from appliance.rundir import RunDir
    from appliance.tuning.tune import tune as tune_model
    from appliance.values import BaseChoice, Corpus, Dataset, Split, TrainPlan

    def read(stage: str) -> Any:
        return json.loads((run / "receipts" / f"{stage}.json").read_text())["value"]

    spec = BaseChoice.model_validate(read("base")).spec
    dataset = Dataset.model_validate(read("dataset"))
    plan = TrainPlan.model_validate(read("plan"))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for folder in ("corpus", "dataset"):
        shutil.copytree(run / folder, work / folder)
    examples = list(encode_general(Path(spec.folder), dataset.train.num_tokens))
    split = write_token_file(work / "general", examples, spec.vocab_size)
    changed = dataset.model_copy(
        update={
            "sha256": "control",
            "train": Split(
                folder="general",
                num_documents=len({example.document for example in examples}),
                num_examples=len(examples),
                num_tokens=split.num_tokens,
                num_labels=int(split.count_labels().sum()),
            ),
        }
    )
    corpus = Corpus.model_validate(read("corpus"))
    rundir = RunDir(work, ignore_event, lambda: False)
    recipe, asking = TuneRecipe(), EvaluateRecipe(num_questions=0)
    tuned = rundir.stage("tune", tune_model, plan, spec, changed, recipe)
    report = rundir.stage("evaluate", evaluate, plan, spec, tuned, changed, corpus, asking, recipe)
    figures = {
        "train_tokens": split.num_tokens,
        "text_improvement": report.text_improvement,
        "text_improvement_low": report.text_improvement_low,
        "text_improvement_high": report.text_improvement_high,
    }
    click.echo(json.dumps(figures))


def encode_general(base: Path, num_tokens: int) -> Iterator[Any]:
    """Passages of general text that the base was not trained on, until there are enough tokens."""
    from tokenizers import Tokenizer

    from appliance.dataset.tokens import Example

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    total = 0
    for number, text in enumerate(read_general()):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        for first in range(0, len(ids), 383):
            piece = [0, *ids[first : first + 383]]
            if len(piece) >= 32:
                yield Example(token_ids=piece, supervised=[True] * len(piece), document=number)
                total += len(piece)
            if total >= num_tokens:
                return


def read_general() -> Iterator[str]:
    """Held-out documents of the base corpus, the groups taking turns."""
    import itertools

    import zstandard

    groups: list[list[str]] = []
    for group in ("gov", "textbooks", "docs", "books"):
        shards = sorted((find_data() / "base_corpus").glob(f"{group}-*.txt.zst"))
        if not shards:
            raise click.ClickException("the control needs the base corpus; use --no-control")
        with zstandard.open(shards[-1], "rt", encoding="utf-8") as file:
            documents = [text.strip() for text in file.read().split("\n\n\n") if text.strip()]
        groups.append(documents[-HELD_OUT_DOCUMENTS:])
    for turn in itertools.zip_longest(*groups):
        yield from (text for text in turn if text)


def list_checks(name: str, row: Row) -> Iterator[Row]:
    """What a row promises."""

    def check(what: str, value: float, target: str, ok: bool) -> Row:
        return {"name": f"{name}: {what}", "value": value, "target": target, "ok": bool(ok)}

    wanted = CORPORA[name][1]
    fall = row["text_improvement"]
    low = row["text_improvement_low"]
    yield check("text loss falls by", fall, f">= {wanted}", fall >= wanted)
    yield check("lower bound of that", low, "> 0", low > 0)
    if "control" in row:
        gained = row["control"]["text_improvement"]
        yield check("control gains", gained, "<= 0.01", gained <= 0.01)
    yield check("gain kept", row["gain_kept"], ">= 0.98", row["gain_kept"] >= 0.98)
    yield check("onnx fp32 KL", row["strict_kl"], "< 1e-5", row["strict_kl"] < 1e-5)
    yield check("onnx fp32 top-1", row["strict_top1"], ">= 0.999", row["strict_top1"] >= 0.999)
    error = row["planned_memory_bytes"] / row["peak_memory_bytes"] - 1
    yield check("planned memory is off by", error, "within 0.15", abs(error) <= 0.15)
    proving = row["seconds"]["evaluate"] + row["seconds"]["parity"]
    share = proving / row["total_seconds"]
    yield check("evaluation and parity take", share, "< 0.2 of the run", share < 0.2)
    if name == "sample":
        total = row["total_seconds"]
        yield check("seconds to the bundle", total, f"<= {MAX_SECONDS}", total <= MAX_SECONDS)


def describe_row(row: Row) -> str:
    """A line while it runs."""
    return (
        f"{row['corpus']}: {row['total_seconds']:.0f} s, text loss {row['text_loss'][0]:.3f} → "
        f"{row['text_loss'][1]:.3f}, gain kept {row['gain_kept']:.3f}"
    )


def describe_machine() -> str:
    """Processor and cores, for the table."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    wide = "AVX-512" if "avx512f" in text else "AVX2" if "avx2" in text else "no AVX2"
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {names[0] if names else platform.machine()}, {wide}"


def make_table(rows: list[Row], machine: str) -> str:
    """The table of the README."""
    head = (
        "| documents | train tokens | seconds | loss on unseen text | falls by (95 % sure of) | "
        "control | gain kept (int4) | strict KL, top-1 | memory planned / peak |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for row in rows:
        general = row.get("control", {}).get("text_improvement")
        lines.append(
            f"| {row['corpus']} | {row['train_tokens']:,} | {row['total_seconds']:.0f} | "
            f"{row['text_loss'][0]:.3f} → {row['text_loss'][1]:.3f} | "
            f"{row['text_improvement']:.1%} ({row['text_improvement_low']:.1%}) | "
            f"{'–' if general is None else f'{general:+.1%}'} | {row['gain_kept']:.1%} | "
            f"{row['strict_kl']:.0e}, {row['strict_top1']:.4f} | "
            f"{row['planned_memory_bytes'] / 2**20:.0f} / "
            f"{row['peak_memory_bytes'] / 2**20:.0f} MiB |"
        )
    sample = next((row for row in rows if row["corpus"] == "sample"), None)
    stages = ""
    if sample:
        times = ", ".join(f"{stage} {value:g}" for stage, value in sample["seconds"].items())
        stages = f"\nSeconds by stage on the sample: {times}.\n"
    return (
        f"Measured by `scripts/bench main-job` on {machine}.\n\n{head}"
        + "\n".join(lines)
        + f"\n{stages}"
    )


def renew_readme(table: str) -> None:
    """Put the table between its marks in README.md."""
    path = ROOT / "README.md"
    start, end = "<!-- bench:main-job -->", "<!-- /bench -->"
    text = path.read_text()
    before, found, rest = text.partition(start)
    if not found or end not in rest:
        raise click.ClickException("README.md has no marks for the table")
    path.write_text(f"{before}{start}\n{table}{end}{rest.partition(end)[2]}")


if __name__ == "__main__":  # a process of its own, so that nothing of the run is left over
    control()
