"""Blind deblurring by the dark channel prior.

J. Pan, D. Sun, H. Pfister and M.-H. Yang, "Blind image deblurring using dark channel prior",
CVPR 2016: blur makes the darkest pixel of a patch brighter, so a sharp image is one whose dark
channel has few values above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from .deconvolution import Image, coarse_to_fine, kernel_from_gradients, latent_image


@dataclass(frozen=True)
class DarkChannel:
    """Estimator of the blur kernel by sparse gradients and a sparse dark channel.

    Defaults are the paper's (section 6).

    Parameters
    ----------
    gradient_weight, dark_weight : float
        Weights mu and lambda of the two terms; both fall from iteration to iteration.
    ridge : float
        Weight gamma of the kernel's norm.
    patch : int
        Side in pixels of the patches of the dark channel.
    iterations : int
        Alternations between image and kernel at each scale.
    """

    gradient_weight: float = 4e-3
    dark_weight: float = 4e-3
    ridge: float = 2.0
    patch: int = 35
    iterations: int = 5

    def __call__(self, blurred: Image, size: int) -> Image:
        """Estimate the kernel of a blurred image.

        Parameters
        ----------
        blurred : ndarray
            Grey image (H, W) of light, most of it in 0..1.
        size : int
            Side of the kernel in pixels, odd.

        Returns
        -------
        ndarray
            Kernel (size, size), not negative, of sum 1.
        """
        gradient_weight, dark_weight = self.gradient_weight, self.dark_weight

        def estimate(image: Image, kernel: Image, scale: float) -> Image:
            nonlocal gradient_weight, dark_weight
            patch = max(3, round(self.patch * scale) // 2 * 2 + 1)
            for _ in range(self.iterations):
                sharp = latent_image(image, kernel, gradient_weight, dark_weight, patch)
                kernel = kernel_from_gradients(sharp, image, kernel.shape[0], self.ridge)
                gradient_weight = max(gradient_weight / 1.1, 1e-4)
                dark_weight = max(dark_weight / 1.1, 1e-4)
            return kernel

        return coarse_to_fine(blurred, size, estimate)
