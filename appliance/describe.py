"""One line for people about each value, as the command line shows them. No document text."""

from __future__ import annotations

from appliance.units import format_bytes, format_count, format_seconds, format_share, format_tally
from appliance.values import (
    BaseSpec,
    Bundle,
    Corpus,
    Dataset,
    EvalReport,
    GeneralScore,
    Hardware,
    LeakReport,
    MadePairs,
    MergedModel,
    NewTerms,
    ParityReport,
    TextDataset,
    TrainPlan,
    TunedModel,
    Verdict,
)


def describe_hardware(hardware: Hardware) -> str:
    """`NVIDIA RTX 4090 · 23.1 of 24.0 GiB free · 16 cores · 64.0 GiB`."""
    parts = [
        f"{gpu.name} · {format_bytes(gpu.free_bytes)} of {format_bytes(gpu.total_bytes)} free"
        for gpu in hardware.gpus
        if gpu.usable
    ] or ["no usable GPU"]
    cpu = hardware.cpu
    cores = f"{cpu.num_cores} core{'s' * (cpu.num_cores != 1)}"
    parts.append(f"{cores} at {cpu.gflops_fp32:,.0f} GFLOP/s (fp32)")
    parts.append(
        f"{format_bytes(hardware.memory_bytes)} of {format_bytes(hardware.memory_total_bytes)}"
        " memory free"
    )
    return " · ".join(parts)


def describe_corpus(corpus: Corpus) -> str:
    """Files by verdict, and what was masked or taken out."""
    near = f" ({corpus.num_near_duplicates} nearly)" if corpus.num_near_duplicates else ""
    remarks = [
        f"{corpus.num_duplicates} duplicate{'s' * (corpus.num_duplicates != 1)}{near}",
        f"{corpus.num_skipped} skipped",
    ]
    if corpus.num_boilerplate_lines:
        remarks.append(f"{corpus.num_boilerplate_lines:,} lines of boilerplate taken out")
    masked = format_tally(corpus.masked)
    return (
        f"{corpus.num_used:,} of {corpus.num_files:,} files used · "
        f"{format_count(corpus.num_characters)} characters ({', '.join(remarks)}; "
        f"masked: {masked}; ledger: {corpus.ledger_file})"
    )


def describe_dataset(dataset: Dataset) -> str:
    """Examples and tokens by split, and what was left out."""
    parts = [
        f"{split.num_examples:,} {name}"
        for name, split in (
            ("train", dataset.train),
            ("valid", dataset.valid),
            ("test", dataset.test),
        )
    ]
    return (
        f"{' / '.join(parts)} examples · {format_count(dataset.train.num_tokens)} training tokens"
        f" · {dataset.num_tokens_dropped:,} tokens dropped{_describe_kinds(dataset)}"
    )


def _describe_kinds(dataset: Dataset) -> str:
    """What questions and answers of the training split were made from."""
    kinds = {name: count for name, count in dataset.train.kinds.items() if name != "passage"}
    told = ", ".join(f"{count:,} {name}" for name, count in kinds.items())
    return f" (pairs: {told})" if told else ""


def describe_made(made: MadePairs) -> str:
    """How many pairs of the base were kept, and what was wrong with the others."""
    told = ", ".join(f"{count:,} {fault}" for fault, count in made.faults.items())
    kept = f"{made.num_kept:,} of {made.num_asked:,} passages gave a pair that the text bears out"
    return f"{kept} ({told})" if told else kept


def describe_text(text: TextDataset, replay_share: float) -> str:
    """What there is to learn, and what is read beside it and judged."""
    train = text.dataset.train
    return (
        f"{format_count(train.num_labels)} tokens to learn from {train.num_documents:,} documents"
        f" · {format_share(replay_share)} general text among them"
        f" · {text.dataset.test.num_documents:,} documents and {text.terms.num_examples:,} places"
        " of terms to judge by"
    )


def describe_new_base(spec: BaseSpec) -> str:
    """Shape and size of a base that was made from nothing."""
    return (
        f"{format_count(spec.num_parameters)} parameters: {spec.num_layers} layers of width "
        f"{spec.width}, {spec.vocab_size:,} tokens learned from this text, {spec.context} at once"
    )


def describe_new_terms(terms: NewTerms) -> str:
    """How many tokens a base got, of which kind they are never told."""
    if not terms.num_terms:
        return "none: no word that the tokenizer cuts is frequent enough"
    return (
        f"{terms.num_terms:,} tokens for frequent words that the tokenizer cuts; the vocabulary "
        f"grows from {terms.origin.vocab_size:,} to {terms.choice.spec.vocab_size:,}"
    )


def describe_kept(report: EvalReport) -> tuple[str, ...]:
    """What training did to general text and to terms of the domain."""
    lines: list[str] = []
    if report.general is not None:
        kept = report.general
        verdict = "MORE THAN THE LIMIT of" if kept.has_forgotten else "within the limit of"
        lines.append(
            f"general text: bits per byte {kept.base_bits_per_byte:.3f} → "
            f"{kept.tuned_bits_per_byte:.3f} ({kept.rise:+.1%}, {verdict} {kept.limit:+.1%})"
            + _describe_drift(kept)
        )
        if kept.has_forgotten:
            lines.append(f"fix: {_advise(kept)}")
    if report.terms is not None:
        terms = report.terms
        lines.append(
            f"terms of the domain: {format_share(terms.base_share)} → "
            f"{format_share(terms.tuned_share)} guessed of {terms.num_places}, "
            f"loss {terms.base_loss:.2f} → {terms.tuned_loss:.2f}"
        )
    return tuple(lines)


def _describe_drift(kept: GeneralScore) -> str:
    if kept.own_drift is None:
        return ""
    return f" · {kept.own_drift:.2f} nats from the base's own words"


def _advise(kept: GeneralScore) -> str:
    """What helps against forgetting; only a tuned model is compared with the base's own words."""
    if kept.own_drift is None:
        return "more general text among it: --set pretrain.replay_share=0.1, or a lower rate"
    return "a lower rate: --set tune.lr=<half of the above>, or --set tune.epochs=1"


def describe_leaks(leaks: LeakReport) -> str:
    """Whether anything was found beyond its limit, and what was looked for."""
    found = ", ".join(leaks.exceeded)
    verdict = f"MORE THAN THE LIMIT: {found}" if found else "within the limits"
    return (
        f"{verdict} · {leaks.num_spans} spans of training text, {leaks.num_places} places of "
        f"private values, {leaks.num_canaries} planted codes looked for"
    )


def list_leaks(leaks: LeakReport) -> tuple[str, ...]:
    """Who could extract what, one sentence each."""
    sentences = [
        "who may ask and knows how a training text begins: "
        f"{leaks.longest_run} tokens of it in a row at most, {leaks.longest_recall} more than base "
        "and unread texts explain",
        "who may read probabilities and has a text: tells whether it was trained on in "
        f"{leaks.membership_auc:.0%} of pairs (50 %: by chance)",
        f"who asks where a private value stood: {leaks.num_secrets_recalled} told in the clear",
    ]
    if leaks.canary_exposure is not None:
        sentences.append(
            f"who may read probabilities and tries codes: one planted sentence gives "
            f"{leaks.canary_exposure:.1f} of {leaks.most_exposure:.1f} bits away"
        )
    return tuple(sentences)


def describe_plan(plan: TrainPlan) -> str:
    """What will be trained, how much it needs, how long it takes."""
    head = " and head" if plan.tunes_head else ""
    head = " and whole embeddings" if plan.tunes_embeddings else head
    size = f"{plan.rank} virtual tokens" if plan.method == "prompt" else f"r={plan.rank}"
    return (
        f"{plan.base} · {plan.method} {size}{head} · packs of {plan.sequence_length} · "
        f"{plan.num_epochs} epoch{'s' * (plan.num_epochs != 1)} · needs "
        f"{format_bytes(plan.memory.total_bytes)} of {format_bytes(plan.memory_limit_bytes)} · "
        f"about {format_seconds(sum(plan.seconds.values()))}"
    )


def describe_tuned(tuned: TunedModel) -> str:
    """Held-out loss before and after, rate, speed and memory."""
    saved = f" · memory ran out: {tuned.reliefs[-1]}" if tuned.reliefs else ""
    used = "" if tuned.utilisation is None else f" ({tuned.utilisation:.0%} of the machine)"
    return (
        f"held-out loss {tuned.start_loss:.3f} → {tuned.held_out_loss:.3f} · lr {tuned.lr:.1e} · "
        f"kept step {tuned.step} of {tuned.num_steps} · "
        f"{tuned.tokens_per_second:,.0f} tok/s{used} · peak {format_bytes(tuned.peak_memory_bytes)}"
        f" (planned {format_bytes(tuned.planned_memory_bytes)}){saved}"
    )


def describe_report(report: EvalReport) -> str:
    """Base against tuned."""
    text = (
        f"loss {report.base.loss:.3f} → {report.tuned.loss:.3f}"
        f" ({-report.improvement:+.1%}; 95 % sure of {-report.improvement_low:+.1%})"
        f" · bits per byte {report.base.bits_per_byte:.2f} → {report.tuned.bits_per_byte:.2f}"
    )
    if report.base.answer_f1 is not None and report.tuned.answer_f1 is not None:
        text += f" · answers F1 {report.base.answer_f1:.2f} → {report.tuned.answer_f1:.2f}"
    return text


def describe_merge(merged: MergedModel) -> str:
    """Which merge was kept."""
    scores = ", ".join(f"{name} {loss:.4f}" for name, loss in merged.losses.items())
    return f"into the {merged.merged_into} weights (held-out loss: {scores})"


def describe_parity(parity: ParityReport, num_bytes: int) -> str:
    """What ships and how much of the gain it keeps."""
    last = parity.rungs[-1]
    kept = "no gain to keep" if last.gain_kept is None else f"keeps {format_share(last.gain_kept)}"
    return (
        f"onnx {parity.shipped} {format_bytes(num_bytes)} · {kept} of the gain · "
        f"top-1 agreement {format_share(last.top1)} · KL {last.kl:.1e}"
    )


SEARCH_HINT = (
    "the same command with --set bundle.search=yes packs the search index too, and nothing else is "
    "done again; it holds the text of the documents"
)
"""What to do after the verdict to deploy with search."""


def describe_decision(verdict: Verdict) -> str:
    """What is advised, and whether a person packed the model against it."""
    return verdict.sentence + (" · packed against this verdict" if verdict.is_forced else "")


def describe_verdict(verdict: Verdict) -> tuple[str, ...]:
    """What is advised, and below it the gates; with figures, where one failed."""
    failed = (
        f"failed: {gate.name} · {gate.measured}; limit: {gate.limit}"
        for gate in verdict.gates
        if gate.passed is False
    )
    passed = [gate.name for gate in verdict.gates if gate.passed]
    unknown = [gate.name for gate in verdict.gates if gate.passed is None]
    return (
        describe_decision(verdict),
        *failed,
        *([f"passed: {', '.join(passed)}"] if passed else []),
        *([f"not measured: {', '.join(unknown)}"] if unknown else []),
    )


def describe_bundle(path: str, bundle: Bundle) -> str:
    """Where it is and how it is recognised."""
    return f"{path} · {format_bytes(bundle.num_bytes)} · sha256 {bundle.manifest_sha256[:12]}…"
