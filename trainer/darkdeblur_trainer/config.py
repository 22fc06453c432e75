"""The trainer's configuration: typed, complete, and strict about keys.

Every key has a default, which is the paper's value (section 2.4) where the paper gives one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from napari_darkdeblur.datasets import LAYOUTS
from napari_darkdeblur.errors import DarkDeblurError
from napari_darkdeblur.network import (
    FeaturePyramidConfig,
    GeneratorConfig,
    MultiScaleConfig,
    NetworkConfig,
)

from .data.layouts import Layout
from .synthesis.degradation import Degradation
from .synthesis.known_kernels import KnownKernels

Count = Annotated[int, Field(ge=1)]
CountOrNone = Count | None


def _at_least_one(value: tuple[Degradation, ...]) -> tuple[Degradation, ...]:
    if not value:
        raise ValueError("name at least one degradation")
    return value


Degradations = Annotated[tuple[Degradation, ...], AfterValidator(_at_least_one)]

# By name: the paper's network, ours, and those of its peers' kinds.
GENERATORS: dict[str, Callable[[], NetworkConfig]] = {
    "paper": GeneratorConfig.paper,
    "small": GeneratorConfig.small,
    "srn": MultiScaleConfig.srn,
    "deepdeblur": MultiScaleConfig.deepdeblur,
    "deblurgan-v2": FeaturePyramidConfig.deblurgan_v2,
}


class ConfigError(DarkDeblurError, ValueError):
    """A configuration is wrong; the message names the key and the way out."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Section):
    """Where training images come from.

    Parameters
    ----------
    layout : {"sharp", "folders", "pairs", "gopro", "reds"}
        ``"sharp"``: a folder of sharp images, from which pairs are synthesised. The others are
        paired folders, see `find_pairs`.
    blurred : str, optional
        Layout ``"folders"``: the folder of blurred images (``--data`` holds the sharp ones).
    every : int, optional
        Paired layouts: use every ``every``-th frame of a sequence. By default every second of
        GoPro and REDS, as the paper does (section 2.3.1), and every image of other folders.
    split : str, optional
        A list of the images to train on, one name a line, or ExDark's; see `read_split`.
    value_range : tuple of float, optional
        Values of black and of white in the image files. By default 0 and 255 of 8-bit images, 0
        and 1 of floating-point ones; of 16-bit images 0 and the smallest 2^n - 1 that holds
        nearly all of their values, see `common_value_ranges`.
    workers : int
        Loader processes; 0 loads in the training process. Does not change any result.
    """

    layout: Layout = "sharp"
    blurred: str | None = None
    every: CountOrNone = None
    split: str | None = None
    value_range: tuple[float, float] | None = None
    workers: Annotated[int, Field(ge=0, le=64)] = 0

    @field_validator("value_range")
    @classmethod
    def _from_black_to_white(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError(f"black is below white, {list(value)} is not so")
        return value

    @property
    def frame_step(self) -> int:
        """Distance between used frames of a sequence."""
        if self.every is not None:
            return self.every
        return LAYOUTS[self.layout].frame_step if self.layout in LAYOUTS else 1


class TermConfig(_Section):
    """One term of the objective.

    Parameters
    ----------
    weight : float
        Factor of the term in the objective; 0 switches it off.
    from_step : int
        First step at which it counts.
    """

    weight: Annotated[float, Field(ge=0)]
    from_step: Annotated[int, Field(ge=0)] = 0

    def on_at(self, step: int) -> bool:
        """Whether the term counts at a step."""
        return self.weight > 0 and step >= self.from_step


class LossConfig(_Section):
    """The four terms (eq. 16)."""

    l1: TermConfig = TermConfig(weight=1.0)
    ms_ssim: TermConfig = TermConfig(weight=1.0)
    features: TermConfig = TermConfig(weight=1e-2)
    adversarial: TermConfig = TermConfig(weight=1e-4)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_number_is_a_weight(cls, value: Any) -> Any:
        return {"weight": value} if isinstance(value, (int, float)) else value

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> LossConfig:
        if not any(getattr(self, name).on_at(0) for name in type(self).model_fields):
            raise ValueError(
                "at least one term must count from step 0, with a weight above 0 and from_step 0"
            )
        return self


class OptimizerConfig(_Section):
    """Optimizer and schedule, for generator and discriminator alike.

    Parameters
    ----------
    method : {"adam", "muon"}
        Optimizer of the generator; see `build_optimizers`. The discriminator has Adam.
    learning_rate : float
        Peak learning rate, which warm-up leads to.
    betas : tuple of float
        Decay of Adam's running averages.
    schedule : {"constant", "cosine"}
        Course of the learning rate after the warm-up.
    warmup_steps : int
        Steps over which the rate grows linearly from 0.
    final_learning_rate : float
        Learning rate at the end of the cosine.
    clip_norm : float, optional
        Largest norm of the generator's gradient.
    """

    method: Literal["adam", "muon"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)],
        Annotated[float, Field(ge=0, lt=1)],
    ] = (0.9, 0.99)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    final_learning_rate: Annotated[float, Field(ge=0)] = 1e-6
    clip_norm: Annotated[float, Field(gt=0)] | None = None


class ValidationConfig(_Section):
    """Validation on fixed pairs.

    Parameters
    ----------
    every : int, optional
        Steps between validations; none means only at the end.
    images : int
        Images used, from the head of the (sorted) list.
    crop : int
        Side in pixels of the central crop.
    degradations : tuple of Degradation
        Each image is degraded by each of these in turn; not used with paired data.
    blurred : str, optional
        Layout ``"folders"``: the folder of blurred validation images (``--validate`` holds the
        sharp ones).
    """

    every: CountOrNone = 1000
    images: Count = 16
    crop: Annotated[int, Field(ge=97)] = 256
    degradations: Degradations = (
        Degradation(preset="paper"),
        Degradation.model_validate({"preset": "night"}),
    )
    blurred: str | None = None


class LogConfig(_Section):
    """How often something is written, in steps; none switches it off.

    Parameters
    ----------
    scalars : int
        Losses and speed to ``metrics.jsonl`` and TensorBoard.
    images : int, optional
        Grids of blurred, restored and sharp patches to TensorBoard.
    gradient_shares : int, optional
        Share of each term in the gradient at the output; costs a backward pass a term.
    """

    scalars: Count = 50
    images: CountOrNone = 1000
    gradient_shares: CountOrNone = 1000


class CheckpointConfig(_Section):
    """Checkpoints, from which training resumes exactly.

    One is always written at the end, and when a run is told to stop. With each of them,
    ``RUN/weights.safetensors`` is replaced.

    Parameters
    ----------
    every : int, optional
        Number of steps between checkpoints.
    minutes : float, optional
        Minutes between checkpoints, beside those that ``every`` asks for.
    keep : int
        Number of newest checkpoints that are kept.
    """

    every: CountOrNone = 1000
    minutes: Annotated[float, Field(gt=0)] | None = None
    keep: Count = 2


class TrainConfig(_Section):
    """Everything a run depends on, but its images.

    Parameters
    ----------
    seed : int
        All randomness follows from it and the sample's index.
    steps : int
        Number of steps of the run.
    batch_size : int
        Samples a step, over all processes together.
    patch : int
        Side of a training patch in pixels; MS-SSIM needs at least 97.
    generator : GeneratorConfig, MultiScaleConfig or FeaturePyramidConfig
        Network, whose ``architecture`` says which kind it is (DarkDeblurNet if it says none); or
        the name of one, a key of `GENERATORS`.
    discriminator_width : int
        Channels of the discriminator's first layer.
    synthesis : tuple of Degradation
        Degradations of sharp crops; not used with paired data.
    known_kernels : KnownKernels
        Kernels that a generator with guides is trained with; not used without guides or with
        paired data.
    ema_decay : float, optional
        Decay of the moving average of the generator's weights, which is what is validated and
        exported; none exports the weights themselves.
    precision : {"fp32", "bf16", "auto"}
        What the networks compute in; losses and optimizers always compute in fp32. ``"auto"``
        measures some steps of a new run in both, where the device has instructions for bf16, and
        takes the faster one; the run then keeps it.
    compile : bool
        Whether the networks are compiled.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Count = 100_000
    batch_size: Count = 16
    patch: Annotated[int, Field(ge=97, multiple_of=16)] = 128
    generator: NetworkConfig = GeneratorConfig.paper()
    discriminator_width: Annotated[int, Field(ge=4, le=512)] = 64
    data: DataConfig = DataConfig()
    synthesis: Degradations = (Degradation(),)
    known_kernels: KnownKernels = KnownKernels()
    losses: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    compile: bool = False
    validation: ValidationConfig = ValidationConfig()
    log: LogConfig = LogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @field_validator("generator", mode="before")
    @classmethod
    def _generator_by_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in GENERATORS:
                raise ValueError(f"there is no generator {value!r}, but {', '.join(GENERATORS)}")
            return GENERATORS[value]()
        return value

    @field_validator("generator")
    @classmethod
    def _guides_that_there_are(cls, value: NetworkConfig) -> NetworkConfig:
        from napari_darkdeblur.network.guides import GUIDE_COUNTS

        if value.guides not in (0, *GUIDE_COUNTS):
            known = " or ".join(str(count) for count in (0, *GUIDE_COUNTS))
            raise ValueError(f"{value.guides} guides cannot be made, but {known}")
        return value

    @model_validator(mode="after")
    def _every_given_key_counts(self) -> TrainConfig:
        # A key that is passed over in silence hides that the layout is not the one meant.
        layout = self.data.layout
        for key, value, used in (
            ("data.blurred", self.data.blurred, layout == "folders"),
            ("validation.blurred", self.validation.blurred, layout == "folders"),
            ("data.every", self.data.every, layout != "sharp"),
        ):
            if value is not None and not used:
                raise ValueError(f"the key {key!r} has no meaning with data.layout {layout!r}")
        return self

    def blurred_for_validation(self) -> Path | None:
        """Return the folder of the blurred images that belong to ``--validate``.

        Returns
        -------
        pathlib.Path or None
            None where the layout has no such folder.

        Raises
        ------
        ConfigError
            Layout ``"folders"`` without ``validation.blurred``.
        """
        if self.data.layout != "folders":
            return None
        if self.validation.blurred is None:
            raise ConfigError(
                "Validation images in layout 'folders' need a second folder, of the blurred "
                "ones: validation.blurred=FOLDER."
            )
        return Path(self.validation.blurred)
