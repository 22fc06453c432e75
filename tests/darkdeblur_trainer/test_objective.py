"""The four terms, the discriminator and the VGG features."""

from __future__ import annotations

import os

import pytest
import torch
from pytorch_msssim import ms_ssim
from safetensors.torch import save_file
from torch import nn

from darkdeblur_trainer.config import LossConfig
from darkdeblur_trainer.discriminator import BatchNorm2d, Discriminator, adversarial_loss
from darkdeblur_trainer.objective import Objective, gradient_shares, structure_loss
from darkdeblur_trainer.perceptual import VggError, VggFeatures, find_vgg

PATCH = (2, 3, 128, 128)


@pytest.fixture
def vgg16(vgg16_state, tmp_path):
    path = tmp_path / "vgg16.safetensors"
    save_file(vgg16_state, path)
    return VggFeatures(path)


def _patches() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sharp = torch.rand(PATCH, generator=generator)
    restored = (sharp + 0.1 * torch.randn(PATCH, generator=generator)).requires_grad_()
    return restored, sharp


def test_the_paper_weights_its_terms_as_equation_16_does(vgg16):
    restored, sharp = _patches()
    terms = Objective(LossConfig(), vgg16)(
        0, restored, sharp, lambda candidate: candidate.mean(dim=(1, 2, 3))
    )
    l1 = (restored - sharp).abs().mean()
    assert terms["l1"].item() == pytest.approx(l1.item())
    assert terms["ms_ssim"].item() == pytest.approx(structure_loss(restored, sharp).item())
    features = (vgg16(restored) - vgg16(sharp)).abs().mean()
    assert terms["features"].item() == pytest.approx(1e-2 * features.item(), rel=1e-5)
    logits = restored.mean(dim=(1, 2, 3))
    expected = nn.functional.softplus(-logits).mean()
    assert terms["adversarial"].item() == pytest.approx(1e-4 * expected.item(), rel=1e-5)


def test_every_term_can_be_switched_off_or_start_late():
    restored, sharp = _patches()
    losses = LossConfig.model_validate(
        {"features": 0, "ms_ssim": 0, "adversarial": {"weight": 1, "from_step": 5}}
    )
    objective = Objective(losses, None)
    discriminate = lambda candidate: candidate.mean(dim=(1, 2, 3))  # noqa: E731
    assert set(objective(4, restored, sharp, discriminate)) == {"l1"}
    assert set(objective(5, restored, sharp, discriminate)) == {"l1", "adversarial"}
    assert not objective.is_adversarial_at(4)
    assert objective.is_adversarial_at(5)


def test_the_structure_loss_is_zero_only_for_the_same_image():
    restored, sharp = _patches()
    assert structure_loss(sharp, sharp).item() == pytest.approx(0, abs=1e-5)
    assert structure_loss(restored, sharp).item() > 1e-2


@pytest.mark.parametrize("shape", [(2, 3, 128, 128), (3, 3, 97, 97), (1, 3, 112, 131)])
@pytest.mark.parametrize("kind", ["like", "unlike", "out of range", "black"])
def test_the_structure_loss_is_that_of_the_reference_implementation(shape, kind):
    generator = torch.Generator().manual_seed(1)
    sharp = torch.rand(shape, generator=generator)
    restored = {
        "like": sharp + 0.1 * torch.randn(shape, generator=generator),
        # Structure of the opposite sign, which the index counts as none.
        "unlike": 1 - sharp,
        "out of range": 3 * sharp - 1,
        "black": torch.zeros(shape),
    }[kind]
    offset = torch.arange(7.0) - 3
    window = torch.exp(-offset.square() / (2 * 1.5**2))
    window = (window / window.sum()).repeat(3, 1, 1, 1)

    def reference(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        return 1 - ms_ssim(restored.clamp(0, 1), sharp, data_range=1.0, win=window)

    results = []
    for loss in (structure_loss, reference):
        # The network's output is channels last.
        image = restored.to(memory_format=torch.channels_last).requires_grad_()
        value = loss(image, sharp)
        results.append((value.detach(), *torch.autograd.grad(value, image)))
    (value, gradient), (expected, expected_gradient) = results
    assert value.item() == pytest.approx(expected.item(), abs=1e-5)
    scale = expected_gradient.abs().max().clamp_min(1e-12)
    torch.testing.assert_close(gradient / scale, expected_gradient / scale, rtol=0, atol=1e-3)


def test_gradient_shares_add_up_and_keep_the_graph():
    restored, sharp = _patches()
    terms = {"a": (restored - sharp).square().sum(), "b": 3 * (restored - sharp).square().sum()}
    shares = gradient_shares(terms, restored)
    assert shares == pytest.approx({"a": 0.25, "b": 0.75})
    sum(terms.values()).backward()  # the graph is still there


def test_the_discriminator_is_the_papers():
    net = Discriminator(64)
    convs = [layer for layer in net.features if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [conv.stride[0] for conv in convs] == [2, 1] * 4
    assert all(conv.kernel_size == (3, 3) for conv in convs)
    assert convs[0].in_channels == 6
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in net.features) == len(convs)
    assert sum(isinstance(layer, nn.SiLU) for layer in net.features) == len(convs)
    assert net.head.kernel_size == (1, 1)
    restored, sharp = _patches()
    assert net(restored, sharp).shape == (2, 1, 8, 8)


def test_the_discriminator_learns_to_tell_two_kinds_apart():
    torch.manual_seed(0)
    net = Discriminator(8)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    restored, sharp = _patches()
    first = last = 0.0
    for step in range(40):
        real, fake = net(sharp, sharp), net(sharp, restored.detach())
        loss = adversarial_loss(real, True) + adversarial_loss(fake, False)
        first, last = (loss.item(), last) if step == 0 else (first, loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert last < 0.8 * first


def test_batch_normalisation_alone_is_torchs():
    torch.manual_seed(0)
    ours, theirs = BatchNorm2d(5), nn.BatchNorm2d(5)
    x = torch.randn(4, 5, 6, 6)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("name", ["VGG-16", "VGG-19"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_vgg_is_recognised_by_its_keys(name, ending, vgg16_state, vgg19_state, tmp_path):
    state = vgg16_state if name == "VGG-16" else vgg19_state
    path = tmp_path / f"vgg{ending}"
    if ending == ".pth":
        # torchvision's files also hold the classifier.
        torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, path)
    else:
        save_file(state, path)
    vgg = VggFeatures(path)
    assert vgg.name == name
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    features = vgg(torch.rand(1, 3, 64, 64))
    assert features.shape == (1, 512, 4, 4)
    assert (features >= 0).all()  # the last layer is a ReLU
    assert features.max() > 0


def test_vgg_normalises_as_imagenet_was(vgg16):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert torch.allclose(vgg16(mean), vgg16.features(torch.zeros_like(mean)), atol=1e-6)


def test_missing_vgg_weights_stop_with_instructions(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(VggError, match="--vgg PATH"):
        find_vgg(None)
    with pytest.raises(VggError, match="no VGG weights file"):
        find_vgg(tmp_path / "none.pth")


def test_torchvisions_download_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth"
    file.parent.mkdir()
    file.touch()
    assert find_vgg(None) == file


class _Executed:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_foreign_file_is_refused_and_never_executed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "vgg.pth"
    torch.save({"something.weight": torch.zeros(3)}, path)
    with pytest.raises(VggError, match="torchvision's key names"):
        VggFeatures(path)
    path.write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    with pytest.raises(VggError, match="cannot be read"):
        VggFeatures(path)
    torch.save({"features.0.weight": _Executed()}, path)
    with pytest.raises(VggError, match="cannot be read"):
        VggFeatures(path)
    assert not (tmp_path / "executed").exists()
