"""RegNets whose grouped convolutions have more groups than their authors gave them."""

from __future__ import annotations

from typing import Any

from torch import nn

from lwdna.errors import ModelError
from lwdna.models.registry import create_model, register_model


@register_model
def regnet_regrouped(
    base: str = "timm:regnetx_002",
    group_mult: int = 2,
    num_classes: int = 1000,
    in_chans: int = 3,
    **args: Any,
) -> nn.Module:
    """Build a RegNet with ``group_mult`` times as many groups in every grouped convolution.

    A RegNet that is widened before its groups are counted, at groups of the same size, has them.
    """
    model = create_model(base, num_classes=num_classes, in_chans=in_chans, **args)
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Conv2d) or module.kernel_size == (1, 1):
            continue
        if module.in_channels == in_chans:
            continue
        groups = module.groups * group_mult
        if module.in_channels % groups:
            raise ModelError(
                f"group_mult is {group_mult}, but {name} of {base} has {module.in_channels} "
                f"channels in {module.groups} groups; choose a divisor of the groups' size"
            )
        new = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            3,
            module.stride,  # type: ignore[arg-type]
            padding=1,
            groups=groups,
            bias=False,
        )
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        model.set_submodule(name, new)
    return model
