"""The blocks compute the paper's equations."""

from __future__ import annotations

import torch
from torch import nn

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
