"""The catalogue of known bases. Oracle: what is published about them."""

import pytest

from appliance.bases.known import explain_licence, find_known, list_known, list_near

PUBLISHED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": "0.135B",
    "HuggingFaceTB/SmolLM2-360M-Instruct": "0.36B",
    "baidu/ERNIE-4.5-0.3B-PT": "0.36B",
    "Qwen/Qwen2.5-0.5B-Instruct": "0.49B",
    "Qwen/Qwen3-0.6B": "0.60B",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "1.10B",
    "allenai/OLMo-1B-hf": "1.18B",
    "Qwen/Qwen2.5-1.5B-Instruct": "1.54B",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": "1.71B",
    "Qwen/Qwen3-1.7B": "1.72B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": "1.78B",
    "ibm-granite/granite-3.3-2b-instruct": "2.53B",
    "HuggingFaceTB/SmolLM3-3B": "3.08B",
    "microsoft/Phi-3.5-mini-instruct": "3.82B",
    "microsoft/Phi-4-mini-instruct": "3.84B",
    "Qwen/Qwen3-4B": "4.02B",
    "mistralai/Mistral-7B-Instruct-v0.3": "7.25B",
    "Qwen/Qwen2.5-7B-Instruct": "7.62B",
    "ibm-granite/granite-3.3-8b-instruct": "8.17B",
    "Qwen/Qwen3-8B": "8.19B",
    "mistralai/Mistral-Nemo-Instruct-2407": "12.2B",
    "microsoft/phi-4": "14.66B",
    "Qwen/Qwen3-14B": "14.8B",
    "openai/gpt-oss-20b": "21B",
    "mistralai/Mistral-Small-24B-Instruct-2501": "23.6B",
    "Qwen/Qwen3-32B": "32.8B",
    "Qwen/Qwen2.5-32B-Instruct": "32.8B",
    "meta-llama/Llama-3.3-70B-Instruct": "70.6B",
    "Qwen/Qwen2.5-72B-Instruct": "72.7B",
}
"""Sizes as their makers or a survey tell them, in the digits they use (November 2026)."""


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_size_is_the_published_one(name, published):
    known = find_known(name)
    digits = len(published.removesuffix("B").partition(".")[2])
    assert f"{known.num_parameters / 1e9:.{digits}f}B" == published


def test_size_is_the_published_one_to_the_last_weight():
    assert find_known("BSC-LT/salamandra-2b").num_parameters == 2_253_490_176  # its card


def test_there_is_a_base_for_every_machine():
    sizes = [known.num_parameters for known in list_known()]
    assert len(sizes) >= 20
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.2e9 and sizes[-1] > 70e9
    usable = [known for known in list_known() if not known.why_not]
    assert len(usable) >= 20


def test_names_are_unique_and_every_licence_is_explained():
    names = [name for known in list_known() for name in (known.name, known.pretrained) if name]
    assert len(names) == len({name.lower() for name in names})
    for known in list_known():
        assert known.terms.commercial in ("yes", "no", "conditional"), known.name
        assert known.terms.reason and known.terms.url.startswith("https://")
        assert known.url == f"https://huggingface.co/{known.name}"
        assert known.shape_from in ("litgpt", "config", "defaults", "sizes")


def test_pretrained_form_and_other_case_are_found():
    assert find_known("qwen/qwen3-8b-base").name == "Qwen/Qwen3-8B"
    assert find_known("Qwen/Qwen3-9B") is None
    assert find_known("") is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("qwen/Qwen3-0.6", "Qwen/Qwen3-0.6B"),
        ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M"),
    ],
)
def test_nearest_name_counts_the_organisation_little(name, nearest):
    names = [row for known in list_known() for row in (known.name, known.pretrained) if row]
    assert list_near(name, names)[0] == nearest


def test_nothing_is_near_to_another_word():
    assert list_near("zzz", [known.name for known in list_known()]) == []


@pytest.mark.parametrize(
    ("licence", "commercial"),
    [
        ("apache-2.0", "yes"),
        ("Apache-2.0", "yes"),
        ("mit", "yes"),
        ("qwen-research", "no"),
        ("cc-by-nc-4.0", "no"),
        ("cc-by-nc-sa-4.0", "no"),
        ("microsoft-research-license", "no"),
        ("mnpl-non-production", "no"),
        ("qwen", "conditional"),
        ("llama3.1", "conditional"),
        ("incredible-licence", "unknown"),
        ("unknown", "unknown"),
    ],
)
def test_licence_is_judged_by_the_catalogue_or_by_its_words(licence, commercial):
    assert explain_licence(licence).commercial == commercial
