"""Small experiments for the embedded base: shapes, vocabularies, rates and optimizers.

    scripts/bench base-trials DOCUMENTS --seconds 60 --json FILE

DOCUMENTS is a folder as `scripts/build_base` unpacks it. Every trial begins from the bigrams of the
same text, reads the same windows in the same order for as many seconds of processor time, with its
rate falling to nought at the end, and is scored in bits per byte on the same held-out text.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from main_job import describe_machine  # noqa: E402

from appliance.offline import go_offline  # noqa: E402

CONTEXT = 512
WINDOWS_PER_STEP = 2
CHARACTERS = 6_000_000
HELD_OUT = 120_000
WARM_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is different."""

    name: str
    layers: int = 4
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 8192
    lr: float = 2.5e-3
    muon_lr: float = 0.0


Row = dict[str, Any]

TRIALS = (
    Trial(name="as shipped: 4 x 256"),
    Trial(name="deeper: 8 x 192", layers=8, width=192, heads=3, kv_heads=1),
    Trial(name="wider: 2 x 320", layers=2, width=320, heads=5, kv_heads=1),
    Trial(name="vocabulary 4096", vocabulary=4096),
    Trial(name="rate 5e-3", lr=5e-3),
    Trial(name="rate 1.25e-3", lr=1.25e-3),
    Trial(name="muon 5e-3 beside adamw", muon_lr=5e-3),
    Trial(name="muon 1.5e-2 beside adamw", muon_lr=1.5e-2),
)


@click.command()
@click.argument("documents", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", default=60.0, show_default=True, help="Of processor time, a trial.")
@click.option("--only", multiple=True, type=int, help="Numbers of trials, from 0.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the curves.")
def main(documents: Path, seconds: float, only: tuple[int, ...], json_file: Path | None) -> None:
    """Train small models from nothing, each as long, and compare them."""
    go_offline()
    train, held_out = read_texts(documents)
    rows = []
    for number in only or range(len(TRIALS)):
        row = run_trial(TRIALS[number], train, held_out, seconds)
        rows.append(row)
        click.echo(f"{row['name']}: {row['bits_per_byte'][-1][1]:.4f} bits per byte", err=True)
        if json_file:
            body = {"machine": describe_machine(), "seconds": seconds, "rows": rows}
            json_file.write_text(json.dumps(body, indent=1) + "\n")


def read_texts(documents: Path) -> tuple[list[str], list[str]]:
    """Training and held-out texts: of each group alike, spread over all of it."""
    train: list[str] = []
    held_out: list[str] = []
    groups = [folder for folder in sorted(documents.iterdir()) if folder.is_dir()]
    for folder in groups:
        paths = sorted(folder.glob("*.txt"))
        left = CHARACTERS // len(groups)
        for path in paths[:: max(1, len(paths) // 300)]:
            text = path.read_text(encoding="utf-8")[:30_000]
            kept = sum(map(len, held_out)) < HELD_OUT * (groups.index(folder) + 1) / len(groups)
            (held_out if kept else train).append(text[:6_000] if kept else text)
            left -= len(text)
            if left < 0:
                break
    return train, held_out


def run_trial(trial: Trial, train: list[str], held_out: list[str], seconds: float) -> Row:
    """Train one model, and tell its curve: seconds and bits per byte."""
    import torch

    from appliance.dataset.tokens import Example, write_token_file
    from appliance.dataset.windows import WindowBatches, count_windows, read_window
    from appliance.tuning.model import wrap_model
    from appliance.tuning.step import measure_loss, sum_pack_loss

    tokenizer, module = make_model(trial, train)
    model = wrap_model(module)
    with tempfile.TemporaryDirectory() as room:

        def write(name: str, texts: list[str]) -> Any:
            ids = [[0, *tokenizer.encode(text).ids] for text in texts]
            examples = (
                Example(token_ids=row, supervised=[False] + [True] * (len(row) - 1), document=n)
                for n, row in enumerate(ids)
            )
            return write_token_file(Path(room) / name, examples, trial.vocabulary)

        batches = WindowBatches(
            write("train", train),
            write("none", []),
            window_tokens=CONTEXT,
            windows_per_step=WINDOWS_PER_STEP,
            replay_share=0.0,
            seed=1,
        )
        split = write("held-out", held_out)
        packs = [read_window(split, n, CONTEXT) for n in range(count_windows(split, CONTEXT))]
        num_bytes = sum(len(text.encode()) for text in held_out)
        num_labels = sum(pack.num_labels for pack in packs)

        def score() -> float:
            return measure_loss(model, packs) * num_labels / math.log(2) / num_bytes

        step_with = open_optimizers(trial, module)
        curve, spent, step, num_tokens = [(0.0, score())], 0.0, 0, 0
        marks = [seconds * share for share in (0.25, 0.5, 0.75, 1.0)]
        while spent < seconds:
            started = time.process_time()
            for pack in batches.read_step(step):
                (sum_pack_loss(model, pack) / (WINDOWS_PER_STEP * CONTEXT)).backward()
                num_tokens += len(pack.token_ids_T)
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            warm = min(1.0, (step + 1) / 20)
            step_with(warm * (1 - spent / seconds))
            step += 1
            spent += time.process_time() - started
            if spent >= marks[0]:
                curve.append((round(spent, 1), score()))
                marks.pop(0)
    num_weights = sum(p.numel() for p in module.parameters())
    return asdict(trial) | {
        "weights": num_weights,
        "tokens": num_tokens,
        "steps": step,
        "bits_per_byte": curve,
    }


def make_model(trial: Trial, texts: list[str]) -> tuple[Any, Any]:
    """A tokenizer and a model that has counted its text."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from appliance.dataset.new_tokenizer import train_tokenizer
    from appliance.tuning.attention import IMPLEMENTATION
    from appliance.tuning.bigrams import count_pairs, start_from_bigrams

    tokenizer = train_tokenizer(texts, trial.vocabulary, ["<|endoftext|>"])
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=trial.vocabulary,
        hidden_size=trial.width,
        intermediate_size=-(-trial.width * 8 // 3 // 64) * 64,
        num_hidden_layers=trial.layers,
        num_attention_heads=trial.heads,
        num_key_value_heads=trial.kv_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        attn_implementation=IMPLEMENTATION,
    )
    module = LlamaForCausalLM(config)
    ids = ([0, *tokenizer.encode(text).ids] for text in texts)
    start_from_bigrams(module, count_pairs(ids, trial.vocabulary), seed=1)
    return tokenizer, module


def open_optimizers(trial: Trial, module: Any) -> Callable[[float], None]:
    """AdamW over all weights, or Muon over the matrices of the layers and AdamW over the rest.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    import torch

    hidden = [p for n, p in module.named_parameters() if p.ndim == 2 and ".layers." in n]
    others = [p for n, p in module.named_parameters() if p.ndim != 2 or ".layers." not in n]
    by_adam = others if trial.muon_lr else [*others, *hidden]
    pairs: list[tuple[Any, float]] = [
        (torch.optim.AdamW(by_adam, lr=trial.lr, betas=(0.9, 0.99), weight_decay=0.0), trial.lr)
    ]
    if trial.muon_lr:
        pairs.append((torch.optim.Muon(hidden, lr=trial.muon_lr, weight_decay=0.0), trial.muon_lr))

    def step(share: float) -> None:
        for optimizer, rate in pairs:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step
