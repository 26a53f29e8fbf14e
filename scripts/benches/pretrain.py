"""Continued pretraining: what a base gains on a domain, what it forgets, and its control.

    scripts/bench pretrain --json FILE          two corpora, each with its control
    scripts/bench pretrain --only law           one corpus alone
    scripts/bench pretrain --no-control         without training on general text for comparison
    scripts/bench pretrain --tuned              and: does it help what is tuned afterwards?

Real documents are looked for as by `main_job.py`. The control reads as many tokens of general text
with the same plan and is scored on the same held-out documents. Beside the models stand what
compressors and a 5-gram model make of the same held-out text after the same training text.
"""

from __future__ import annotations

import bz2
import json
import lzma
import math
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from main_job import describe_machine, find_data  # noqa: E402

from appliance.offline import go_offline  # noqa: E402

CORPORA = {
    "18f": ("18f-handbook/pages", 0.12),
    "law": ("openstax-intellectual-property/docs", 0.05),
}
"""Folder, and by how much bits per byte on unseen text have to fall."""

MAX_RISE = 0.02
"""Of the loss on general text."""

CONTROL_GAIN = 0.01
"""A control that gains more than this on the domain is no control."""

Row = dict[str, Any]


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write rows and checks.")
@click.option("--only", multiple=True, type=click.Choice(list(CORPORA)), help="Corpora to run.")
@click.option("--work", type=click.Path(path_type=Path), default=ROOT / "build" / "bench-pretrain")
@click.option("--set", "settings", multiple=True, help="As for `appliance pretrain`.")
@click.option("--control/--no-control", default=True, help="Train on general text for comparison.")
@click.option("--tuned", is_flag=True, help="Tune as well, with pretraining before and without.")
def main(
    json_file: Path | None,
    only: tuple[str, ...],
    work: Path,
    settings: tuple[str, ...],
    control: bool,
    tuned: bool,
) -> None:
    """Run `appliance pretrain` and hold the results against their targets."""
    go_offline()
    rows: list[Row] = []
    checks: list[Row] = []
    for name in only or CORPORA:
        folder = find_data() / CORPORA[name][0]
        if not folder.is_dir():
            click.echo(f"{name}: left out, {folder} is not there", err=True)
            continue
        result = run_job("pretrain", folder, work / name, settings)
        row = make_row(name, result)
        row["others_bits_per_byte"] = measure_others(Path(result["run"]))
        if control:
            row["control"] = run_control(Path(result["run"]), work / f"{name}-control")
        if tuned:
            row["tuned"] = compare_tuned(folder, work / name, settings)
        rows.append(row)
        checks += list_checks(name, row)
        click.echo(json.dumps(row), err=True)
    for check in checks:
        mark = "ok    " if check["ok"] else "MISSED"
        click.echo(f"{mark} {check['name']}: {check['value']:.4g} (target {check['target']})")
    if json_file:
        body = {"machine": describe_machine(), "rows": rows, "checks": checks}
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(body, indent=1) + "\n")
    sys.exit(0 if all(check["ok"] for check in checks) else 1)


def run_job(verb: str, folder: Path, runs: Path, settings: Sequence[str], recipe: str = "") -> Row:
    """The command that a person would type; a finished run is not done again."""
    command = [sys.executable, "-m", "appliance", verb, str(folder), "--runs", str(runs)]
    command += ["--recipe", str(ROOT / "recipes" / recipe)] if recipe else []
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(
        [*command, "--base", "embedded", "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"{verb} {folder.name} failed:\n{done.stderr}")
    result: Row = json.loads(done.stdout)
    return result


def compare_tuned(folder: Path, runs: Path, settings: Sequence[str]) -> Row:
    """Tuning alone beside tuning on top of what pretraining made, on the same test split."""
    rows: Row = {}
    for name, recipe in (("alone", ""), ("after pretraining", "pretrain-then-tune.yaml")):
        result = run_job("tune", folder, runs, settings, recipe)
        evaluation = result["evaluation"]
        rows[name] = {
            "bits_per_byte": [evaluation[who]["bits_per_byte"] for who in ("base", "tuned")],
            "answer_loss": evaluation["tuned"]["answer_loss"],
            "general_rise": (evaluation["general"] or {}).get("rise"),
            "seconds": round(sum(result["seconds"].values()), 1),
        }
    return rows


def make_row(name: str, result: Row) -> Row:
    """The figures of a run that are held against targets."""
    evaluation = result["evaluation"]
    return {
        "corpus": name,
        "method": result["method"],
        "lr": result["lr"],
        "train_tokens": result["tokens"]["train"],
        "seconds": round(sum(result["seconds"].values()), 1),
        "bits_per_byte": [evaluation[who]["bits_per_byte"] for who in ("base", "tuned")],
        "improvement": evaluation["improvement"],
        "improvement_low": evaluation["improvement_low"],
        "general": evaluation["general"],
        "terms": evaluation["terms"],
        "gain_kept": result["gain_kept"],
        "planned_memory_bytes": result["planned_memory_bytes"],
        "peak_memory_bytes": result["peak_memory_bytes"],
        "tokens_per_second": result["tokens_per_second"],
    }


def list_checks(name: str, row: Row) -> list[Row]:
    """What was asked, beside what came out."""
    target = CORPORA[name][1]
    gain, rise = row["improvement"], row["general"]["rise"]
    checks = [
        {"name": f"{name} gain", "value": gain, "target": f">= {target}", "ok": gain >= target},
        {"name": f"{name} forgot", "value": rise, "target": f"<= {MAX_RISE}", "ok": rise <= 0.02},
    ]
    if "control" in row:
        value = row["control"]["improvement"]
        ok = value <= CONTROL_GAIN
        target_text = f"<= {CONTROL_GAIN}"
        checks.append(
            {"name": f"{name} control gain", "value": value, "target": target_text, "ok": ok}
        )
    return checks


def measure_others(run: Path) -> dict[str, float]:
    """Bits per byte of the held-out text after the training text, by other means."""
    from appliance.dataset.tokenizer import load_tokenizer
    from appliance.dataset.tokens import open_token_file

    base = json.loads((run / "receipts" / "base.json").read_text())["value"]["spec"]["folder"]
    tokenizer = load_tokenizer(Path(base)).plain
    ids, texts = {}, {}
    for name in ("train", "test"):
        split = open_token_file(run / "text" / name)
        ids[name] = split.tokens_N[split.supervised_N.astype(bool)].tolist()
        texts[name] = tokenizer.decode(ids[name]).encode()
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": lambda text: zlib.compress(text, 9),
        "bzip2": lambda text: bz2.compress(text, 9),
        "xz": lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME),
    }
    try:
        import zstandard

        packers["zstd-19"] = zstandard.ZstdCompressor(level=19).compress
    except ImportError:
        click.echo("zstd-19: left out, zstandard is not installed", err=True)
    bits = {
        name: 8 * (len(pack(texts["train"] + texts["test"])) - len(pack(texts["train"])))
        for name, pack in packers.items()
    }
    nats = score_ngrams(ids["train"], ids["test"], tokenizer.get_vocab_size())
    bits["5-gram"] = round(nats / math.log(2))
    return {name: value / len(texts["test"]) for name, value in bits.items()}


def score_ngrams(train: list[int], test: list[int], vocab_size: int, order: int = 5) -> float:
    """Nats that an n-gram model of the training tokens needs for the test tokens.

    Source: interpolation by Witten & Bell 1991, as in Chen & Goodman 1999, section 2.3.
    """
    counts: Counter[tuple[int, ...]] = Counter()
    followers: Counter[tuple[int, ...]] = Counter()
    totals: Counter[tuple[int, ...]] = Counter()
    for length in range(1, order + 1):
        for end in range(length, len(train) + 1):
            gram = tuple(train[end - length : end])
            followers[gram[:-1]] += gram not in counts
            counts[gram] += 1
            totals[gram[:-1]] += 1
    nats = 0.0
    for place in range(len(test)):
        probability = 1 / vocab_size
        for length in range(order):
            context = tuple(test[max(0, place - length) : place])
            total = totals[context] if len(context) == length else 0
            if total:
                kinds = followers[context]
                seen = counts[(*context, test[place])]
                probability = (seen + kinds * probability) / (total + kinds)
        nats -= math.log(probability)
    return nats


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

    from appliance.dataset.tokens import Example, SplitWriter, open_token_file
    from appliance.evaluation.text import evaluate_text
    from appliance.events import ignore_event
    from appliance.recipe import EvaluateRecipe, PretrainRecipe
    from appliance.rundir import RunDir
    from appliance.tuning.pretrain import pretrain as pretrain_model
    from appliance.values import BaseChoice, NewTerms, TextDataset, TrainPlan

    def read(stage: str) -> Any:
        return json.loads((run / "receipts" / f"{stage}.json").read_text())["value"]

    choice = BaseChoice.model_validate(read("base"))
    grown = NewTerms(choice=choice, origin=choice.spec)
    if (run / "new-terms").is_dir():
        grown = NewTerms.model_validate(read("new-terms"))
    spec = grown.choice.spec
    text = TextDataset.model_validate(read("text"))
    plan = TrainPlan.model_validate(read("pretrain-plan"))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for stage in ("text", "new-terms"):
        if (run / stage).is_dir():
            shutil.copytree(run / stage, work / stage)
    general = open_token_file(run / "text" / "replay")
    with SplitWriter(work / "general", spec.vocab_size) as writer:
        turn = 0
        while writer.marks.num_tokens < text.dataset.train.num_tokens:
            start, length, document, kind, _ = general.examples_E5[turn % len(general.examples_E5)]
            left = text.dataset.train.num_tokens - writer.marks.num_tokens
            place = slice(int(start), int(start) + min(int(length), left))
            writer.append(
                Example(
                    token_ids=general.tokens_N[place],
                    supervised=general.supervised_N[place].astype(bool),
                    document=int(document),
                    kind=int(kind),
                )
            )
            turn += 1
        writer.finish()
    train = text.dataset.train.model_copy(update={"folder": "general"})
    dataset = text.dataset.model_copy(update={"train": train, "sha256": "control"})
    changed = text.model_copy(update={"dataset": dataset})
    rundir = RunDir(work, ignore_event, lambda: False)
    recipe = PretrainRecipe(replay_share=0)
    tuned = rundir.stage("pretrain", pretrain_model, plan, spec, changed, recipe)
    report = rundir.stage(
        "judge", evaluate_text, plan, spec, tuned, changed, grown, EvaluateRecipe(), recipe
    )
    figures = {
        "train_tokens": text.dataset.train.num_tokens,
        "improvement": report.improvement,
        "improvement_low": report.improvement_low,
        "improvement_high": report.improvement_high,
        "general_rise": report.general.rise if report.general else None,
    }
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    control()
