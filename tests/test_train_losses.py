"""The sparse loss equals a dense reference in value and gradient, at its edges too."""

import math

import pytest
import torch

from fusebench.train import losses
from fusebench.train.losses import sparse_loss

T, V, K = 7, 11, 4


def example(seed=0, mass=0.8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, T, V, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, V, (2, T), generator=generator)
    targets[0, 2] = targets[1, -1] = -100
    ids = torch.stack([torch.randperm(V, generator=generator)[:K] for _ in range(2 * T)]).reshape(2, T, K)
    weights = torch.rand(2, T, K, generator=generator, dtype=torch.float64) + 0.1
    logprobs = (mass * weights / weights.sum(-1, keepdim=True)).log()
    return logits.to(dtype).requires_grad_(), targets, ids.int(), logprobs


def dense(logits, targets, ids, logprobs, weight):
    """Build the whole target distribution and the whole student, position by position."""
    p = logits.reshape(-1, V).softmax(-1)
    total = torch.zeros((), dtype=torch.float64)
    for t, y in enumerate(targets.reshape(-1).tolist()):
        if y == -100:
            continue
        own, q = ids.reshape(-1, K)[t].long(), logprobs.reshape(-1, K)[t].exp()
        used = q > 0
        inside = -(q[used] * p[t, own[used]].log()).sum()
        others = torch.ones(V, dtype=torch.bool)
        others[own[used]] = False
        tail = 1 - q.sum()
        outside = -tail * p[t, others].sum().log() if used.any() and others.any() and tail > 1e-12 else 0.0
        total = total + weight * -p[t, y].log() + (1 - weight) * (inside + outside)
    return total


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("mass", [0.3, 0.8, 1.0])
def test_value_and_gradient_equal_the_dense_reference(weight, mass):
    logits, *rest = example(mass=mass)
    want = dense(logits, *rest, weight)
    (want_gradient,) = torch.autograd.grad(want, logits)
    got = sparse_loss(logits, *rest, weight)
    (gradient,) = torch.autograd.grad(got.total, logits)
    assert torch.allclose(got.total, want, rtol=1e-12)
    assert torch.allclose(gradient, want_gradient, rtol=1e-9, atol=1e-12)


def test_gradcheck():
    logits, *rest = example()
    assert torch.autograd.gradcheck(lambda z: sparse_loss(z, *rest, 0.4).total, (logits,))


def test_parts_add_up_to_the_total():
    got = sparse_loss(*example(), 0.3)
    assert got.total.item() == pytest.approx(0.3 * got.clm.item() + 0.7 * got.fusion.item())


def test_slicing_changes_nothing(monkeypatch):
    logits, *rest = example()
    whole = sparse_loss(logits, *rest, 0.4)
    (gradient,) = torch.autograd.grad(whole.total, logits)
    monkeypatch.setattr(losses, "CHUNK_BYTES", (4 * V * 3,) * 2)
    sliced = sparse_loss(logits, *rest, 0.4)
    assert torch.allclose(sliced.total, whole.total, rtol=1e-12)
    assert torch.allclose(torch.autograd.grad(sliced.total, logits)[0], gradient)


def test_clm_equals_torch_cross_entropy():
    logits, targets, *_ = example(dtype=torch.float32)
    got = sparse_loss(logits, targets)
    want = torch.nn.functional.cross_entropy(logits.reshape(-1, V), targets.reshape(-1), reduction="sum")
    assert torch.allclose(got.total, want)
    assert torch.allclose(torch.autograd.grad(got.total, logits)[0], torch.autograd.grad(want, logits)[0], atol=1e-6)
    assert math.isnan(got.fusion.item())


def test_clm_weight_one_is_the_clm_loss_to_the_last_bit():
    logits, targets, ids, logprobs = example(dtype=torch.float32)
    alone, fused = sparse_loss(logits, targets), sparse_loss(logits, targets, ids, logprobs, 1.0)
    assert alone.total.item() == fused.total.item()
    assert torch.equal(torch.autograd.grad(alone.total, logits)[0], torch.autograd.grad(fused.total, logits)[0])


def test_unused_entries_do_not_touch_token_zero():
    logits, targets, ids, logprobs = example(mass=0.6)
    ids[..., 1:], logprobs[..., 1:] = 0, -torch.inf
    ids[..., 0] = 5
    got = sparse_loss(logits, targets, ids, logprobs, 0.2)
    want = dense(logits, targets, ids, logprobs, 0.2)
    assert torch.allclose(got.total, want)
    assert torch.allclose(torch.autograd.grad(got.total, logits)[0], torch.autograd.grad(want, logits)[0])


def test_an_empty_row_leaves_the_next_token_loss_alone():
    logits, targets, ids, logprobs = example()
    got = sparse_loss(logits, targets, ids * 0, torch.full_like(logprobs, -torch.inf), 0.3)
    assert got.fusion.item() == 0
    assert torch.allclose(got.total, 0.3 * sparse_loss(logits, targets).total)


def test_a_row_over_the_whole_vocabulary_is_plain_cross_entropy():
    logits, targets, *_ = example(dtype=torch.float32)
    q = torch.randn(2, T, V, generator=torch.Generator().manual_seed(3)).log_softmax(-1)
    ids = torch.arange(V, dtype=torch.int32).expand(2, T, V)
    valid = targets != -100
    want = -(q.exp() * logits.log_softmax(-1)).sum(-1)[valid].sum()
    got = sparse_loss(logits, targets, ids, q, 0.0)
    assert torch.allclose(got.total, want, rtol=1e-5)
    gradient = torch.autograd.grad(got.total, logits)[0]
    assert torch.allclose(gradient, torch.autograd.grad(want, logits)[0], atol=1e-5)


def test_the_gradient_vanishes_where_the_student_agrees():
    logits, targets, ids, _ = example()
    agreed = logits.detach().log_softmax(-1).gather(-1, ids.long())
    gradient = torch.autograd.grad(sparse_loss(logits, targets, ids, agreed, 0.0).total, logits)[0]
    assert gradient.abs().max() < 1e-12


def test_a_student_without_any_tail_gets_a_finite_gradient():
    logits = torch.zeros(1, V)
    logits[0, :K] = 300.0
    logits.requires_grad_()
    ids, logprobs = torch.arange(K, dtype=torch.int32)[None], torch.full((1, K), math.log(0.2))
    got = sparse_loss(logits, torch.tensor([1]), ids, logprobs, 0.1)
    gradient = torch.autograd.grad(got.total, logits)[0]
    assert torch.isfinite(got.total)
    assert torch.isfinite(gradient).all()
    assert (gradient[0, K:] < 0).any()


def test_bfloat16_logits_are_summed_in_float32():
    logits, targets, ids, logprobs = example()
    half = logits.detach().bfloat16().requires_grad_()
    got = sparse_loss(half, targets, ids, logprobs.float(), 0.4)
    want = dense(half.detach().double(), targets, ids, logprobs, 0.4)
    assert got.total.dtype == torch.float32
    assert got.total.item() == pytest.approx(want.item(), rel=1e-5)
    assert torch.autograd.grad(got.total, half)[0].dtype == torch.bfloat16


def test_positions_without_a_target_get_no_gradient():
    logits, *rest = example()
    gradient = torch.autograd.grad(sparse_loss(logits, *rest, 0.4).total, logits)[0]
    assert gradient[0, 2].abs().max() == 0
    assert gradient[1, -1].abs().max() == 0
    assert gradient[0, 0].abs().max() > 0
