"""Who decided what: every value of a plan with its reason, and what a person's choices cost."""

from __future__ import annotations

from appliance.planning.methods import find_obstacle, list_methods
from appliance.planning.rungs import Rung, climb
from appliance.planning.schedule import (
    MANY_TOKENS,
    Steps,
    Text,
    choose_epochs,
    count_step_tokens,
    count_steps_per_epoch,
)
from appliance.planning.speed import RATE_TRIALS
from appliance.planning.training import QUANTIZED
from appliance.planning.trunk import count_cache_bytes
from appliance.recipe import PretrainRecipe, TuneRecipe
from appliance.units import format_bytes, format_count
from appliance.values import Decider, Decision, Hardware, PlanTerms


def list_decisions(
    rung: Rung,
    steps: Steps,
    hardware: Hardware,
    recipe: TuneRecipe,
    text: Text,
    terms: PlanTerms,
    threads: int,
) -> tuple[Decision, ...]:
    """Every value of a plan, in the order in which it is decided."""
    training = rung.training
    rows = [
        _decide_base(rung, terms),
        _decide_method(rung, hardware, recipe, text, terms),
        _decide_rank(rung, hardware, recipe, text, terms),
        _decide_head(rung, recipe, terms),
        _decide_length(rung, hardware, recipe, text, terms),
        Decision(
            name="packs_per_step",
            value=str(steps.packs_per_step),
            by="planner",
            reason=f"a step wants {count_step_tokens(text.train_tokens, recipe):,} tokens: "
            f"{count_steps_per_epoch(recipe)} steps an epoch where the text is short",
        ),
        _decide_recomputation(rung),
        _decide_epochs(steps, recipe, text, terms),
        _decide_rate(recipe, terms),
        Decision(
            name="tune.threads",
            value=str(threads),
            by=_find_decider("tune.threads", recipe.threads != "auto", terms),
            reason="" if recipe.threads != "auto" else "all cores that this process may use",
        ),
    ]
    if training.method == "adapter":
        rows.append(_decide_cache(rung, recipe, text, terms))
    if training.kind == "cpu":
        rows.append(_decide_allocator(rung))
    if training.kind == "cpu" and training.method in QUANTIZED:
        rows.append(_decide_unpacking(rung))
    return tuple(rows)


def _find_decider(key: str, is_fixed: bool, terms: PlanTerms) -> Decider:
    if not is_fixed:
        return "planner"
    return "person" if key in terms.by_person else "recipe"


def _decide_base(rung: Rung, terms: PlanTerms) -> Decision:
    size = f"{format_count(rung.spec.num_parameters)} parameters"
    if "base" in terms.by_person:
        return Decision(name="base", value=rung.spec.name, by="person", reason=size)
    reason = f"the largest that fits and is trained in time: {size}"
    return Decision(name="base", value=rung.spec.name, by="planner", reason=reason)


def _decide_method(
    rung: Rung, hardware: Hardware, recipe: TuneRecipe, text: Text, terms: PlanTerms
) -> Decision:
    if recipe.method == "auto":
        reason = f"{format_bytes(rung.memory.total_bytes)} fit; best method that does"
        return Decision(name="tune.method", value=rung.training.method, by="planner", reason=reason)
    auto = recipe.model_copy(update={"method": "auto"})
    others = (
        climb(rung.spec, method, hardware, auto, text, terms)
        for method in list_methods(rung.spec, auto)
        if not find_obstacle(rung.spec, method, auto)
    )
    chosen = next((other for other in others if not other.shortage), None)
    return Decision(
        name="tune.method",
        value=rung.training.method,
        by=_find_decider("tune.method", True, terms),
        reason=_tell_cost(rung, chosen, chosen.training.method if chosen else ""),
    )


def _decide_rank(
    rung: Rung, hardware: Hardware, recipe: TuneRecipe, text: Text, terms: PlanTerms
) -> Decision:
    default = TuneRecipe().rank
    is_fixed = recipe.rank != default
    reason = "enough for most; more learns more and needs more"
    if is_fixed:
        other = recipe.model_copy(update={"rank": default})
        auto = climb(rung.spec, rung.training.method, hardware, other, text, terms)
        reason = _tell_cost(rung, auto, str(default))
    return Decision(
        name="tune.rank",
        value=str(rung.training.rank),
        by=_find_decider("tune.rank", is_fixed, terms),
        reason=reason,
    )


def _decide_head(rung: Rung, recipe: TuneRecipe, terms: PlanTerms) -> Decision:
    size = format_count(rung.spec.vocab_size * rung.spec.width)
    reason = f"it is small ({size} weights)" if rung.training.tunes_head else f"{size} weights"
    if rung.spec.tied:
        reason = "head and embedding are one matrix"
    return Decision(
        name="tune.head",
        value="yes" if rung.training.tunes_head else "no",
        by=_find_decider("tune.head", recipe.head != "auto", terms),
        reason=reason if recipe.head == "auto" else "",
    )


def _decide_length(
    rung: Rung, hardware: Hardware, recipe: TuneRecipe, text: Text, terms: PlanTerms
) -> Decision:
    length = rung.training.sequence_length
    holds = f"the longest example has {text.longest_example}" if text.longest_example else ""
    if recipe.sequence_length == "auto":
        reason = "; ".join(part for part in ("fastest that fits", holds) if part)
    else:
        auto = recipe.model_copy(update={"sequence_length": "auto"})
        other = climb(rung.spec, rung.training.method, hardware, auto, text, terms)
        reason = _tell_cost(rung, other, str(other.training.sequence_length))
    return Decision(
        name="tune.sequence_length",
        value=str(length),
        by=_find_decider("tune.sequence_length", recipe.sequence_length != "auto", terms),
        reason=reason,
    )


def _decide_recomputation(rung: Rung) -> Decision:
    value = "yes" if rung.training.recompute else "no"
    twin = f"packs of {rung.training.sequence_length}"
    suffix = "" if rung.training.recompute else ", recomputed"
    other = next((row for row in rung.others if row.choice.endswith(twin + suffix)), None)
    return Decision(
        name="recompute",
        value=value,
        by="planner",
        reason=f"otherwise {other.reason}" if other else "",
    )


def _decide_epochs(steps: Steps, recipe: TuneRecipe, text: Text, terms: PlanTerms) -> Decision:
    auto = choose_epochs(text.train_tokens, recipe)
    if recipe.epochs == "auto" and isinstance(recipe, PretrainRecipe):
        reason = "every reading costs general text"
        if recipe.start == "nothing":
            reason = "up to four readings are almost as good as new text"
    elif recipe.epochs == "auto":
        relation = "at most" if text.train_tokens <= MANY_TOKENS else "more than"
        reason = (
            f"{format_count(text.train_tokens)} training tokens, {relation} "
            f"{format_count(MANY_TOKENS)}; ends early when the held-out loss stops falling"
        )
    else:
        reason = f"the planner would take {auto}: {auto / steps.num_epochs:.2g} times the training"
    return Decision(
        name="tune.epochs",
        value=str(steps.num_epochs),
        by=_find_decider("tune.epochs", recipe.epochs != "auto", terms),
        reason=reason,
    )


def _decide_rate(recipe: TuneRecipe, terms: PlanTerms) -> Decision:
    if recipe.lr == "auto" and not recipe.tries_rates:
        reason = "by method and width: one that forgets little"
        return Decision(name="tune.lr", value="low", by="planner", reason=reason)
    if recipe.lr == "auto":
        reason = f"{RATE_TRIALS} rates are tried on held-out text before training"
        return Decision(name="tune.lr", value="by a probe", by="probe", reason=reason)
    return Decision(
        name="tune.lr",
        value=f"{recipe.lr:.1e}",
        by=_find_decider("tune.lr", True, terms),
        reason=f"saves {RATE_TRIALS} trials; whether it is a good one is not tried",
    )


def _decide_cache(rung: Rung, recipe: TuneRecipe, text: Text, terms: PlanTerms) -> Decision:
    size = format_bytes(count_cache_bytes(rung.spec, rung.training, text.train_tokens))
    if rung.cache == "off":
        reason = f"read once, or {size} fit neither RAM nor disk"
    else:
        reason = f"{size} of hidden states; the lower layers run in one epoch alone"
    return Decision(
        name="tune.cache_hidden_states",
        value=rung.cache,
        by=_find_decider("tune.cache_hidden_states", recipe.cache_hidden_states != "auto", terms),
        reason=reason,
    )


def _decide_allocator(rung: Rung) -> Decision:
    is_returned = rung.training.returns_memory
    return Decision(
        name="returns_memory",
        value="yes" if is_returned else "no",
        by="planner",
        reason="freed memory goes back at once: less is held, and it is slower"
        if is_returned
        else "there is plenty: freed memory is kept for the next step, which is faster",
    )


def _decide_unpacking(rung: Rung) -> Decision:
    is_kept = rung.training.keeps_unpacked
    return Decision(
        name="keeps_unpacked",
        value="yes" if is_kept else "no",
        by="planner",
        reason="there is plenty: matrices in NF4 are unpacked once, not in every step"
        if is_kept
        else "matrices in NF4 are unpacked in every step: less is held, and it is slower",
    )


def _tell_cost(rung: Rung, other: Rung | None, value: str) -> str:
    """What a person's choice costs beside the planner's."""
    if other is None:
        return "the planner would find nothing that fits"
    if other.training == rung.training:
        return "as the planner would"
    mine, theirs = rung.speed.tokens_per_second, other.speed.tokens_per_second
    return (
        f"the planner would take {value}: {format_bytes(other.memory.total_bytes)} and "
        f"{format_count(theirs)} tokens/s; this needs {format_bytes(rung.memory.total_bytes)} and "
        f"reads {format_count(mine)}"
    )
