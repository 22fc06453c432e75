"""The blocks compute the paper's equations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_darkdeblur.network import blocks
from napari_darkdeblur.network.blocks import (
    ChannelAttention,
    ContextualGate,
    DenseAttentionBlock,
    Upsample,
)


def zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


def block(attention: bool) -> DenseAttentionBlock:
    return DenseAttentionBlock(
        8, growth=4, layers=3, attention=attention, reduction=2, negative_slope=0.2
    )


def test_channel_attention_scales_channels_by_a_gate_of_their_means():
    torch.manual_seed(0)
    attention = ChannelAttention(8, reduction=2)
    x = torch.rand(2, 8, 5, 7)
    ratio = attention(x) / x
    # One factor for each image and channel, between 0 and 1 ...
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    assert ((ratio > 0) & (ratio < 1)).all()
    # ... that knows nothing but the means: shuffled pixels change nothing.
    shuffled = x.flatten(2)[:, :, torch.randperm(35)].view_as(x)
    torch.testing.assert_close(attention(shuffled) / shuffled, ratio)


def test_a_dense_block_adds_its_gated_input():
    """Eq. 5 with X_l = 0: what is left is S(x), from the block's input."""
    torch.manual_seed(0)
    dense = block(attention=True)
    zero(dense.convs)
    x = torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(dense(x), dense.shortcut(x))
    assert not torch.allclose(dense(x), x)


def test_a_dense_block_without_attention_adds_its_plain_input():
    dense = block(attention=False)
    zero(dense.convs)
    x = torch.randn(1, 8, 6, 6)
    assert torch.equal(dense(x), x)


def test_every_convolution_of_a_dense_block_sees_all_before_it():
    inputs = [conv.in_channels for conv in block(attention=True).convs]
    outputs = [conv.out_channels for conv in block(attention=True).convs]
    assert inputs == [8, 12, 16]
    assert outputs == [4, 4, 8]


def test_the_contextual_gate_is_leaky_relu_times_sigmoid():
    gate = ContextualGate(2, negative_slope=0.2)
    zero(gate)
    with torch.no_grad():
        gate.conv.bias.copy_(torch.tensor([3.0, -3.0, 0.0, 100.0]))  # features, then gates
    out = gate(torch.rand(1, 2, 4, 4))
    torch.testing.assert_close(out[:, 0], torch.full((1, 4, 4), 1.5))  # 3 * sigmoid(0)
    torch.testing.assert_close(out[:, 1], torch.full((1, 4, 4), -0.6))  # 0.2 * -3 * 1


def test_upsampling_starts_without_a_checkerboard():
    torch.manual_seed(0)
    out = Upsample(8, 4, negative_slope=0.2)(torch.rand(1, 8, 5, 6))
    assert out.shape == (1, 4, 10, 12)
    cells = out.unflatten(3, (6, 2)).unflatten(2, (5, 2))
    torch.testing.assert_close(cells, cells[:, :, :, :1, :, :1].expand_as(cells))


def every_block() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "dense": block(attention=True),
        "dense without attention": block(attention=False),
        "gate": ContextualGate(8, negative_slope=0.2),
        "upsample": Upsample(8, 4, negative_slope=0.2),
        "attention": ChannelAttention(8, reduction=2),
    }


@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (1, 8, 13, 1), (3, 8, 10, 7)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", every_block())
def test_inference_computes_what_training_does_and_keeps_its_input(name: str, layout, shape):
    module = every_block()[name].to(memory_format=layout)
    x = torch.randn(shape).contiguous(memory_format=layout)
    given = x.clone()
    trained = module(x).detach()
    for without_gradient in (torch.no_grad, torch.inference_mode):
        with without_gradient():
            torch.testing.assert_close(module(x), trained, atol=1e-6, rtol=1e-5)
        assert torch.equal(x, given)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_inference_works_in_other_types(dtype: torch.dtype):
    x = torch.randn(1, 8, 6, 5, dtype=dtype)
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-12
    for module in every_block().values():
        trained = module.to(dtype)(x).detach()
        with torch.inference_mode():
            inferred = module(x)
        torch.testing.assert_close(inferred, trained, atol=tolerance, rtol=tolerance)


def test_inference_does_without_the_adding_convolution(monkeypatch: pytest.MonkeyPatch):
    """A build of torch may not have it."""
    dense, x = block(attention=True), torch.randn(1, 8, 6, 5)
    monkeypatch.setattr(blocks, "ONEDNN_CONVOLUTION", None)
    with torch.inference_mode():
        inferred = dense(x)
    torch.testing.assert_close(inferred, dense(x).detach())


class Operator:
    """Stands for oneDNN's convolution in some version of torch."""

    def __init__(self, binary) -> None:
        self.binary = binary


def with_fewer_parameters(total, x, weight):
    raise AssertionError("this must not be reached")


def with_another_result(total, x, weight, *rest):
    return total.add_(F.conv2d(x, weight, padding=1), alpha=2)


def refusing(*arguments):
    raise RuntimeError("mkldnn: not supported")


@pytest.mark.parametrize("binary", [with_fewer_parameters, with_another_result, refusing])
def test_an_adding_convolution_that_has_changed_is_not_used(binary):
    assert blocks.onednn_add_conv3x3_(Operator(binary)) is None


def test_an_adding_convolution_that_works_is_used():
    called = []

    def binary(total, x, weight, *rest):
        called.append(rest)
        return total.add_(F.conv2d(x, weight, padding=1))

    add = blocks.onednn_add_conv3x3_(Operator(binary))
    total, x, weight = torch.zeros(1, 4, 6, 5), torch.randn(1, 3, 6, 5), torch.randn(4, 3, 3, 3)
    add(total, x, weight)
    assert len(called) == 2  # the trial, and this
    torch.testing.assert_close(total, F.conv2d(x, weight, padding=1))


@pytest.mark.parametrize("gradient", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("size", [(1, 1), (6, 5)], ids=["of the image", "of every pixel"])
def test_a_given_channel_scale_replaces_the_block_s_own(gradient: bool, size, monkeypatch):
    def refuse(self: ChannelAttention, mean: Tensor) -> Tensor:
        raise AssertionError("a scale was computed")

    dense, x, scale = block(attention=True), torch.randn(2, 8, 6, 5), torch.rand(2, 8, *size)
    with torch.no_grad():
        unscaled = dense(x, torch.zeros_like(scale))
    monkeypatch.setattr(ChannelAttention, "scale", refuse)
    with torch.set_grad_enabled(gradient):
        torch.testing.assert_close(dense(x, scale).detach(), unscaled + x * scale)


def test_without_attention_a_channel_scale_is_ignored():
    dense, x = block(attention=False), torch.randn(1, 8, 6, 5)
    assert torch.equal(dense(x, torch.zeros(1, 8, 1, 1)), dense(x))
