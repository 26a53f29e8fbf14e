"""The fused head and loss against torch's own cross entropy."""

import pytest
import torch

from appliance.tuning import loss as loss_module
from appliance.tuning.loss import measure_each, sum_cross_entropy


def make_inputs(rows=37, width=16, vocab=211):
    torch.manual_seed(0)
    hidden = torch.randn(rows, width, requires_grad=True)
    head = torch.randn(vocab, width, requires_grad=True)
    return hidden, head, torch.randint(0, vocab, (rows,))


@pytest.mark.parametrize("chunk_bytes", [1, 16 * 4 * 211, 2**20])
def test_sum_cross_entropy_equals_torch_in_value_and_gradients(monkeypatch, chunk_bytes):
    monkeypatch.setattr(loss_module, "CHUNK_BYTES", chunk_bytes)
    hidden, head, labels = make_inputs()

    ours = sum_cross_entropy(hidden, head, labels) / 5
    ours.backward()
    gradients = hidden.grad.clone(), head.grad.clone()
    hidden.grad = head.grad = None
    reference = torch.nn.functional.cross_entropy(hidden @ head.t(), labels, reduction="sum") / 5
    reference.backward()

    assert ours.item() == pytest.approx(reference.item(), rel=1e-6)
    torch.testing.assert_close(gradients[0], hidden.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients[1], head.grad, rtol=1e-5, atol=1e-6)


def test_sum_cross_entropy_leaves_a_frozen_head_without_gradient():
    hidden, head, labels = make_inputs()
    head = head.detach()

    sum_cross_entropy(hidden, head, labels).backward()

    assert head.grad is None
    assert hidden.grad is not None


def test_sum_cross_entropy_survives_huge_logits():
    hidden, head, labels = make_inputs()

    value = sum_cross_entropy(hidden.detach() * 1e4, head.detach(), labels)

    assert torch.isfinite(value)


def test_measure_each_sums_to_the_whole():
    hidden, head, labels = make_inputs()

    each = measure_each(hidden, head, labels)

    assert each.shape == labels.shape
    total = sum_cross_entropy(hidden.detach(), head.detach(), labels)
    assert each.sum().item() == pytest.approx(total.item(), rel=1e-6)


def test_capped_scores_give_torchs_loss_and_gradients():
    hidden, head, labels = make_inputs()

    ours = sum_cross_entropy(hidden, head, labels, 3.0)
    ours.backward()
    gradients = hidden.grad.clone(), head.grad.clone()
    hidden.grad = head.grad = None
    capped = 3.0 * torch.tanh(hidden @ head.t() / 3.0)
    reference = torch.nn.functional.cross_entropy(capped, labels, reduction="sum")
    reference.backward()

    assert ours.item() == pytest.approx(reference.item(), rel=1e-6)
    assert measure_each(hidden, head, labels, 3.0).sum().item() == pytest.approx(ours.item())
    torch.testing.assert_close(gradients[0], hidden.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients[1], head.grad, rtol=1e-5, atol=1e-6)
