"""One training with TRL, in the peer's own environment: the setting as JSON on stdin.

Nothing of this program is imported. `trl` leaves TRL's defaults alone (bf16 is off, for it is
emulated here and would be far slower still); the other ways give it what helps.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TRL_EXPERIMENTAL_SILENCE": "1"}

import torch
from datasets import Dataset
from peft import LoraConfig
from torch.utils.data import SequentialSampler
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when each step ends, by the clock and by the processor's time, and its loss."""

    def __init__(self) -> None:
        """Nothing is noted yet."""
        self.ticks: list[tuple[float, float]] = []
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The start."""
        self.ticks.append((time.perf_counter(), time.process_time()))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """An optimizer step is done."""
        self.ticks.append((time.perf_counter(), time.process_time()))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """The trainer tells its loss."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


class InOrder(SFTTrainer):  # type: ignore[misc]
    """Reads the examples in the order of the file, as the other side does."""

    def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
        return SequentialSampler(self.train_dataset)


def main(setting: dict[str, Any]) -> dict[str, Any]:
    """Train, and tell what was measured."""
    torch.set_num_threads(setting["threads"])
    lines = Path(setting["data"]).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    examples = [
        {
            "input_ids": row["prompt"] + row["answer"],
            "completion_mask": [0] * len(row["prompt"]) + [1] * len(row["answer"]),
        }
        for row in rows
    ]
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        setting["base"], quantization_config=quantization, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(setting["base"])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    is_best, per_step = setting["way"] != "trl", setting["examples_per_step"]
    micro = 1 if setting["way"] == "trl-best-single" else per_step
    config = SFTConfig(
        output_dir=str(Path(setting["work"]) / "trl-out"),
        max_steps=setting["steps"],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=per_step // micro,
        learning_rate=setting["rate"],
        lr_scheduler_type="constant",
        adam_beta2=0.99,
        completion_only_loss=True,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **({"gradient_checkpointing": False} if is_best else {}),
    )
    clock = Clock()
    torch.manual_seed(0)
    trainer = InOrder(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=setting["rank"],
            lora_alpha=2 * math.sqrt(setting["rank"]),
            target_modules="all-linear",
            use_rslora=True,
            task_type="CAUSAL_LM",
        ),
        callbacks=[clock],
    )
    if is_best:
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    trainer.train()
    tokens = [
        sum(len(row["input_ids"]) for row in examples[start : start + per_step])
        for start in range(0, len(examples), per_step)
    ]
    peak = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return {
        "tokens_per_second": sum(tokens[1:]) / (clock.ticks[-1][0] - clock.ticks[1][0]),
        "tokens_per_cpu_second": sum(tokens[1:]) / (clock.ticks[-1][1] - clock.ticks[1][1]),
        "peak_bytes": int(peak[1]) * 1024 if peak else None,
        "labels": sum(len(row["answer"]) for row in rows),
        "losses": clock.losses,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
