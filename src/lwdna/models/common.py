"""What the families of networks share: scaled widths and the initialisation of He et al."""

from __future__ import annotations

from torch import nn

from lwdna.errors import ModelError


def scaled(width: int, width_mult: float) -> int:
    """Return ``width * width_mult`` rounded to an integer, at least 1.

    Raises:
        ModelError: ``width_mult`` is not above 0.
    """
    if not width_mult > 0:
        raise ModelError(f"width_mult is {width_mult}; it must be above 0")
    return max(1, round(width * width_mult))


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution without bias that keeps the size of the image at stride 1."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def initialise(model: nn.Module) -> None:
    """Draw fresh weights as He et al. do ("Delving Deep into Rectifiers", ICCV 2015).

    Convolutions are normal with variance 2 / fan-out, normalisations the identity; linear layers
    keep torch's weights and start with zero biases.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            module.reset_parameters()
            nn.init.zeros_(module.bias)
