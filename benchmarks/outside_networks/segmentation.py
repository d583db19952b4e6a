"""Networks that label pixels: segmentation-models-pytorch and nnU-Net's."""

from __future__ import annotations

from .spec import Named, Network, call, image, volume


def _smp(decoder: str, encoder: str, side: int = 64, **options: object) -> Network:
    return Network(
        "segmentation-models-pytorch",
        f"{decoder}-{encoder}",
        call(
            f"segmentation_models_pytorch:{decoder}",
            encoder,
            encoder_weights=None,
            classes=3,
            **options,
        ),
        image(side),
    )


SMP = [
    _smp("Unet", "resnet18"),
    _smp("Unet", "efficientnet-b0"),
    _smp("Unet", "mit_b0"),
    _smp("Unet", "densenet121", decoder_attention_type="scse"),
    _smp("UnetPlusPlus", "mobilenet_v2"),
    _smp("MAnet", "se_resnet50"),
    _smp("Linknet", "vgg11_bn"),
    _smp("FPN", "dpn68"),
    _smp("PSPNet", "xception"),
    _smp("PAN", "resnext50_32x4d", side=128),
    _smp("DeepLabV3", "mobileone_s0"),
    _smp("DeepLabV3Plus", "tu-convnext_atto"),
    _smp("UPerNet", "tu-resnest14d"),
    _smp("Segformer", "mit_b0"),
    _smp("DPT", "tu-vit_tiny_patch16_224", dynamic_img_size=True),
    _smp("Unet", "inceptionv4"),
]


def _nnunet(kind: str, dimensions: int, depth: str, **options: object) -> Network:
    stages = 4
    build = call(
        f"dynamic_network_architectures.architectures.unet:{kind}",
        input_channels=2,
        n_stages=stages,
        features_per_stage=[16, 32, 48, 64],
        conv_op=Named(f"torch.nn:Conv{dimensions}d"),
        kernel_sizes=3,
        strides=[1, 2, 2, 2],
        num_classes=3,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=Named(f"torch.nn:InstanceNorm{dimensions}d"),
        norm_op_kwargs={"affine": True},
        nonlin=Named("torch.nn:LeakyReLU"),
        nonlin_kwargs={"inplace": True},
        **{depth: [2] * stages},
        **options,
    )
    deep = "-deep-supervision" if options.get("deep_supervision") else ""
    inputs = image(64, 2) if dimensions == 2 else volume(32, 2)
    return Network("nnU-Net", f"{kind}-{dimensions}d{deep}", build, inputs)


NNUNET = [
    _nnunet("PlainConvUNet", 2, "n_conv_per_stage"),
    _nnunet("PlainConvUNet", 3, "n_conv_per_stage", deep_supervision=True),
    _nnunet("ResidualEncoderUNet", 2, "n_blocks_per_stage", deep_supervision=True),
    _nnunet("ResidualEncoderUNet", 3, "n_blocks_per_stage"),
    _nnunet("ResidualUNet", 2, "n_blocks_per_stage"),
    *(
        Network(
            "nnU-Net",
            name,
            call(f"dynamic_network_architectures.architectures.{module}:{name}", 10),
            image(64),
        )
        for module, name in (("resnet", "ResNet18_CIFAR"), ("vgg", "VGG16_cifar"))
    ),
]

NETWORKS = [*SMP, *NNUNET]
