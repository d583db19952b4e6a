"""Networks that restore or enlarge images: spandrel, torchsr."""

from __future__ import annotations

from typing import Any

from .spec import Network, Uniform, call, image


def _spandrel(
    folder: str, side: int, label: str = "", channels: int = 3, by_value: str = "", **kwargs: Any
) -> Network:
    name = label or folder
    return Network(
        "spandrel",
        name,
        call(f"spandrel.architectures.{folder}:{name}", **kwargs),
        Uniform((1, channels, side, side)),
        by_value,
    )


def _extra(folder: str, side: int, **kwargs: Any) -> Network:
    return Network(
        "spandrel",
        folder,
        call(f"spandrel_extra_arches.architectures.{folder}:{folder}", **kwargs),
        Uniform((1, 3, side, side)),
    )


_TWO = {"depths": [2, 2], "num_heads": [2, 2], "window_size": 8, "img_size": 32, "embed_dim": 24}

SPANDREL = [
    _spandrel("ESRGAN", 24, num_filters=32, num_blocks=3),
    _spandrel("Compact", 24, num_conv=4),
    _spandrel("SPAN", 24, num_in_ch=3, num_out_ch=3),
    _spandrel("PLKSR", 24, n_blocks=4),
    _spandrel("PLKSR", 24, label="RealPLKSR", n_blocks=4, dysample=True),
    _spandrel("RealCUGAN", 48, label="UpCunet2x"),
    _spandrel("NAFNet", 32, width=16, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    _spandrel("SwinIR", 32, upscale=2, upsampler="pixelshuffle", **_TWO),
    _spandrel("Swin2SR", 32, upsampler="pixelshuffle", **_TWO),
    _spandrel("HAT", 32, upscale=2, squeeze_factor=4, **_TWO),
    _spandrel("DRCT", 32, upscale=2, upsampler="pixelshuffle", **_TWO),
    _spandrel("ATD", 32, upscale=2, upsampler="pixelshuffle", **_TWO),
    _spandrel("DAT", 32, embed_dim=64, depth=[1, 1], num_heads=[2, 2], split_size=[4, 8]),
    _spandrel("RGT", 32, embed_dim=64, depth=[1, 1], num_heads=[2, 2]),
    _spandrel("CRAFT", 32, depths=[1, 1], num_heads=[6, 6]),
    _spandrel("OmniSR", 32, num_feat=32),
    _spandrel("SAFMN", 32, dim=24, n_blocks=3),
    _spandrel("SAFMNBCIE", 32, dim=24, n_blocks=2),
    _spandrel("SeemoRe", 32, by_value="experts chosen by value", num_layers=2, embedding_dim=24),
    _spandrel("MoSR", 32, n_block=3, dim=32),
    _spandrel("MoESR", 32, n_blocks=2, n_block=2, dim=32),
    _spandrel("FDAT", 32, embed_dim=32, num_groups=1),
    _spandrel("DITN", 32),
    _spandrel("DCTLSA", 32),
    _spandrel("RCAN", 24, n_resgroups=2, n_resblocks=2),
    _spandrel("SwiftSRGAN", 24, num_blocks=3),
    _spandrel("MMRealSR", 32, num_in_ch=3, num_out_ch=3, num_block=2),
    _spandrel("DnCNN", 32, channels=1, nb=5),
    _spandrel("DRUNet", 32, channels=2, in_nc=2, out_nc=1, nc=[16, 24, 32, 48], nb=1),
    _spandrel("FBCNN", 32, nb=1),
    _spandrel("SCUNet", 64, dim=64, config=[1] * 7),
    _spandrel("Uformer", 128, embed_dim=16, depths=[1] * 9, img_size=128),
    Network(
        "spandrel",
        "LaMa",
        call("spandrel.architectures.LaMa:LaMa", in_nc=4),
        (Uniform((1, 3, 64, 64)), Uniform((1, 1, 64, 64))),
    ),
    _spandrel("MixDehazeNet", 64),
    _spandrel("RetinexFormer", 32, n_feat=16, stage=1),
    _spandrel("HVICIDNet", 32),
    _spandrel("KBNet", 32, label="KBNet_s", width=16, middle_blk_num=1, enc_blk_nums=[1, 1, 1, 1]),
    _spandrel("FFTformer", 32, dim=16, num_blocks=[1, 1, 1], num_refinement_blocks=1),
    _spandrel("GRL", 32, depths=[1, 1], num_heads_window=[2, 2], num_heads_stripe=[2, 2],
              embed_dim=32, window_size=8, stripe_size=[8, 8], upscale=2,
              upsampler="pixelshuffle"),
    _spandrel("GFPGAN", 512, narrow=0.25),
    _spandrel("RestoreFormer", 64, ch=32, embed_dim=64, z_channels=64, num_res_blocks=1,
              resolution=64, ch_mult=(1, 2, 2)),
    _extra("Restormer", 32, dim=16, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1),
    _extra("MPRNet", 32, num_cab=2),
    _extra("MIRNet2", 32, n_feat=32, n_MRB=1),
    _extra("M3SNet", 32, width=16, enc_blk_nums=[1, 1, 1, 1]),
    _extra("SRFormer", 32, upscale=2, upsampler="pixelshuffle", depths=[2, 2], num_heads=[2, 2],
           window_size=8, img_size=32, embed_dim=24),
    _extra("FeMaSR", 64, gt_resolution=64),
    _extra("DDColor", 64, encoder_name="convnext-t", input_size=(64, 64), dec_layers=3),
]  # fmt: skip

TORCHSR = [
    Network("torchsr", name, call(f"torchsr.models:{name}", 2), image(24))
    for name in ("carn", "carn_m", "edsr_baseline", "ninasr_b0", "rcan", "rdn_a", "vdsr")
]

NETWORKS = [*SPANDREL, *TORCHSR]
