"""What is done to a sharp image: the settings, and the presets."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _ordered(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"a range goes from low to high, {list(values)} does not")
    return values


Positive = Annotated[float, Field(gt=0)]
# A longer path makes kernels wider than any crop: memory ends before the mistake shows.
PathLength = Annotated[float, Field(gt=0, le=200)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
LengthRange = Annotated[tuple[PathLength, PathLength], AfterValidator(_ordered)]
# Larger blur makes kernels wider than any crop.
BlurRadius = Annotated[float, Field(gt=0, le=16)]
BlurRadiusRange = Annotated[tuple[BlurRadius, BlurRadius], AfterValidator(_ordered)]
NotNegative = Annotated[float, Field(ge=0, le=100)]
NotNegativeRange = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_ordered)]
# Only every fourth sample may have a blur that varies; see `PairSynthesizer`.
RareShare = Annotated[float, Field(ge=0, le=0.25)]
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_ordered)]


class Degradation(BaseModel):
    """How a sharp image becomes a blurred one.

    Pixel values are in 0..1. Ranges are drawn from per sample, log-uniformly unless noted.
    In a configuration file, ``preset: night`` sets every field that is not given.

    Parameters
    ----------
    preset : str
        Name of the preset that fields not given come from.
    share : float
        How often this degradation is chosen, relative to the others of a list.
    blur_radius : tuple of float, optional
        Size of the blur: the kernel's rms radius in pixels, 16 at most. Every shape of path is
        scaled to it. If not given, the blur is the paper's, of `kernel_length`,
        `exposed_fraction` and `curl`, whose sizes nobody chose: most are below 3 pixels.
    markov_shake, smooth_shake, straight_motion, defocus_disc : float
        With `blur_radius`: how often the kernel has this shape, relative to the others: the
        paper's random walk; a smooth path of few turns and changing speed, as recorded hand
        shakes are; a straight line; the disc of a lens out of focus.
    defocus_radius : tuple of float
        With `blur_radius`: radius in pixels of a disc that every kernel is widened by; uniform.
    camera_turn_probability : float
        Share of samples in which the camera also turns about its axis, so that the blur differs
        over the picture; 0.25 at most.
    camera_turn : tuple of float
        How far the turn moves the picture's corners: rms in pixels, uniform.
    moving_object_probability : float
        Share of samples in which a part of the scene moves by itself; 0.25 at most.
    kernel_length : tuple of float
        Length in pixels of the shake's path over a full exposure; 200 at most.
    exposed_fraction : tuple of float
        Share of the path that is exposed; uniform.
    curl : tuple of float
        Factor on everything that bends the path; uniform. 1 is the published model, whose
        paths curl up; 0 gives straight lines.
    unblurred : float
        Share of samples that are not blurred at all, so that the network learns to leave a
        sharp image alone.
    linear_light : bool
        Whether blur and sensor noise happen in linear light (sRGB transfer curve undone and
        redone) rather than on the encoded values.
    gamma : tuple of float
        Exponent on the encoded values of the sharp image, to make dark images out of bright
        ones in another way than by less light: above 1 the shades sink, and white stays.
    exposure : tuple of float
        Factor on the light, to make dark images out of bright ones. Applied to blurred and
        sharp image alike.
    grey : float
        Share of samples whose colours are replaced by their luma.
    softness : tuple of float
        Standard deviation in pixels of the Gaussian by which a lens softens the scene, uniform,
        in blurred and sharp image alike: a network that never saw a soft image takes softness
        for blur, and makes small bright objects smaller.
    highlight_probability : float
        Share of samples whose small saturated areas (lamps, reflections; not a white sky) are
        made brighter than white before the blur, as real lamps are. They then leave streaks.
    highlight_threshold : float
        Encoded value (of the largest channel) from which on a pixel is made brighter.
    highlight_gain : tuple of float
        Brightness that a white pixel is given, in multiples of white, after the exposure cut.
    lamps : int
        Largest number of round lamps that are put into the samples that have highlights: with
        ``softness`` they are a microscope's beads and nuclei.
    lamp_radius : tuple of float
        Radius in pixels of these lamps.
    gaussian_noise : float
        Scale of Gaussian noise: its standard deviation is the absolute value of a normal
        number of this standard deviation (paper, section 2.3.1, which names no figure).
    shot_gain : tuple of float or None
        Sensor gain ``k``: a pixel of value v receives Poisson noise of variance ``k v``.
    read_noise : tuple of float or None
        Standard deviation of the sensor's signal-independent noise.
    bits : int
        Bits per value to which the result is rounded; 0 for none.
    jpeg_probability : float
        Share of samples that are compressed.
    jpeg_quality : tuple of float
        Range of the JPEG quality, uniform.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str = "paper"
    share: Annotated[float, Field(gt=0)] = 1.0
    blur_radius: BlurRadiusRange | None = None
    markov_shake: NotNegative = 1.0
    smooth_shake: NotNegative = 2.0
    straight_motion: NotNegative = 0.5
    defocus_disc: NotNegative = 0.2
    defocus_radius: NotNegativeRange = (0.0, 0.0)
    camera_turn_probability: RareShare = 0.0
    camera_turn: NotNegativeRange = (0.5, 5.0)
    moving_object_probability: RareShare = 0.0
    kernel_length: LengthRange = (10.0, 60.0)
    exposed_fraction: ShareRange = (0.1, 1.0)
    curl: ShareRange = (1.0, 1.0)
    unblurred: Share = 0.0
    linear_light: bool = False
    gamma: PositiveRange = (1.0, 1.0)
    exposure: PositiveRange = (1.0, 1.0)
    grey: Share = 0.0
    softness: NotNegativeRange = (0.0, 0.0)
    highlight_probability: Share = 0.0
    highlight_threshold: Share = 0.9
    highlight_gain: PositiveRange = (1.5, 10.0)
    lamps: Annotated[int, Field(ge=0, le=16)] = 0
    lamp_radius: PositiveRange = (0.6, 4.0)
    gaussian_noise: Annotated[float, Field(ge=0, le=1)] = 0.02
    shot_gain: PositiveRange | None = None
    read_noise: PositiveRange | None = None
    bits: Annotated[int, Field(ge=0, le=16)] = 0
    jpeg_probability: Share = 0.0
    jpeg_quality: Annotated[
        tuple[Annotated[float, Field(ge=10, le=100)], Annotated[float, Field(ge=10, le=100)]],
        AfterValidator(_ordered),
    ] = (70.0, 95.0)

    @model_validator(mode="after")
    def _some_shape(self) -> Degradation:
        shapes = (self.markov_shake, self.smooth_shake, self.straight_motion, self.defocus_disc)
        if sum(shapes) == 0:
            raise ValueError("the shares of all shapes of kernel are 0; one must be above")
        return self

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"preset": given}
        if not isinstance(given, dict):
            return given
        name = given.get("preset", "paper")
        if name not in PRESETS:
            raise ValueError(f"there is no preset {name!r}; there are {sorted(PRESETS)}")
        return {**PRESETS[name], **given}


PRESETS: dict[str, dict[str, Any]] = {
    # The paper's own: trajectory blur and Gaussian noise on the encoded values. Its images
    # (ExDark) are dark already.
    "paper": {},
    # Hand-held photographs: any size of blur with any amount of noise, little light and lamps.
    # Gains and read noise span a phone at ISO 50 to one at ISO 6400.
    "night": {
        "blur_radius": (0.7, 12.0),
        "defocus_radius": (0.0, 1.0),
        "camera_turn_probability": 0.1,
        "moving_object_probability": 0.05,
        "linear_light": True,
        "unblurred": 0.05,
        "exposure": (0.05, 0.8),
        "highlight_probability": 0.4,
        "highlight_gain": (1.2, 8.0),
        "lamps": 6,
        "gaussian_noise": 0.0,
        "shot_gain": (2e-5, 1e-2),
        "read_noise": (1e-4, 1e-2),
        "bits": 8,
        "jpeg_probability": 0.3,
    },
    # Sharp already, in little light on a good sensor: whoever restores it must do no harm.
    "unblurred": {
        "kernel_length": (4.0, 4.0),
        "linear_light": True,
        "unblurred": 1.0,
        "exposure": (0.05, 0.5),
        "gaussian_noise": 0.0,
        "shot_gain": (1e-4, 1e-4),
        "read_noise": (1e-4, 1e-4),
        "bits": 8,
    },
    # A stage or a specimen that moves. A microscope's camera counts photons: its values are the
    # light. Gains are those of 50 to 5000 photons in a white pixel.
    "microscopy": {
        "blur_radius": (0.7, 6.0),
        "defocus_radius": (0.0, 1.0),
        "grey": 1.0,
        "exposure": (0.2, 1.0),
        "gaussian_noise": 0.0,
        "shot_gain": (2e-4, 2e-2),
        "read_noise": (5e-4, 1e-2),
        "bits": 8,
    },
}
