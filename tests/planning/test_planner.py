"""The ladder. Oracle: what each rung needs, from the memory model, against what a machine has."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import BaseModelError, RecipeError, ResourceError
from appliance.planning.memory import estimate_memory
from appliance.planning.planner import choose_base, make_plan, recheck_plan
from appliance.planning.training import Training
from appliance.recipe import TuneRecipe
from appliance.units import format_bytes
from appliance.values import BaseChoice, BaseChoices, MeasuredRates, PlanTerms, Rejected
from tests.planning.machines import (
    GIB,
    make_corpus,
    make_dataset,
    make_gpu,
    make_hardware,
    make_spec,
)

AUTO = TuneRecipe()
EMBEDDED = make_spec("embedded")
FAST = 1e6
"""GFLOP/s at which time rejects nothing."""


def make_tight(method: str, length: int, recompute: bool):
    """A machine with just the memory for one way to train the embedded base."""
    training = Training(
        method=method,
        sequence_length=length,
        recompute=recompute,
        tunes_head=method == "qlora",
        packs_per_step=max(1, 1024 // length),
        tries_rates=True,
        returns_memory=True,
    )
    needed = estimate_memory(EMBEDDED, training).total_bytes
    return make_hardware((needed + 2**20) / 0.9 / GIB)


def choose(*names: str, hardware=None, recipe=AUTO, broken=()) -> BaseChoice:
    bases = BaseChoices(specs=tuple(make_spec(name) for name in names), broken=broken)
    return choose_base(hardware or make_hardware(gflops=FAST), bases, make_corpus(), recipe)


def plan(spec=EMBEDDED, hardware=None, recipe=AUTO, dataset=None):
    chosen = BaseChoice(spec=spec)
    return make_plan(hardware or make_hardware(), chosen, dataset or make_dataset(), recipe)


def reasons(rejected) -> dict[str, str]:
    return {row.choice: row.reason for row in rejected}


def test_largest_base_that_fits_is_chosen():
    choice = choose("embedded", "qwen3-0.6b", "qwen3-1.7b", hardware=make_hardware(32, gflops=FAST))
    assert choice.spec.name == "qwen3-1.7b"
    assert reasons(choice.rejected) == {
        "qwen3-0.6b": "the chosen base is larger: 1.7 B against 596.0 M parameters",
        "embedded": "the chosen base is larger: 1.7 B against 7.1 M parameters",
    }


def test_base_that_cannot_be_exported_in_ram_is_rejected_with_numbers():
    choice = choose("embedded", "qwen3-1.7b", hardware=make_hardware(16, gflops=FAST))
    assert choice.spec.name == "embedded"
    reason = reasons(choice.rejected)["qwen3-1.7b · qlora"]
    # 2.4 * 4 * 1.72e9 bytes = 15.4 GiB and the program; nine tenths of 16 GiB
    assert reason.startswith("needs 15.8 GiB of RAM to be exported (2.4 times its fp32 size")
    assert reason.endswith("14.4 GiB can be used")


def test_base_that_takes_longer_than_a_night_gives_way():
    hardware = make_hardware(32, gflops=5)
    choice = choose("embedded", "qwen3-0.6b", hardware=hardware)
    assert choice.spec.name == "embedded"
    reason = reasons(choice.rejected)["qwen3-0.6b · qlora"]
    assert reason.startswith("would train for about ")
    assert reason.endswith("the budget is 12 h 00 min")


def test_fastest_is_taken_when_all_are_slow():
    hardware = make_hardware(64, gflops=5)
    bases = BaseChoices(specs=(make_spec("qwen3-0.6b"), make_spec("qwen3-1.7b")))
    choice = choose_base(hardware, bases, make_corpus(100_000_000), AUTO)
    assert choice.spec.name == "qwen3-0.6b"
    assert "qwen3-1.7b · qlora" in reasons(choice.rejected)


def test_named_base_is_taken_however_long_it_takes():
    assert choose("qwen3-0.6b", hardware=make_hardware(32, gflops=1)).spec.name == "qwen3-0.6b"


def test_base_that_does_not_export_is_rejected_with_the_reason():
    bases = BaseChoices(
        specs=(
            EMBEDDED,
            make_spec("qwen3-0.6b", exportable=False, why_not="the exporter loses the window"),
        ),
        broken=(Rejected(choice="bad", reason="has no tokenizer.json"),),
    )
    choice = choose_base(make_hardware(gflops=FAST), bases, make_corpus(), AUTO)
    assert reasons(choice.rejected) == {
        "bad": "has no tokenizer.json",
        "qwen3-0.6b": "cannot be exported: the exporter loses the window",
    }


def test_no_usable_base_is_an_error_with_the_reason():
    bases = BaseChoices(specs=(make_spec("phi3", exportable=False, why_not="longrope"),))
    with pytest.raises(BaseModelError) as caught:
        choose_base(make_hardware(), bases, make_corpus(), AUTO)
    assert caught.value.what == "no base model can be used"
    assert caught.value.why == "phi3: cannot be exported: longrope"
    assert "--base embedded" in caught.value.fix


def test_plan_of_the_embedded_base_on_a_cpu():
    made = plan()
    assert (made.base, made.method, made.device) == ("embedded", "qlora", "cpu")
    assert made.compute_dtype == "float32"
    assert (made.sequence_length, made.packs_per_step, made.num_epochs) == (1024, 1, 2)
    assert made.tunes_head and not made.recompute and not made.returns_memory
    assert made.threads == 4
    assert made.memory_limit_bytes == int(0.9 * 16 * GIB)
    assert made.memory.total_bytes < made.memory_limit_bytes
    assert made.num_steps == 2 * 62  # 60,000 / (0.95 * 1024) packs
    assert "largest base whose qlora fits" in made.reason


def test_every_other_method_says_what_it_would_need():
    told = reasons(plan().rejected)
    assert told["embedded · adapter"].startswith("not needed: qlora fits; would need ")
    assert told["embedded · lora"].startswith("only when asked for (--set tune.method=lora)")
    assert told["embedded · full"].startswith("only when asked for (--set tune.method=full)")


def test_reasons_of_the_choice_of_the_base_stay_in_the_plan():
    choice = BaseChoice(spec=EMBEDDED, rejected=(Rejected(choice="big", reason="too big"),))
    made = make_plan(make_hardware(), choice, make_dataset(), AUTO)
    assert reasons(made.rejected)["big"] == "too big"


def test_recipe_chooses_the_method():
    made = plan(recipe=TuneRecipe(method="full"))
    assert made.method == "full"
    assert not made.tunes_head
    assert reasons(made.rejected)["embedded · qlora"].startswith("the recipe asks for full")


def test_freed_memory_is_given_back_where_memory_is_short():
    made = plan(hardware=make_hardware(1))
    assert made.returns_memory
    assert made.method == "qlora"
    assert made.memory.total_bytes < plan().memory.total_bytes


def test_base_is_kept_unpacked_where_there_is_plenty_of_memory():
    made, tight = plan(), plan(hardware=make_hardware(1))
    assert made.keeps_unpacked and not tight.keeps_unpacked
    assert "plenty" in decided(made, "keeps_unpacked").reason
    linear, rest = 2_949_120, 2 * 8192 * 256 + 9 * 256
    assert made.memory.weights_bytes == 4 * (linear + rest)
    assert not plan(recipe=TuneRecipe(method="lora")).keeps_unpacked


def test_activations_are_recomputed_before_packs_get_shorter():
    only = make_tight("qlora", 1024, recompute=True)
    made = plan(hardware=only, dataset=make_dataset(longest=1000))
    assert (made.sequence_length, made.recompute) == (1024, True)
    assert "activations are computed twice" in made.reason
    decided = next(row for row in made.decisions if row.name == "recompute")
    assert decided.reason.startswith("otherwise needs ")


def test_fastest_way_that_fits_is_taken():
    made = plan(hardware=make_tight("qlora", 1024, recompute=True))
    told = reasons(made.rejected)
    assert told["embedded · qlora · packs of 1024"].startswith("needs ")
    ways = [reason for choice, reason in told.items() if "packs of" in choice]
    assert any(reason.startswith("slower: ") for reason in ways)


def test_adapter_is_next_when_qlora_does_not_fit():
    hardware = make_tight("adapter", 1024, recompute=False)
    made = plan(hardware=hardware, dataset=make_dataset(longest=1000))
    assert made.method == "adapter"
    assert reasons(made.rejected)["embedded · qlora"].startswith("needs ")


def test_gpu_is_used_in_bfloat16():
    hardware = make_hardware(64, (make_gpu(20),))
    made = plan(make_spec("qwen3-1.7b"), hardware, dataset=make_dataset(3_000_000))
    assert (made.device, made.compute_dtype) == ("cuda:0", "bfloat16")
    assert made.memory_limit_bytes == int(0.95 * 20 * GIB)
    assert made.sequence_length > 1024
    assert not made.tunes_head  # tied


def test_second_gpu_is_used_under_its_own_number():
    made = plan(hardware=make_hardware(gpus=(make_gpu(20, usable=False), make_gpu(20))))
    assert made.device == "cuda:1"


def test_old_gpu_computes_in_float32():
    made = plan(hardware=make_hardware(gpus=(make_gpu(20, "7.5"),)))
    assert (made.device, made.compute_dtype) == ("cuda:0", "float32")


def test_unusable_gpu_leaves_the_cpu():
    assert plan(hardware=make_hardware(gpus=(make_gpu(20, usable=False),))).device == "cpu"


def test_head_of_a_large_vocabulary_is_left_alone_unless_asked():
    hardware = make_hardware(128, (make_gpu(22),))
    spec = make_spec("llama-3.1-8b")
    assert not plan(spec, hardware).tunes_head
    assert plan(spec, hardware, TuneRecipe(head="yes")).tunes_head
    assert not plan(recipe=TuneRecipe(head="no")).tunes_head


def test_tied_head_cannot_be_asked_for():
    with pytest.raises(BaseModelError) as caught:
        plan(make_spec("qwen3-0.6b"), make_hardware(32), TuneRecipe(method="qlora", head="yes"))
    assert "head and embedding are one matrix" in caught.value.why


def test_bottleneck_needs_separate_matrices():
    with pytest.raises(BaseModelError, match="a bottleneck cannot be merged"):
        plan(make_spec("phi3"), make_hardware(128), TuneRecipe(method="adapter"))


def test_pack_holds_the_longest_example():
    assert plan(dataset=make_dataset(longest=900)).sequence_length >= 900
    with pytest.raises(RecipeError):
        plan(recipe=TuneRecipe(sequence_length=512), dataset=make_dataset(longest=900))


def test_nothing_fits_names_what_is_there_and_a_fix():
    with pytest.raises(ResourceError) as caught:
        plan(hardware=make_hardware(0.3))
    error = caught.value
    assert error.what == "embedded · adapter does not fit, and nothing else does"
    assert "the cpu has 276 MiB to give (307 MiB free)" in error.why
    assert error.fix == "stop other programs, or raise the memory limit of the container or unit"


def test_fix_is_a_shorter_pack_when_that_would_fit():
    recipe = TuneRecipe(sequence_length=1024, method="qlora")
    hardware = make_tight("qlora", 512, recompute=True)
    with pytest.raises(ResourceError) as caught:
        plan(hardware=hardware, recipe=recipe)
    assert caught.value.fix.startswith("--set tune.sequence_length=512 (")
    fixed = plan(hardware=hardware, recipe=TuneRecipe(sequence_length=512, method="qlora"))
    assert format_bytes(fixed.memory.total_bytes) in caught.value.fix


def test_fix_is_never_a_pack_shorter_than_an_example():
    recipe = TuneRecipe(sequence_length=1024, method="qlora")
    with pytest.raises(ResourceError) as caught:
        hardware = make_tight("qlora", 512, recompute=True)
        plan(hardware=hardware, recipe=recipe, dataset=make_dataset(longest=1000))
    assert "sequence_length" not in caught.value.fix


def test_fix_is_qlora_when_another_method_was_asked_for():
    recipe = TuneRecipe(sequence_length=1024, method="full")
    with pytest.raises(ResourceError) as caught:
        hardware = make_tight("qlora", 1024, recompute=False)
        plan(hardware=hardware, recipe=recipe, dataset=make_dataset(longest=1000))
    assert caught.value.fix.startswith("--set tune.method=qlora (")


def test_fix_is_a_smaller_base_when_that_is_all():
    with pytest.raises(ResourceError) as caught:
        plan(make_spec("qwen3-1.7b"), make_hardware(4))
    assert "--base embedded" in caught.value.fix


def test_full_disk_is_named():
    with pytest.raises(ResourceError) as caught:
        plan(hardware=make_hardware(disk_gib=0.01))
    assert "of disk" in caught.value.why
    assert caught.value.fix == "delete old runs, or choose another place with --runs"


def test_old_plan_that_still_fits_passes():
    recheck_plan(plan(), make_hardware())


@pytest.mark.parametrize(
    ("hardware", "what", "why"),
    [
        (
            make_hardware(0.4),
            "the plan of this run does not fit now",
            "embedded · qlora needs",
        ),
        (make_hardware(disk_gib=0.01), "the plan of this run does not fit now", "of disk"),
        (
            make_hardware(gpus=(make_gpu(20),)),
            "the plan trains on cpu, which is not there now",
            "this machine offers cuda:0",
        ),
    ],
)
def test_old_plan_that_does_not_fit_any_more_is_refused(hardware, what, why):
    with pytest.raises(ResourceError) as caught:
        recheck_plan(plan(), hardware)
    assert caught.value.what == what
    assert why in caught.value.why
    assert "run the same command again" in caught.value.fix or "--fresh" in caught.value.fix


def decided(made, name):
    return next(row for row in made.decisions if row.name == name)


def test_every_value_of_a_plan_says_who_decided_it():
    terms = PlanTerms(by_person=("tune.rank",))
    recipe = TuneRecipe(rank=32, epochs=3)
    made = make_plan(make_hardware(), BaseChoice(spec=EMBEDDED), make_dataset(), recipe, terms)
    assert decided(made, "tune.rank").by == "person"
    assert decided(made, "tune.epochs").by == "recipe"
    assert decided(made, "tune.method").by == "planner"
    assert decided(made, "tune.lr").by == "probe"
    names = [row.name for row in made.decisions]
    assert names == [
        "base",
        "tune.method",
        "tune.rank",
        "tune.head",
        "tune.sequence_length",
        "packs_per_step",
        "recompute",
        "tune.epochs",
        "tune.lr",
        "tune.threads",
        "returns_memory",
        "keeps_unpacked",
        "tune.num_processes",
    ]


def test_what_a_person_sets_says_what_it_costs():
    made = plan(recipe=TuneRecipe(method="full", sequence_length=512, epochs=1))
    assert "the planner would take qlora: " in decided(made, "tune.method").reason
    assert "the planner would take 1024: " in decided(made, "tune.sequence_length").reason
    assert decided(made, "tune.epochs").reason.endswith("take 2: 2 times the training")


def test_budget_of_memory_is_kept():
    free = plan(dataset=make_dataset(longest=1000))
    terms = PlanTerms(memory_bytes=free.memory.total_bytes - 2**20)
    choice, dataset = BaseChoice(spec=EMBEDDED), make_dataset(longest=1000)
    made = make_plan(make_hardware(), choice, dataset, AUTO, terms)
    assert made.memory.total_bytes <= terms.memory_bytes
    assert made.memory_limit_bytes == terms.memory_bytes
    with pytest.raises(ResourceError) as caught:
        make_plan(make_hardware(), choice, dataset, AUTO, PlanTerms(memory_bytes=300 * 2**20))
    assert "the budget is 300 MiB" in caught.value.why
    assert caught.value.fix.startswith("raise budget.memory_gibibytes")


def test_budget_of_disk_is_kept():
    terms = PlanTerms(disk_bytes=50 * 2**20)
    with pytest.raises(ResourceError) as caught:
        make_plan(make_hardware(), BaseChoice(spec=EMBEDDED), make_dataset(), AUTO, terms)
    assert "of disk, the budget is 50.0 MiB" in caught.value.why
    assert caught.value.fix.startswith("raise budget.disk_gibibytes")


def test_budget_of_hours_is_kept_and_the_fix_fits():
    choice, hardware = BaseChoice(spec=EMBEDDED), make_hardware(gflops=5)
    dataset = make_dataset(2_000_000)
    with pytest.raises(ResourceError) as caught:
        make_plan(hardware, choice, dataset, AUTO, PlanTerms(seconds=360))
    assert caught.value.what == "nothing is trained within the budget of 6 min"
    hours = float(caught.value.fix.split("budget.hours=")[1].split(",")[0])
    made = make_plan(hardware, choice, dataset, AUTO, PlanTerms(seconds=3600 * hours))
    assert made.seconds["tune"] <= 3600 * hours


def test_measured_rates_decide_the_time():
    def seconds(gflops):
        rates = MeasuredRates(
            fp32_flops_per_second=1e9 * gflops,
            bf16_flops_per_second=1e9,
            memory_bytes_per_second=1e10,
            disk_write_bytes_per_second=1e9,
            measured_at=0,
            threads=2,
        )
        choice, terms = BaseChoice(spec=EMBEDDED), PlanTerms(rates=rates)
        return make_plan(make_hardware(), choice, make_dataset(), AUTO, terms).seconds["tune"]

    assert seconds(10) > seconds(50) > seconds(500)


def test_planning_never_imports_torch():
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from appliance.bases.catalogue import find_bases\n"
        "from appliance.hardware.probe import probe\n"
        "from appliance.planning.capacity import tabulate_capacity\n"
        "from appliance.planning.planner import choose_base, make_plan, recheck_plan\n"
        "from appliance.recipe import TuneRecipe\n"
        "from tests.planning.machines import make_corpus, make_dataset\n"
        "import appliance.cli.plan, appliance.cli.report, appliance.cli.output\n"
        "hardware = probe(Path('runs'))\n"
        "choice = choose_base(hardware, find_bases('embedded'), make_corpus(), TuneRecipe())\n"
        "plan = make_plan(hardware, choice, make_dataset(), TuneRecipe())\n"
        "recheck_plan(plan, hardware)\n"
        "assert tabulate_capacity(hardware, [choice.spec])\n"
        "heavy = {'torch', 'transformers', 'peft', 'bitsandbytes'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
