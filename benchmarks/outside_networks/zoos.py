"""Collections of networks: pytorchcv, pretrainedmodels, geffnet and others."""

from __future__ import annotations

from typing import Any

from .spec import Constant, Network, Noise, call, image, volume


def _pytorchcv(name: str, inputs: Any = None, by_value: str = "", **options: Any) -> Network:
    build = call("pytorchcv.model_provider:get_model", name, pretrained=False, **options)
    return Network("pytorchcv", name, build, image(224) if inputs is None else inputs, by_value)


_CLASSIFIERS = (
    "airnet50_1x64d_r2 cbam_resnet18 bam_resnet18 diracnet18v2 condensenet74_c8_g8 "
    "sparsenet121 peleenet fishnet99 xdensenet121_2 channelnet revnet38 irevnet301 bagnet9 "
    "msdnet22 espnetv2_wd2 dicenet_wd5 hardnet39ds sqnxt23_w1 shufflenet_g4_w1 "
    "menet108_8x1_g3 igcv3_wd4 darts nasnet_4a1056 spnasnet octresnet10_ad2 isqrtcovresnet18 "
    "diaresnet10 sharesnet18 scnet50 drnc26 fractalnet_cifar10 "
    "shakeshakeresnet20_2x16d_cifar10 ror3_56_cifar10"
)
_INPUT_SIZES = {
    "drnc26": 256,
    "fractalnet_cifar10": 32,
    "shakeshakeresnet20_2x16d_cifar10": 32,
    "ror3_56_cifar10": 32,
}
_SEGMENTERS = (
    "cgnet_cityscapes dabnet_cityscapes sinet_cityscapes lednet_cityscapes edanet_cityscapes "
    "enet_cityscapes erfnet_cityscapes segnet_cityscapes sqnet_cityscapes fastscnn_cityscapes"
)

PYTORCHCV = [
    *(
        _pytorchcv(name, image(_INPUT_SIZES[name]) if name in _INPUT_SIZES else None)
        for name in _CLASSIFIERS.split()
    ),
    *(_pytorchcv(name, image(128), in_size=(128, 128)) for name in _SEGMENTERS.split()),
    _pytorchcv("lwopenpose2d_mobilenet_cmupan_coco", image(64)),
    _pytorchcv("ibppose_coco", image(64)),
    _pytorchcv("centernet_resnet18_coco", image(64)),
    _pytorchcv("superpointnet", image(64, 1), by_value="points are chosen by value"),
    _pytorchcv("quartznet5x5_en_ls", (Noise((1, 4000)), Constant([4000]))),
]

PRETRAINEDMODELS = [
    Network(
        "pretrainedmodels", name, call(f"pretrainedmodels:{name}", pretrained=None), image(side)
    )
    for name, side in (
        ("bninception", 224),
        ("cafferesnet101", 224),
        ("inceptionresnetv2", 299),
        ("nasnetamobile", 224),
        ("dpn68", 224),
        ("se_resnet50", 224),
    )
]

OTHERS = [
    Network(
        "efficientnet-pytorch",
        "efficientnet-b0",
        call("efficientnet_pytorch:EfficientNet.from_name", "efficientnet-b0"),
        image(64),
    ),
    *(
        Network("geffnet", name, call("geffnet:create_model", name), image(64))
        for name in ("mixnet_s", "mobilenetv3_large_100", "spnasnet_100")
    ),
    *(
        Network(
            "open_clip", name, call("open_clip.model:ModifiedResNet", layers, 64, 4, 64), image(64)
        )
        for name, layers in (("RN-2222", [2, 2, 2, 2]), ("RN-3463", [3, 4, 6, 3]))
    ),
    *(
        Network("timm-3d", name, call("timm_3d:create_model", name, num_classes=3), volume(32, 3))
        for name in ("resnet18", "tf_efficientnet_b0", "convnext_atto", "densenet121")
    ),
    Network("resnest", "resnest50", call("resnest.torch:resnest50", pretrained=False), image(64)),
    Network("lightly", "resnet-9", call("lightly.models:ResNetGenerator", "resnet-9"), image(32)),
    Network(
        "lpips",
        "alex",
        call(
            "lpips:LPIPS",
            net="alex",
            pretrained=False,
            pnet_rand=True,
            pnet_tune=True,
            verbose=False,
        ),
        (image(64), image(64)),
    ),
    Network(
        "segment-anything",
        "image_encoder",
        call("segment_anything.modeling:ImageEncoderViT", 64, 8, 3, 48, 2, 4, out_chans=24),
        image(64),
    ),
]

_VIT = {"num_classes": 10}

VIT_PYTORCH = [
    Network("vit-pytorch", name.rpartition(":")[2], call(f"vit_pytorch.{name}", **kwargs), inputs)
    for name, kwargs, inputs in (
        ("cvt:CvT", {"s3_depth": 2, **_VIT}, image(64)),
        ("levit:LeViT", {"image_size": 64, "dim": (32, 48, 64), "depth": 1, "heads": (2, 3, 4),
                         "mlp_mult": 2, **_VIT}, image(64)),
        ("mobile_vit:MobileViT", {"image_size": (64, 64), "dims": [24, 32, 40], "num_classes": 10,
                                  "channels": [8, 12, 16, 16, 20, 20, 24, 24, 32, 32, 64]},
         image(64)),
        ("crossformer:CrossFormer", {"dim": (32, 48, 64, 96), "depth": (1, 1, 1, 1),
                                     "local_window_size": 2, "global_window_size": (2, 2, 2, 1),
                                     **_VIT}, image(64)),
        ("nest:NesT", {"image_size": 64, "patch_size": 4, "dim": 24, "heads": 2,
                       "num_hierarchies": 3, "block_repeats": (1, 1, 1), **_VIT}, image(64)),
    )
]  # fmt: skip

DIFFUSION = [
    Network(
        "denoising-diffusion-pytorch",
        name,
        call(f"denoising_diffusion_pytorch:{name}", *args, **kwargs),
        inputs,
    )
    for name, args, kwargs, inputs in (
        ("Unet", (16,), {"dim_mults": (1, 2)}, (image(32), Noise((1,)))),
        ("Unet1D", (16,), {"dim_mults": (1, 2), "channels": 4}, (Noise((1, 4, 32)), Noise((1,)))),
    )
]

_EEG = {"n_chans": 12, "n_outputs": 4, "n_times": 500, "sfreq": 100}

BRAINDECODE = [
    Network("braindecode", name, call(f"braindecode.models:{name}", **_EEG), Noise((1, 12, 500)))
    for name in ("EEGNet", "ShallowFBCSPNet", "Deep4Net", "EEGConformer", "ATCNet", "TIDNet",
                 "EEGNeX", "EEGInceptionERP")
]  # fmt: skip

_CLIP = Noise((1, 3, 8, 64, 64))

PYTORCHVIDEO = [
    Network(
        "pytorchvideo", name, call(f"pytorchvideo.models.{name}:create_{name}", **kwargs), inputs
    )
    for name, kwargs, inputs in (
        ("x3d", {"input_clip_length": 4, "input_crop_size": 64}, Noise((1, 3, 4, 64, 64))),
        ("resnet", {"head_pool_kernel_size": (8, 2, 2)}, _CLIP),
        ("csn", {"head_pool_kernel_size": (1, 2, 2)}, _CLIP),
        ("r2plus1d", {"head_pool_kernel_size": (1, 2, 2)}, _CLIP),
        ("slowfast", {"head_pool_kernel_sizes": ((2, 2, 2), (8, 2, 2))},
         ([Noise((1, 3, 2, 64, 64)), Noise((1, 3, 8, 64, 64))],)),
    )
]  # fmt: skip

NETWORKS = [
    *PYTORCHCV,
    *PRETRAINEDMODELS,
    *OTHERS,
    *VIT_PYTORCH,
    *DIFFUSION,
    *BRAINDECODE,
    *PYTORCHVIDEO,
]
