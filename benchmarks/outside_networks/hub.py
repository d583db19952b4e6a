"""Networks of Hugging Face's libraries: transformers, diffusers."""

from __future__ import annotations

from typing import Any

from .spec import Constant, Network, Noise, Uniform, Whole, call, image


def _transformer(
    model: str, config: str, inputs: Any, by_value: str = "", **settings: Any
) -> Network:
    build = call(f"transformers:{model}", call(f"transformers:{config}", **settings))
    return Network("transformers", model, build, inputs, by_value)


_VISION = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_RESNET = {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
_STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
_WAVE = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_BACKBONE = call("transformers:ResNetConfig", layer_type="basic", **_RESNET, **_STAGES)

TRANSFORMERS = [
    _transformer("SegformerForSemanticSegmentation", "SegformerConfig", image(64)),
    _transformer("SegformerForImageClassification", "SegformerConfig", image(64)),
    _transformer("ResNetForImageClassification", "ResNetConfig", image(64), **_RESNET),
    _transformer("RegNetForImageClassification", "RegNetConfig", image(64), layer_type="y"),
    _transformer("ConvNextForImageClassification", "ConvNextConfig", image(64)),
    _transformer("ConvNextV2ForImageClassification", "ConvNextV2Config", image(64)),
    _transformer("MobileNetV1ForImageClassification", "MobileNetV1Config", image(64)),
    _transformer("MobileNetV2ForImageClassification", "MobileNetV2Config", image(64)),
    _transformer("MobileNetV2ForSemanticSegmentation", "MobileNetV2Config", image(64)),
    _transformer("MobileViTForImageClassification", "MobileViTConfig", image(64)),
    _transformer("MobileViTV2ForSemanticSegmentation", "MobileViTV2Config", image(64)),
    _transformer("EfficientNetForImageClassification", "EfficientNetConfig", image(64)),
    _transformer("PoolFormerForImageClassification", "PoolFormerConfig", image(64)),
    _transformer("LevitForImageClassification", "LevitConfig", image(224)),
    _transformer("CvtForImageClassification", "CvtConfig", image(64)),
    _transformer("FocalNetForImageClassification", "FocalNetConfig", image(64), image_size=64),
    _transformer("BitForImageClassification", "BitConfig", image(64)),
    _transformer("PvtV2ForImageClassification", "PvtV2Config", image(64)),
    _transformer("SwiftFormerForImageClassification", "SwiftFormerConfig", image(224)),
    _transformer("TextNetForImageClassification", "TextNetConfig", image(64)),
    _transformer("HGNetV2ForImageClassification", "HGNetV2Config", image(64)),
    _transformer(
        "DPTForDepthEstimation", "DPTConfig", image(64),
        image_size=64, hidden_size=48, num_attention_heads=4, intermediate_size=96,
        backbone_out_indices=[0, 1, 2, 3], num_hidden_layers=4,
        neck_hidden_sizes=[12, 16, 24, 32], fusion_hidden_size=16, is_hybrid=False,
    ),
    _transformer("GLPNForDepthEstimation", "GLPNConfig", image(64)),
    _transformer("UperNetForSemanticSegmentation", "UperNetConfig", image(64),
                 backbone_config=_BACKBONE, hidden_size=32, auxiliary_in_channels=32),
    _transformer("RTDetrForObjectDetection", "RTDetrConfig", image(64), num_queries=20),
    _transformer("DFineForObjectDetection", "DFineConfig", image(64), num_queries=20),
    _transformer("DetrForObjectDetection", "DetrConfig", image(64), backbone_config=_BACKBONE,
                 use_timm_backbone=False, d_model=32, encoder_layers=1, decoder_layers=1),
    _transformer("Mask2FormerForUniversalSegmentation", "Mask2FormerConfig", image(64),
                 backbone_config=_BACKBONE, hidden_dim=32, feature_size=32, mask_feature_size=32,
                 encoder_layers=1, decoder_layers=2, encoder_feedforward_dim=64,
                 dim_feedforward=64),
    _transformer("YolosForObjectDetection", "YolosConfig", image(64), image_size=[64, 64],
                 **_VISION, intermediate_size=96, num_detection_tokens=5),
    _transformer(
        *("SuperPointForKeypointDetection", "SuperPointConfig", Uniform((1, 3, 64, 64))),
        by_value="points are chosen by value",
    ),
    _transformer("Swin2SRForImageSuperResolution", "Swin2SRConfig", Uniform((1, 3, 32, 32)),
                 image_size=32, embed_dim=24, depths=[2, 2], num_heads=[2, 2]),
    _transformer("VitMatteForImageMatting", "VitMatteConfig", image(64, 4),
                 backbone_config=call("transformers:VitDetConfig", image_size=64, num_channels=4,
                                      pretrain_image_size=64, out_features=["stage2"], **_VISION),
                 hidden_size=48, fusion_hidden_sizes=[24, 16, 12, 8]),
    _transformer("Wav2Vec2ForCTC", "Wav2Vec2Config", Noise((1, 4000)), **_WAVE),
    _transformer("HubertModel", "HubertConfig", Noise((1, 4000)), **_WAVE),
    _transformer("EncodecModel", "EncodecConfig", Noise((1, 1, 4000)), num_filters=8),
    _transformer("DacModel", "DacConfig", Noise((1, 1, 4096)), encoder_hidden_size=8,
                 decoder_hidden_size=64, hidden_size=32),
    _transformer("SpeechT5HifiGan", "SpeechT5HifiGanConfig", Noise((1, 20, 80)),
                 upsample_initial_channel=64),
    _transformer("UnivNetModel", "UnivNetConfig", (Noise((1, 20, 100)), Noise((1, 20, 64)))),
    _transformer("WhisperModel", "WhisperConfig",
                 {"input_features": Noise((1, 80, 3000)), "decoder_input_ids": Whole(9, (1, 4))},
                 d_model=48, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
                 decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96),
]  # fmt: skip


def _diffuser(model: str, inputs: Any, **settings: Any) -> Network:
    return Network("diffusers", model, call(f"diffusers:{model}", **settings), inputs)


_KL = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [16, 32],
    "norm_num_groups": 8,
}
_CROSS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (16, 32),
    "norm_num_groups": 8,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
}
_TEXT = Noise((1, 5, 24))

DIFFUSERS = [
    _diffuser("UNet2DModel", (image(32), Constant([3])), block_out_channels=(16, 32),
              down_block_types=("DownBlock2D", "AttnDownBlock2D"), norm_num_groups=8,
              up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=4),
    _diffuser("UNet2DConditionModel", (image(16, 4), Constant([3]), _TEXT), **_CROSS,
              up_block_types=("CrossAttnUpBlock2D", "UpBlock2D")),
    _diffuser("ControlNetModel", (image(16, 4), Constant([3]), _TEXT, image(128)), **_CROSS,
              conditioning_embedding_out_channels=(16, 24, 32, 40)),
    _diffuser("UNet1DModel", (Noise((1, 2, 64)), Constant([3])), sample_size=64, in_channels=2,
              out_channels=2, extra_in_channels=64, block_out_channels=(32, 32, 64)),
    _diffuser("UNet3DConditionModel", (Noise((1, 4, 3, 16, 16)), Constant([3]), _TEXT),
              block_out_channels=(16, 32), norm_num_groups=8, cross_attention_dim=24,
              attention_head_dim=4, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
              up_block_types=("UpBlock3D", "CrossAttnUpBlock3D")),
    _diffuser("AutoencoderKL", image(32), **_KL),
    _diffuser("AsymmetricAutoencoderKL", image(32), norm_num_groups=8,
              down_block_types=["DownEncoderBlock2D"] * 2, down_block_out_channels=[16, 32],
              up_block_types=["UpDecoderBlock2D"] * 2, up_block_out_channels=[16, 32]),
    _diffuser("VQModel", image(32), **_KL),
    _diffuser("AutoencoderTiny", Uniform((1, 3, 32, 32)), num_encoder_blocks=(1, 2, 2, 2),
              num_decoder_blocks=(2, 2, 2, 1)),
    _diffuser("AutoencoderDC", image(32), latent_channels=8, attention_head_dim=8,
              encoder_block_out_channels=(16, 32), decoder_block_out_channels=(16, 32),
              encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
              encoder_block_types=("ResBlock", "EfficientViTBlock"),
              decoder_block_types=("ResBlock", "EfficientViTBlock"),
              encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,))),
    _diffuser("AutoencoderOobleck", Noise((1, 2, 4096)), encoder_hidden_size=32,
              decoder_channels=8, downsampling_ratios=[2, 4, 8], channel_multiples=[1, 2, 4],
              decoder_input_channels=16),
    _diffuser("T2IAdapter", image(128), channels=[16, 24, 32, 40]),
    _diffuser("AutoencoderKLTemporalDecoder", image(32), block_out_channels=(32, 64),
              down_block_types=["DownEncoderBlock2D"] * 2),
]  # fmt: skip

NETWORKS = [*TRANSFORMERS, *DIFFUSERS]
