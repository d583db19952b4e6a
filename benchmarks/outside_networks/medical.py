"""Networks for medical images: MONAI, torchxrayvision."""

from __future__ import annotations

from .spec import Network, Noise, call, image, volume


def _monai(name: str, inputs: object, *args: object, label: str = "", **kwargs: object) -> Network:
    return Network(
        "monai", label or name, call(f"monai.networks.nets:{name}", *args, **kwargs), inputs
    )


_LEVELS = {"channels": (16, 32, 64), "strides": (2, 2)}
_CODER = {"channels": (16, 32, 64), "strides": (1, 2, 2)}
_DIFFUSION = {
    "channels": (16, 32, 32),
    "attention_levels": (False, False, True),
    "norm_num_groups": 8,
    "num_res_blocks": 1,
}
_KERNELS = {
    "kernel_size": (3, 3, 3),
    "strides": (1, 2, 2),
    "upsample_kernel_size": (2, 2),
}

MONAI = [
    _monai("UNet", image(32, 1), 2, 1, 2, **_LEVELS, num_res_units=2),
    _monai("AttentionUnet", image(32, 1), 2, 1, 2, **_LEVELS),
    _monai("BasicUNet", volume(32), 3, 1, 2, (8, 8, 16, 32, 64, 8)),
    _monai("BasicUNetPlusPlus", image(32, 1), 2, 1, 2, (8, 8, 16, 32, 64, 8)),
    _monai("DynUNet", volume(16), 3, 1, 2, **_KERNELS, res_block=True),
    _monai("SegResNet", volume(32)),
    _monai("SegResNetDS", image(32, 1), spatial_dims=2, init_filters=16),
    _monai("SegResNetVAE", volume(32), (32, 32, 32)),
    _monai("VNet", volume(16), act="relu"),
    _monai("HighResNet", volume(16)),
    _monai("DenseNet121", volume(32), 3, 1, 3),
    _monai("SEResNet50", volume(32), spatial_dims=3, in_channels=1, num_classes=3),
    _monai("ResNet", volume(32), "basic", [1, 1, 1, 1], [16, 32, 64, 128], n_input_channels=1),
    _monai("EfficientNetBN", volume(32), "efficientnet-b0", False, True, 3, 1, 3),
    _monai("FlexibleUNet", image(64), 3, 2, "resnet18"),
    _monai("UNETR", volume(32), 1, 2, 32, hidden_size=48, mlp_dim=96, num_heads=4),
    _monai("SwinUNETR", volume(64), 1, 2, feature_size=12),
    _monai("MedNeXt", volume(32), init_filters=8),
    _monai("RegUNet", image(32, 2), 2, 2, 8, 2),
    _monai("AutoEncoder", image(32, 1), 2, 1, 1, **_CODER, inter_channels=[16, 24]),
    _monai("VarAutoEncoder", image(32, 1), 2, (1, 32, 32), 1, 8, **_CODER),
    _monai("Regressor", image(32, 1), (1, 32, 32), (2,), **_LEVELS),
    _monai("Quicknat", image(32, 1), num_classes=4, num_filters=16),
    _monai("HoVerNet", image(256), "fast"),
    _monai("DAF3D", volume(32), 1, 2),
    _monai("AutoencoderKL", image(32, 1), 2, **_DIFFUSION),
    _monai("DiffusionModelUNet", (image(32, 1), Noise((1,))), 2, 1, 1, **_DIFFUSION),
    _monai("VQVAE", image(32, 1), 2, 1, 1, num_embeddings=16, embedding_dim=8),
    _monai("PatchDiscriminator", image(64, 1), 2, 16, 1),
]

TORCHXRAYVISION = [
    Network("torchxrayvision", "DenseNet", call("torchxrayvision.models:DenseNet"), image(224, 1)),
    Network(
        "torchxrayvision",
        "ResNetAE",
        call("torchxrayvision.autoencoders:ResNetAE101"),
        image(224, 1),
    ),
]

NETWORKS = [*MONAI, *TORCHXRAYVISION]
