"""Fit by least squares how much of each guide a network fuses into its result.

A network with `GeneratorConfig.fuse_guides` adds to the picture its residual, and each guide's
difference from the picture times a weight, which its head computes from the features of the place.
Given the features, the best head is a linear least-squares problem: solved once, over patches that
the trainer makes, instead of learned step by step. Each patch counts the more the smaller its error
is, because the PSNR counts decibels. Where a picture has no kernel the guides are the picture, and
nothing changes.

    python docs/fit_fusion.py WEIGHTS CONFIG.yaml --data TRAIN -o OUT.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from darkdeblur_trainer.batches import batches, load_images
from darkdeblur_trainer.config import TrainConfig
from darkdeblur_trainer.config_files import load_config
from darkdeblur_trainer.data import default_cache_folder
from darkdeblur_trainer.distributed import ProcessGroup
from darkdeblur_trainer.synthesis import PairSynthesizer
from napari_darkdeblur.network import LoadedModel, load_weights, save_weights
from napari_darkdeblur.network.stages import GUIDE_WEIGHT_SCALE

# A patch's squared error is not taken for smaller than this: what is all but right counts no more.
_LEAST_ERROR = 1e-5
# Relative ridge: features that say the same thing must not get huge weights of opposite signs.
_RIDGE = 1e-4


def main() -> None:
    """Read the arguments, fit, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "config", type=Path, help="how patches are made, as for darkdeblur-train fit"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of sharp images")
    parser.add_argument("--samples", type=int, default=240)
    parser.add_argument("--seed", type=int, default=91)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    loaded = load_weights(given.weights)
    # Every patch has a kernel: without one there is nothing to fuse.
    changes = {"seed": given.seed, "batch_size": 1, "steps": given.samples}
    config = load_config(given.config).model_copy(update=changes)
    kernels = config.known_kernels.model_copy(update={"none": 0.0, "wrong": 0.0, "spoilt": 0.4})
    config = config.model_copy(update={"known_kernels": kernels, "generator": loaded.config})
    fit_fusion(loaded, config, given.data)
    provenance = dict(loaded.card.provenance)
    provenance["fusion"] = f"fitted by least squares over {given.samples} patches"
    save_weights(
        given.out, loaded.network, provenance, summary=loaded.card.summary,
        licence=loaded.card.licence,
    )  # fmt: skip
    print(f"Wrote {given.out}.")


def fit_fusion(loaded: LoadedModel, config: TrainConfig, data: Path) -> None:
    """Change the rows of a network's head that give the guides' weights."""
    network, guides = loaded.network, loaded.config.guides
    area = loaded.config.unshuffle_factor**2
    device = torch.device("cpu")
    images = load_images(config, data, default_cache_folder())
    synthesizer = PairSynthesizer(config.synthesis, config.seed, device)
    head = network.head
    with torch.no_grad():
        head.weight[3 * area :] = 0
        head.bias[3 * area :] = 0
    seen: list[Tensor] = []
    hook = head.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    unknowns = guides * (head.in_channels + 1)
    gram = torch.zeros(unknowns, unknowns, dtype=torch.float64)
    right = torch.zeros(unknowns, dtype=torch.float64)
    with torch.inference_mode():
        for inputs, sharp in batches(config, images, synthesizer, ProcessGroup.single(device)):
            missing = (sharp - network(inputs))[0]
            features = seen.pop()[0]
            ones = torch.ones_like(features[:1])
            factor = loaded.config.unshuffle_factor
            wide = torch.cat([features, ones]).repeat_interleave(factor, 1)
            wide = wide.repeat_interleave(factor, 2)
            picture, *deconvolved = inputs[0].split(3)
            weight = 1 / (missing.square().mean().item() + _LEAST_ERROR) / missing.numel()
            for channel in range(3):
                differences = torch.stack(
                    [guide[channel] - picture[channel] for guide in deconvolved]
                )
                columns = (differences[:, None] * wide).flatten(2).flatten(0, 1)
                gram += weight * (columns @ columns.T).double()
                right += weight * (columns @ missing[channel].flatten()).double()
    hook.remove()
    gram += _RIDGE * torch.diag(gram.diagonal() + 1e-12)
    solved = torch.linalg.solve(gram, right).float().view(guides, -1) / GUIDE_WEIGHT_SCALE
    with torch.no_grad():
        for guide, row in enumerate(solved.repeat_interleave(area, 0)):
            head.weight[3 * area + guide, :, 0, 0] = row[:-1]
            head.bias[3 * area + guide] = row[-1]


if __name__ == "__main__":
    main()
