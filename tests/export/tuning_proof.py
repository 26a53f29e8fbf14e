"""Whether a family is trained and merged rightly. Oracle: transformers, an example at a time.

Letters: T tokens of an example.
"""

from __future__ import annotations

from pathlib import Path

import torch
from proof import StockScorer, make_examples, make_text
from transformers import AutoModelForCausalLM

from appliance.dataset.pack import IGNORED, build_pack
from appliance.evaluation.likelihood import score_options
from appliance.export.compare import RungComparison, compare
from appliance.export.merge import write_merged
from appliance.export.scorers import TorchScorer
from appliance.tuning.generate import generate
from appliance.tuning.load import load_base
from appliance.tuning.method import METHODS
from appliance.tuning.model import wrap_model
from appliance.tuning.step import sum_pack_loss
from tests.tuning.conftest import make_plan

LENGTHS = [90, 40, 100]
"""Two examples are longer than the window."""


def load_plain(folder: Path) -> torch.nn.Module:
    return load_base(folder, quantized=False, device="cpu", compute_dtype="float32").eval()


def measure_pack(stock: torch.nn.Module, base: Path, folder: Path) -> tuple[float, float]:
    """Relative errors of loss and gradient of a pack against its examples one by one."""
    split = make_examples(folder / "pack", LENGTHS)
    ours = load_plain(base).requires_grad_(True)
    ours_sum = sum_pack_loss(wrap_model(ours), build_pack(split, range(len(LENGTHS))))
    ours_sum.backward()

    stock.zero_grad()
    stock_sum = torch.zeros(())
    for row in range(len(LENGTHS)):
        pack = build_pack(split, [row])
        logits_TV = stock(torch.from_numpy(pack.token_ids_T)[None], use_cache=False).logits[0]
        labels_T = torch.from_numpy(pack.labels_T)
        stock_sum = stock_sum + torch.nn.functional.cross_entropy(
            logits_TV, labels_T, reduction="sum", ignore_index=IGNORED
        )
    stock_sum.backward()
    wanted = dict(stock.named_parameters())
    errors = [
        float((p.grad - wanted[name].grad).norm() / wanted[name].grad.norm())
        for name, p in ours.named_parameters()
    ]
    return float(((ours_sum - stock_sum).abs() / stock_sum).detach()), max(errors)


@torch.no_grad()
def measure_options(stock: torch.nn.Module, base: Path) -> float:
    """Relative error of options scored in one row behind a prompt, against one by one."""
    prompt, options = make_text(100, 8), [make_text(length, length) for length in (3, 20, 9)]
    wanted = []
    for option in options:
        ids = torch.tensor(prompt + option)
        logits_TV = stock(ids[None], use_cache=False).logits[0, len(prompt) - 1 : -1]
        wanted.append(
            torch.nn.functional.cross_entropy(logits_TV, ids[len(prompt) :]) * len(option)
        )
    found = torch.tensor(score_options(wrap_model(load_plain(base)), prompt, options))
    return float(((found - torch.stack(wanted)).abs() / torch.stack(wanted)).max())


def answer(base: Path, prompts: list[list[int]], num_tokens: int) -> list[list[int]]:
    """Greedy answers as the evaluation takes them: prompts padded on the left, with a cache."""
    return generate(load_plain(base), prompts, num_tokens, None)


def measure_merge(method: str, base: Path, folder: Path, sample) -> RungComparison:
    """The tuned model beside its merged checkpoint, read by transformers alone."""
    chosen = METHODS[method]
    plan = make_plan(method=method, rank=4, tunes_head=False)
    tuned = chosen.attach(load_plain(base), plan, 5)
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    chosen.save(tuned, folder / method)
    again = chosen.restore(load_plain(base), folder / method)
    merged = chosen.merge(chosen.restore(load_plain(base), folder / method)).eval()
    write_merged(merged, folder / f"merged-{method}", base)
    stock = AutoModelForCausalLM.from_pretrained(
        folder / f"merged-{method}", attn_implementation="eager", dtype=torch.float32
    ).eval()
    return compare(TorchScorer(wrap_model(again.eval())), StockScorer(stock), sample)
