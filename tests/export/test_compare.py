import numpy as np
import pytest
import torch
from exported_model import get_folder

from appliance.dataset.pack import IGNORED, build_pack
from appliance.dataset.tokens import Example, write_token_file
from appliance.export.compare import compare, compare_chain
from appliance.export.scorers import OnnxScorer, TorchScorer
from appliance.tuning.step import measure_loss


class TableScorer:
    """Logits from a table, by token id."""

    def __init__(self, table_VV):
        self.table_VV = np.asarray(table_VV, dtype=np.float32)
        self.vocab_size = self.table_VV.shape[1]

    def score(self, token_ids_T, block):
        for start in range(0, len(token_ids_T), block):
            yield self.table_VV[token_ids_T[start : start + block]]


@pytest.fixture
def tables():
    generator = np.random.default_rng(3)
    upper = generator.normal(0, 3, (50, 50))
    return upper, upper + generator.normal(0, 0.3, (50, 50))


@pytest.fixture
def table_sample(tmp_path):
    generator = np.random.default_rng(4)
    examples = [
        Example(
            token_ids=generator.integers(0, 50, length).tolist(),
            supervised=(generator.random(length) < 0.6).tolist(),
            document=0,
        )
        for length in (40, 7, 21)
    ]
    split = write_token_file(tmp_path / "split", examples, 50)
    return [build_pack(split, [0]), build_pack(split, [1, 2])]


def test_compare_gives_what_torch_computes_in_double_precision(tables, table_sample):
    upper, lower = tables
    ids = torch.from_numpy(np.concatenate([p.token_ids_T for p in table_sample]))
    labels = torch.from_numpy(np.concatenate([p.labels_T for p in table_sample]))
    kept = labels != IGNORED
    p = torch.from_numpy(upper)[ids[kept]].log_softmax(-1)
    q = torch.from_numpy(lower)[ids[kept]].log_softmax(-1)
    result = compare(TableScorer(upper), TableScorer(lower), table_sample)
    nll = torch.nn.functional.nll_loss
    assert result.num_positions == int(kept.sum())
    assert result.loss_upper == pytest.approx(nll(p, labels[kept]).item(), rel=1e-6)
    assert result.loss_lower == pytest.approx(nll(q, labels[kept]).item(), rel=1e-6)
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean")
    assert result.kl == pytest.approx(expected.item(), rel=1e-5)
    assert result.top1 == (p.argmax(-1) == q.argmax(-1)).double().mean().item()
    assert result.max_abs_difference == pytest.approx((p - q).abs().max().item(), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_compare_chain_does_not_depend_on_the_block(tables, table_sample, rows):
    upper, lower = map(TableScorer, tables)
    whole = compare_chain([upper, lower, upper], table_sample)
    parts = compare_chain([upper, lower, upper], table_sample, block_bytes=rows * 3 * 4 * 50)
    for one, other in zip(whole, parts, strict=True):
        assert one.kl == pytest.approx(other.kl, rel=1e-6)
        assert (one.top1, one.num_positions) == (other.top1, other.num_positions)


def test_compare_does_not_take_nan_for_a_perfect_match(tables, table_sample):
    upper, lower = tables
    lower[:, 3] = np.nan
    result = compare(TableScorer(upper), TableScorer(lower), table_sample)
    assert np.isnan(result.kl)
    assert np.isnan(result.max_abs_difference)


def test_compare_refuses_different_vocabularies(tables, table_sample):
    upper, lower = tables
    with pytest.raises(ValueError, match="vocabularies differ"):
        compare(TableScorer(upper), TableScorer(lower[:, :40]), table_sample)


def test_compare_refuses_a_sample_without_labels(tables):
    with pytest.raises(ValueError, match="no label"):
        compare(TableScorer(tables[0]), TableScorer(tables[1]), [])


def test_compare_holds_no_more_logits_than_the_block(tables, table_sample):
    largest = 0

    class Watched(TableScorer):
        def score(self, token_ids_T, block):
            nonlocal largest
            for logits_NV in super().score(token_ids_T, block):
                largest = max(largest, logits_NV.nbytes)
                yield logits_NV

    upper, lower = map(Watched, tables)
    compare_chain([upper, lower], table_sample, block_bytes=2 * 5 * 4 * 50)
    assert largest == 5 * 4 * 50


def test_onnx_fp32_gives_the_logits_of_torch(embedded, sample):
    result = compare(TorchScorer(embedded), OnnxScorer(get_folder("fp32")), sample)
    assert result.kl < 1e-7  # what fp32 resolves
    assert result.top1 == 1.0
    assert result.max_abs_difference < 1e-3


def test_torch_scorer_gives_the_loss_of_the_training_loop(embedded, sample):
    scorer = TorchScorer(embedded)
    assert compare(scorer, scorer, sample).loss_upper == pytest.approx(
        measure_loss(embedded, sample), rel=1e-6
    )


def test_onnx_scorer_gives_the_same_in_blocks(sample):
    scorer = OnnxScorer(get_folder("fp32"))
    ids_T = sample[0].token_ids_T
    whole = np.concatenate(list(scorer.score(ids_T, 10_000)))
    parts = np.concatenate(list(scorer.score(ids_T, 7)))
    assert whole.shape == (len(ids_T), 8192)
    np.testing.assert_allclose(parts, whole, atol=2e-4)
