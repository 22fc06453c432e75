"""A training step asks nothing of the GPU that would wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from darkdeblur_trainer.average_meter import AverageMeter
from darkdeblur_trainer.batches import batches, load_images
from darkdeblur_trainer.config import TermConfig, TrainConfig
from darkdeblur_trainer.config_files import parse_config
from darkdeblur_trainer.distributed import ProcessGroup
from darkdeblur_trainer.perceptual import VggFeatures
from darkdeblur_trainer.synthesis import PairSynthesizer
from darkdeblur_trainer.train_state import TrainState, learning_rate
from darkdeblur_trainer.training_step import TrainingStep

from .conftest import TINY


class WaitError(AssertionError):
    """Something would have waited for a GPU."""


# Their results, or the shapes of them, are numbers that the host has to know.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2"}


class NoWaiting(TorchDispatchMode):
    """Refuses what reads numbers on the host, or copies between host and device."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func.overloadpacket.__name__
        if name in WAITING:
            raise WaitError(name)
        if name in ("index", "index_put_"):
            masks = [index for index in args[1] if index is not None and index.dtype == torch.bool]
            if masks:
                raise WaitError(f"{name} by a mask")
        result = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            if source.device != result.device:
                raise WaitError(f"{name} from {source.device} to {result.device}")
        return result


class NoNumbersFromPython(TorchFunctionMode):
    """Refuses tensors made of Python numbers on another device than the CPU: they are copies."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        device = torch.device(kwargs.get("device") or "cpu")
        if func in (torch.tensor, torch.as_tensor) and device.type != "cpu":
            raise WaitError("torch.tensor on a device")
        return func(*args, **kwargs)


@pytest.fixture
def config() -> TrainConfig:
    losses = {"features": 1e-2, "adversarial": 1e-4}
    optimizer = {"schedule": "cosine", "warmup_steps": 2, "clip_norm": 0.1}
    return parse_config({**TINY, "losses": losses, "optimizer": optimizer})


def without_fusing(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    if not isinstance(optimizer, torch.optim.Adam):
        return optimizer
    return torch.optim.SGD(optimizer.param_groups[0]["params"], lr=0.1, foreach=True)


def steps(
    config: TrainConfig, device: str, photographs: Any, folder: Any, vgg_state: dict[str, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Train step by step, as `train` does between two records."""
    group = ProcessGroup.single(torch.device(device))
    save_file(vgg_state, folder / "vgg.safetensors")
    vgg = VggFeatures(folder / "vgg.safetensors").to(device)
    state = TrainState(config, group.device)
    if device == "meta":  # where Adam's fused kernel is missing; it is watched on the CPU
        state.generator_optimizers = [without_fusing(o) for o in state.generator_optimizers]
        state.discriminator_optimizer = without_fusing(state.discriminator_optimizer)
    step = TrainingStep(config, state, vgg, group)
    synthesizer = PairSynthesizer(config.synthesis, 0, device, fixed_shapes=True)
    images = load_images(config, photographs, folder)
    meter = AverageMeter(group.device)
    # As on a GPU that holds the images.
    stream = batches(config, images, synthesizer, group, on_device=True)
    for number, batch in enumerate(stream):
        state.set_learning_rate(learning_rate(config.optimizer, number, config.steps))
        result = step(number, *batch)
        assert result.restored.shape == batch[0].shape == (config.batch_size, 3, 112, 112)
        meter.update(result.metrics)
        yield {name: value.detach() for name, value in result.metrics.items()}


# Numbers on the device "meta" exist as little for the host as those that a GPU has yet to compute;
# on the CPU everything is really computed, which shows what is read.
@pytest.mark.parametrize("method", ["adam", "muon"])
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_step_neither_waits_for_the_device_nor_copies_to_it(
    config, device, method, photographs, tmp_path, vgg16_state
):
    # Wide enough that there is something for Muon.
    generator = config.generator.model_copy(update={"width": 16})
    optimizer = config.optimizer.model_copy(update={"method": method})
    config = config.model_copy(update={"generator": generator, "optimizer": optimizer})
    run = steps(config, device, photographs, tmp_path, vgg16_state)
    next(run)  # constants are moved to the device once
    with NoWaiting(), NoNumbersFromPython():
        for _ in range(3):
            measured = next(run)
    assert set(measured) == {
        "l1", "ms_ssim", "features", "adversarial", "total", "gradient_norm", "discriminator",
    }  # fmt: skip
    assert all(value.shape == () for value in measured.values())


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.to("meta"),
        lambda x: torch.tensor([1.0], device="meta"),
    ],
)
def test_the_watch_sees_what_waits(read):
    with pytest.raises(WaitError), NoWaiting(), NoNumbersFromPython():
        read(torch.rand(3))


# torch's own, while it looks at the restored image.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_step_computes_the_same(config, photographs, tmp_path, vgg16_state, monkeypatch):
    compile_ = torch.compile
    compiled = []

    def without_code(part: Any, **options: Any) -> Any:
        compiled.append(part)
        return compile_(part, backend="aot_eager", fullgraph=True, **options)

    monkeypatch.setattr(torch, "compile", without_code)
    plain = steps(config, "cpu", photographs, tmp_path, vgg16_state)
    other = config.model_copy(update={"compile": True})
    fused = steps(other, "cpu", photographs, tmp_path, vgg16_state)
    for number in range(3):
        # One shape: what was compiled in the first steps serves all others.
        with torch._dynamo.config.patch(error_on_recompile=number == 2):
            measured, expected = next(fused), next(plain)
        assert measured.keys() == expected.keys()
        for name, value in expected.items():
            assert float(measured[name]) == pytest.approx(float(value), rel=1e-3), name
    assert [type(part).__name__ for part in compiled] == [
        "DarkDeblurNet",
        "Discriminator",
        "VggFeatures",
    ]


def test_half_precision_changes_a_step_little(config, photographs, tmp_path, vgg16_state):
    # Only the networks; VGG, which a CPU computes a hundred times slower so, is left out.
    losses = config.losses.model_copy(update={"features": TermConfig(weight=0)})
    config = config.model_copy(update={"losses": losses})
    exact = steps(config, "cpu", photographs, tmp_path, vgg16_state)
    other = config.model_copy(update={"precision": "bf16"})
    rounded = steps(other, "cpu", photographs, tmp_path, vgg16_state)
    for _ in range(3):
        expected, measured = next(exact), next(rounded)
        for name, value in measured.items():
            assert value.dtype == torch.float32
            assert float(value) == pytest.approx(float(expected[name]), rel=0.1), name
