"""How likely a model finds each of several answers to one question.

Letters: T tokens of the row, D model width, N option tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from appliance.tuning.loss import measure_each
from appliance.tuning.model import DecoderModel


@torch.no_grad()
def score_options(
    model: DecoderModel, prompt: Sequence[int], options: Sequence[Sequence[int]]
) -> list[float]:
    """Nats of each option, as the continuation of a prompt.

    The prompt is read once: all options stand behind it in one row, each sees the prompt and
    itself, and each counts its positions from the prompt's end.

    Args:
        model: any model of the loop.
        prompt: token ids, at least one.
        options: token ids of each option, at least one.

    Returns:
        Negative log-likelihood of each option; lower is likelier.

    Source: tree attention, Miao et al. 2024, "SpecInfer", arXiv:2305.09781, with a tree of depth
    one.
    """
    prompt = [*model.lead_ids, *prompt]
    device = next(model.decoder.parameters()).device
    ids_T = torch.tensor([*prompt, *(token for option in options for token in option)])
    places_T = _count_positions(len(prompt), options).to(device)
    output = model.decoder(
        input_ids=ids_T[None].to(device),
        position_ids=places_T[None],
        places_T=places_T,
        attention_mask=_see_prompt_and_self(len(prompt), options).to(device),
        use_cache=False,
    )
    hidden_TD: Tensor = output.last_hidden_state[0]
    hidden_ND = hidden_TD[_find_predictors(len(prompt), options).to(device)]
    labels_N = ids_T[len(prompt) :].to(device)
    nats_N = measure_each(hidden_ND, model.read_head(), labels_N, model.logit_cap)
    return [part.sum().item() for part in torch.split(nats_N, [len(option) for option in options])]


def _count_positions(start: int, options: Sequence[Sequence[int]]) -> Tensor:
    parts = [torch.arange(start, start + len(option)) for option in options]
    return torch.cat([torch.arange(start), *parts])


def _see_prompt_and_self(start: int, options: Sequence[Sequence[int]]) -> Tensor:
    """True where a row's token may look, shape (1, 1, T, T)."""
    total = start + sum(map(len, options))
    seen_TT = torch.zeros(total, total, dtype=torch.bool)
    seen_TT[:, :start] = True
    first = start
    for option in options:
        seen_TT[first : first + len(option), first : first + len(option)] = True
        first += len(option)
    return (seen_TT & torch.ones_like(seen_TT).tril())[None, None]


def _find_predictors(start: int, options: Sequence[Sequence[int]]) -> Tensor:
    """Positions whose next token is each option token: the prompt's last, then the option's own."""
    positions, first = [], start
    for option in options:
        positions += [start - 1, *range(first, first + len(option) - 1)]
        first += len(option)
    return torch.tensor(positions)
