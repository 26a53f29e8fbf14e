"""Machines, bases and datasets to plan for, with the sizes of real ones."""

from __future__ import annotations

from appliance.values import BaseSpec, Corpus, Cpu, Dataset, Gpu, Hardware, Split

GIB = 2**30
MIB = 2**20


def make_gpu(free_gib: float, capability: str = "8.9", usable: bool = True) -> Gpu:
    return Gpu(
        name="Card",
        total_bytes=24 * GIB,
        free_bytes=int(free_gib * GIB),
        capability=capability,
        supports_bf16=capability >= "8.0",
        usable=usable,
        why_not="" if usable else "no kernels",
    )


def make_hardware(
    memory_gib: float = 16, gpus: tuple[Gpu, ...] = (), disk_gib: float = 500, gflops: float = 100
) -> Hardware:
    return Hardware(
        gpus=gpus,
        cpu=Cpu(name="CPU", num_cores=4, instruction_sets=("avx2",), gflops_fp32=gflops),
        memory_bytes=int(memory_gib * GIB),
        memory_total_bytes=int(memory_gib * GIB),
        disk_free_bytes=int(disk_gib * GIB),
    )


def make_spec(name: str, **changes) -> BaseSpec:
    sizes = {
        "embedded": ("llama", 4, 256, 704, 4, 2, 64, 8192, 1024, False, 7_145_728),
        "qwen3-0.6b": ("qwen3", 28, 1024, 3072, 16, 8, 128, 151_936, 40_960, True, 596_049_920),
        "qwen3-1.7b": ("qwen3", 28, 2048, 6144, 16, 8, 128, 151_936, 40_960, True, 1_720_574_976),
        "llama-3.1-8b": (
            "llama",
            32,
            4096,
            14_336,
            32,
            8,
            128,
            128_256,
            131_072,
            False,
            8_030_261_248,
        ),
        "phi3": ("phi3", 32, 3072, 8192, 32, 32, 96, 32_064, 4096, False, 3_821_079_552),
    }
    kind, layers, width, inner, heads, keys, head, vocab, context, tied, parameters = sizes[name]
    fields = {
        "name": name,
        "folder": "/bases",
        "architecture": "",
        "model_type": kind,
        "num_layers": layers,
        "width": width,
        "intermediate_width": inner,
        "num_heads": heads,
        "num_kv_heads": keys,
        "head_width": head,
        "vocab_size": vocab,
        "context": context,
        "tied": tied,
        "num_parameters": parameters,
        "weights_bytes": 2 * parameters,
        "dtype": "bfloat16",
        "licence": "apache-2.0",
        "exportable": True,
        "sha256": name,
    }
    return BaseSpec(**(fields | changes))


def make_corpus(num_characters: int = 1_000_000) -> Corpus:
    return Corpus(
        documents_file="",
        ledger_file="",
        num_files=1,
        num_used=1,
        num_duplicates=0,
        num_skipped=0,
        num_documents=1,
        num_characters=num_characters,
        num_secrets_masked=0,
        sha256="",
    )


def make_dataset(train_tokens: int = 60_000, longest: int = 400) -> Dataset:
    def split(tokens: int) -> Split:
        return Split(
            folder="dataset/x",
            num_documents=10,
            num_examples=max(1, tokens // 400),
            num_tokens=tokens,
            num_labels=tokens,
        )

    return Dataset(
        train=split(train_tokens),
        valid=split(train_tokens // 8),
        test=split(train_tokens // 5),
        questions_file="",
        ledger_file="",
        num_questions=0,
        num_tokens_dropped=0,
        num_tokens_repeated=0,
        longest_example=longest,
        sha256="",
    )
