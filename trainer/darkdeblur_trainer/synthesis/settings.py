"""Drawing every sample's settings from the ranges of its degradation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .degradation import Degradation
from .sample_random import SampleRandom, Stream

# The shapes of `Degradation`, in the order of their numbers.
SHAPES = ("markov_shake", "smooth_shake", "straight_motion", "defocus_disc")
# Which of four consecutive samples may turn, and which may have a moving object: so a GPU knows
# their places without looking at what was drawn.
QUARTERS, TURNING, MOVING = 4, 0, 2


class SettingsTable:
    """Every setting of a list of degradations, as tensors on the device.

    Made once: a tensor made from Python numbers in every step would wait for the GPU each time.

    Parameters
    ----------
    degradations : sequence of Degradation
        For each sample one is drawn, by their shares.
    device : torch.device
        Device on which numbers are drawn.
    """

    def __init__(self, degradations: tuple[Degradation, ...], device: torch.device) -> None:
        shares = torch.tensor([degradation.share for degradation in degradations])
        table = {"edges": (shares.cumsum(0) / shares.sum())[:-1].to(device)}
        for name in Degradation.model_fields.keys() - {"preset", "share"}:
            values = [getattr(degradation, name) for degradation in degradations]
            if any(value is None or isinstance(value, tuple) for value in values):
                # A range that is switched off becomes 0..0.
                for part in (0, 1):
                    ends = [0.0 if value is None else float(value[part]) for value in values]
                    table[f"{name}/{part}"] = torch.tensor(ends, device=device)
            else:
                numbers = [float(value) for value in values]
                table[name] = torch.tensor(numbers, device=device)
        self._table = table

    def draw(self, random: SampleRandom) -> dict[str, Tensor]:
        """Draw every setting of samples.

        Returns
        -------
        dict of Tensor
            Each (B,). ``"choice"`` is the place of the sample's degradation in the list.
        """
        draw = random.uniform(Stream.PARAMETERS, 16).unbind(dim=1)
        of_shape = random.uniform(Stream.SHAPE, 12).unbind(dim=1)
        choice = torch.searchsorted(self._table["edges"], draw[0].contiguous(), right=True)

        def field(name: str, part: int | None = None) -> Tensor:
            return self._table[name if part is None else f"{name}/{part}"][choice]

        def log_uniform(name: str, number: Tensor) -> Tensor:
            low, high = field(name, 0), field(name, 1)
            # Without a range both ends are 0, and so is what is drawn.
            return low * (high / low.clamp(min=1e-12)) ** number

        def uniform(name: str, number: Tensor) -> Tensor:
            low, high = field(name, 0), field(name, 1)
            return low + (high - low) * number

        # Only every fourth sample may turn, and another fourth have a moving object.
        quarter = random.indices % QUARTERS
        shapes = torch.stack([field(name) for name in SHAPES], dim=1).cumsum(dim=1)
        absolute_normal = math.sqrt(2) * torch.erfinv(draw[7].clamp(max=1 - 1e-6))
        return {
            "choice": choice,
            "linear_light": field("linear_light"),
            "blur_radius": log_uniform("blur_radius", of_shape[0]),
            "shape": (of_shape[1][:, None] * shapes[:, -1:] >= shapes[:, :-1]).sum(dim=1),
            "defocus_radius": uniform("defocus_radius", of_shape[2]),
            "turns": (
                (quarter == TURNING) & (of_shape[3] < QUARTERS * field("camera_turn_probability"))
            ).float(),
            "camera_turn": uniform("camera_turn", of_shape[4]),
            "moves": (
                (quarter == MOVING) & (of_shape[5] < QUARTERS * field("moving_object_probability"))
            ).float(),
            "object_radius": log_uniform("blur_radius", of_shape[6]),
            "softness": uniform("softness", of_shape[8]),
            "grey": (of_shape[7] < field("grey")).float(),
            "kernel_length": log_uniform("kernel_length", draw[1]),
            "exposed_fraction": uniform("exposed_fraction", draw[2]),
            "curl": uniform("curl", draw[12]),
            "blur": (draw[3] >= field("unblurred")).float(),
            "gamma": log_uniform("gamma", draw[13]),
            "exposure": log_uniform("exposure", draw[4]),
            "highlight": (draw[5] < field("highlight_probability")).float(),
            "highlight_threshold": field("highlight_threshold"),
            "lamps": field("lamps"),
            "smallest_lamp": field("lamp_radius", 0),
            "largest_lamp": field("lamp_radius", 1),
            "highlight_gain": log_uniform("highlight_gain", draw[6]),
            "gaussian_noise": field("gaussian_noise") * absolute_normal,
            "shot_gain": log_uniform("shot_gain", draw[8]),
            "read_noise": log_uniform("read_noise", draw[9]),
            "levels": torch.where(field("bits") > 0, 2.0 ** field("bits") - 1, 0.0),
            "jpeg": (draw[10] < field("jpeg_probability")).float(),
            "jpeg_quality": uniform("jpeg_quality", draw[11]),
        }
