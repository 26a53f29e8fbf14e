"""When memory runs out during training: the same step again, in smaller pieces, until it fits.

    packs cut in two → layers computed twice → packs cut in four → activations in RAM (GPU) → ...

Packs are cut between examples, so every label keeps its context, and the mean goes over the labels
of the whole step as before: the effective batch and the curve stay. Nothing of the step that ran
out is kept, and nothing before it is lost. What was done lies beside the checkpoints, so a
restarted run does not run out in the same way again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch

from appliance.dataset.pack import Pack, cut_pack
from appliance.errors import ResourceError
from appliance.events import OnEvent, Relieved, ignore_event
from appliance.files import write_text
from appliance.tuning.ranks import Ranks
from appliance.tuning.step import CausalModel, add_gradients, count_labels
from appliance.units import format_bytes
from appliance.values import TrainPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Relief:
    """A rung: what a step does to need less memory; each does all that those before it do.

    Attributes:
        parts: a pack is cut into so many.
        recompute: activations are computed twice.
        offload: activations wait in RAM for the backward pass (GPU).
    """

    parts: int = 1
    recompute: bool = False
    offload: bool = False

    def describe(self) -> str:
        """In words."""
        words = [f"packs are cut in {self.parts}"] if self.parts > 1 else []
        words += ["layers are computed twice"] if self.recompute else []
        words += ["activations wait in RAM"] if self.offload else []
        return ", ".join(words)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryNotes:
    """What is kept of the ladder beside the checkpoints.

    Attributes:
        taken: rungs taken.
        wanted_bytes: that training as planned took at least; 0 where it fitted.
        boot, kills: while a process trains, the boot it runs in and how many processes the kernel
            had killed for memory when it began; "" and 0 once it has left in order.
    """

    taken: int = 0
    wanted_bytes: int = 0
    boot: str = ""
    kills: int = 0


def list_reliefs(plan: TrainPlan) -> tuple[Relief, ...]:
    """The rungs of a plan, the one that costs least first."""
    two, four, eight = (Relief(parts=n, recompute=n > 2 or plan.recompute) for n in (2, 4, 8))
    again = dataclasses.replace(two, recompute=True)
    start = (two,) if plan.recompute else (two, again)
    if plan.device == "cpu":
        return (*start, four, eight)
    return (*start, four, *(dataclasses.replace(one, offload=True) for one in (four, eight)))


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether an error says so: Python's, CUDA's, or that of torch's allocator on the CPU."""
    if isinstance(exc, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(exc, RuntimeError) and "can't allocate memory" in str(exc)


@dataclass(kw_only=True)
class MemoryLadder:
    """How far a training has climbed down; without rungs, memory that runs out ends it.

    Attributes:
        reliefs: the rungs.
        pack_tokens: of a pack as planned.
        apply: lets the model do what a rung says.
        measure_held: bytes that this process holds on the device.
        file: where the notes are kept; None for nowhere.
        is_learning: whether a step is at work, and may be broken off.
    """

    reliefs: tuple[Relief, ...] = ()
    pack_tokens: int = 0
    apply: Callable[[Relief], None] = lambda _: None
    measure_held: Callable[[], int] = lambda: 0
    file: Path | None = None
    on_event: OnEvent = ignore_event
    notes: MemoryNotes = field(default_factory=MemoryNotes)
    is_learning: bool = False

    @property
    def relief(self) -> Relief:
        """The rung it stands on."""
        return self.reliefs[self.notes.taken - 1] if self.notes.taken else Relief()

    @property
    def told(self) -> tuple[str, ...]:
        """Every rung taken, in words."""
        return tuple(relief.describe() for relief in self.reliefs[: self.notes.taken])

    def cut(self, packs: Sequence[Pack]) -> list[Pack]:
        """The packs in as many pieces as the rung says."""
        if self.relief.parts == 1:
            return list(packs)
        most = -(-self.pack_tokens // self.relief.parts)
        return [piece for pack in packs for piece in cut_pack(pack, most) if piece.num_labels]

    def offload(self) -> AbstractContextManager[object]:
        """Where activations wait for the backward pass."""
        if not self.relief.offload:
            return nullcontext()
        return torch.autograd.graph.save_on_cpu(pin_memory=True)

    def take_next(self, step: int, why: str, wanted_bytes: int) -> None:
        """Take the next rung, and say so.

        Args:
            step: that ran out, counted from 1.
            why: in words.
            wanted_bytes: that it took at least.

        Raises:
            ResourceError: there is none.
        """
        if self.notes.taken == len(self.reliefs):
            tried = f", although {self.reliefs[-1].describe()}" if self.reliefs else ""
            raise ResourceError(
                f"out of memory at step {step} of training",
                why=f"{why}{tried}",
                fix="close other programs, choose a smaller base, or --set tune.method=adapter",
            )
        most = max(self.notes.wanted_bytes, wanted_bytes)
        notes = dataclasses.replace(self.notes, taken=self.notes.taken + 1, wanted_bytes=most)
        self.keep(notes)
        self.apply(self.relief)
        self.on_event(
            Relieved(
                step=step, reason=why, done=self.relief.describe(),
                times=self.notes.taken, times_at_most=len(self.reliefs),
            )
        )  # fmt: skip

    def keep(self, notes: MemoryNotes) -> None:
        """Take these notes, and write them where they are kept."""
        self.notes = notes
        if self.file is not None:
            write_text(self.file, json.dumps(dataclasses.asdict(notes)))


def read_notes(file: Path) -> MemoryNotes:
    """Notes of earlier attempts; none where there are none."""
    return MemoryNotes(**json.loads(file.read_text())) if file.exists() else MemoryNotes()


def gather_gradients(
    model: CausalModel,
    packs: Sequence[Pack],
    replayed: Sequence[Pack],
    *,
    step: int,
    ranks: Ranks,
    ladder: MemoryLadder,
) -> float:
    """Gradients of the mean loss over all labels of a step, over all processes, within memory.

    Where any process runs out of memory, all take the next rung and do the step again, with the
    same random numbers.

    Args:
        model: its gradients are nought.
        packs: all of the step.
        replayed: general text beside them.
        step: its number, from 1.
        ranks: which of the processes this is.
        ladder: how far memory has been saved already.

    Returns:
        Mean loss over the labels of `packs` alone, in nats: general text has another one.

    Raises:
        ResourceError: it does not fit on the last rung either.
    """
    num_labels = count_labels([*packs, *replayed])
    learning = [p for p in model.module.parameters() if p.requires_grad]
    while True:
        random_state, loss, shortage, held = torch.get_rng_state(), 0.0, "", 0
        try:
            ladder.is_learning = True
            mine, beside = (ladder.cut(ranks.share(part)) for part in (packs, replayed))
            with ladder.offload():
                loss = add_gradients(model, mine, beside, num_labels)
        except (MemoryError, RuntimeError) as exc:
            if not is_out_of_memory(exc):
                raise
            shortage, held = _describe(exc), ladder.measure_held()
        finally:
            ladder.is_learning = False
        loss, num_short = ranks.sum(loss, bool(shortage))
        if not num_short:
            ranks.sum_gradients(learning)
            return loss * (num_labels / count_labels(packs))
        for parameter in learning:
            parameter.grad = None
        torch.set_rng_state(random_state)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        ladder.take_next(step, shortage or "another process ran out of memory", held)


def _describe(exc: BaseException) -> str:
    """Why, without the allocator's advice, which is for programmers."""
    if isinstance(exc, MemoryShortageError):
        return str(exc)
    return "the device refused more memory than training already has"


class MemoryShortageError(MemoryError):
    """Memory is about to run out; the step is broken off before the kernel ends the process.

    Args:
        free_bytes: left to this process.
        rest_bytes: that the rest of the step needs.
    """

    def __init__(self, free_bytes: int, rest_bytes: int) -> None:
        """Say it with both numbers."""
        super().__init__(
            f"{format_bytes(max(0, free_bytes))} are left of the memory limit, "
            f"the rest of the step needs {format_bytes(rest_bytes)}"
        )
