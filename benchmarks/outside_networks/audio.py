"""Networks that hear and speak: torchaudio, speechbrain, and libraries of one network or two."""

from __future__ import annotations

from typing import Any

from .spec import Constant, Network, Noise, Whole, call


def _torchaudio(name: str, inputs: Any, *args: Any, **kwargs: Any) -> Network:
    return Network("torchaudio", name, call(f"torchaudio.models:{name}", *args, **kwargs), inputs)


_LENGTH = Constant([20])

TORCHAUDIO = [
    _torchaudio("Wav2Letter", Noise((1, 1, 4000))),
    _torchaudio("ConvTasNet", Noise((1, 1, 2000)), enc_num_feats=64, msk_num_feats=24,
                msk_num_hidden_feats=48, msk_num_layers=3, msk_num_stacks=2),
    _torchaudio("DeepSpeech", Noise((1, 1, 20, 30)), 30, 64),
    _torchaudio("WaveRNN", (Noise((1, 1, 80)), Noise((1, 1, 14, 12))), [2, 5], 64, 10,
                n_res_block=2, n_rnn=32, n_fc=32, n_freq=14, kernel_size=5, n_hidden=24,
                n_output=24),
    _torchaudio("Tacotron2", (Whole(40, (1, 9)), Constant([9]), Noise((1, 80, 12)),
                              Constant([12]))),
    _torchaudio("HDemucs", Noise((1, 2, 16384)), ["voice", "rest"], channels=16, nfft=1024,
                depth=4),
    _torchaudio("Conformer", (Noise((1, 20, 24)), _LENGTH), 24, 4, 48, 2, 7),
    _torchaudio("Emformer", (Noise((1, 20, 24)), Constant([16])), 24, 4, 48, 2, 4,
                right_context_length=4),
    _torchaudio("wav2vec2_model", Noise((1, 4000)), "group_norm", None, False, 48, 0.0, 16, 4, 2,
                4, 0.0, 96, 0.0, 0.0, False, 0.0, 12),
    _torchaudio("squim_objective_base", Noise((1, 4000))),
]  # fmt: skip


def _speechbrain(path: str, inputs: Any, *args: Any, **kwargs: Any) -> Network:
    name = path.rpartition(":")[2]
    return Network(
        "speechbrain", name, call(f"speechbrain.lobes.models.{path}", *args, **kwargs), inputs
    )


_FBANK = Noise((1, 60, 40))
_HIFIGAN = {
    "resblock_type": "1",
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
    "resblock_kernel_sizes": [3, 5],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 32,
    "upsample_factors": [4, 2],
}

SPEECHBRAIN = [
    _speechbrain("ECAPA_TDNN:ECAPA_TDNN", _FBANK, 40, lin_neurons=24,
                 channels=[64, 64, 64, 64, 192], attention_channels=16, se_channels=16),
    _speechbrain("Xvector:Xvector", _FBANK, in_channels=40, lin_neurons=32,
                 tdnn_channels=[32, 32, 32, 32, 96]),
    _speechbrain("ResNet:ResNet", _FBANK, 40, channels=[16, 16, 32, 32], lin_neurons=24),
    _speechbrain("CRDNN:CRDNN", _FBANK, input_shape=(None, None, 40), cnn_channels=(16, 32),
                 rnn_neurons=32, rnn_layers=1, dnn_neurons=32),
    _speechbrain("ContextNet:ContextNet", _FBANK, (None, None, 40), out_channels=32,
                 conv_channels=[16] * 3, strides=[1, 2, 1], num_blocks=3, num_layers=2),
    _speechbrain("convolution:ConvolutionFrontEnd", _FBANK, (None, None, 40), 2, 1, [16, 24],
                 [3, 3], [2, 2], [1, 1], [False, False]),
    _speechbrain("conv_tasnet:MaskNet", Noise((1, 32, 60)), 32, 24, 48, 3, 3, 2, 2),
    _speechbrain("Cnn14:Cnn14", Noise((1, 64, 64)), 64, 48),
    _speechbrain("HifiGAN:HifiganGenerator", Noise((1, 80, 20)), 80, 1, **_HIFIGAN),
    _speechbrain("HifiGAN:DiscriminatorP", Noise((1, 1, 2048)), 2),
    _speechbrain("MetricGAN:MetricDiscriminator", Noise((1, 2, 40, 257))),
    _speechbrain("DiffWave:DiffWave", (Noise((1, 1, 2560)), Constant([3]), Noise((1, 80, 10))),
                 80, 3, 16, 3, 50),
    _speechbrain("wav2vec:W2VLatentExtractor", Noise((1, 4000)), [24] * 7),
    _speechbrain("dual_path:SepformerWrapper", Noise((1, 2000)), encoder_out_nchannels=32,
                 masknet_chunksize=20, masknet_numlayers=1, intra_numlayers=1, inter_numlayers=1,
                 intra_nhead=4, inter_nhead=4, intra_dffn=48, inter_dffn=48),
]  # fmt: skip


def _other(library: str, path: str, inputs: Any, *args: Any, **kwargs: Any) -> Network:
    name = path.rpartition(":")[2].rpartition(".")[2]
    return Network(library, name, call(path, *args, **kwargs), inputs)


def _vocos(backbone: str, *args: int) -> Network:
    head = call("vocos.heads:ISTFTHead", 32, 64, 16)
    model = call("torch.nn:Sequential", call(f"vocos.models:{backbone}", *args), head)
    return Network("vocos", backbone, model, Noise((1, 40, 30)))


OTHERS = [
    _other("demucs", "demucs.demucs:Demucs", Noise((1, 2, 16384)), ["voice", "rest"],
           channels=8, depth=4),
    _other("demucs", "demucs.hdemucs:HDemucs", Noise((1, 2, 16384)), ["voice", "rest"],
           channels=8, depth=4, nfft=1024),
    _other("demucs", "demucs.htdemucs:HTDemucs", Noise((1, 2, 16384)), ["voice", "rest"],
           channels=8, nfft=1024, t_layers=1, t_heads=4, bottom_channels=32, segment=1,
           samplerate=16384),
    _other("encodec", "encodec:EncodecModel.encodec_model_24khz", Noise((1, 1, 4000)), False),
    _other("snac", "snac:SNAC", Noise((1, 1, 4096)), encoder_dim=8, encoder_rates=[2, 4, 8],
           decoder_dim=64, decoder_rates=[8, 4, 2], attn_window_size=None, vq_strides=[4, 2, 1],
           noise=False),
    _vocos("VocosBackbone", 40, 32, 96, 3),
    _vocos("VocosResNetBackbone", 40, 32, 2),
    _other("torchcrepe", "torchcrepe:Crepe", Noise((2, 1024)), "tiny"),
    _other("panns-inference", "panns_inference.models:Cnn14", Noise((1, 32000)), 32000, 1024,
           320, 64, 50, 14000, 527),
    _other("pytorch-tcn", "pytorch_tcn:TCN", Noise((1, 12, 40)), 12, [16, 24, 32]),
]  # fmt: skip

NETWORKS = [*TORCHAUDIO, *SPEECHBRAIN, *OTHERS]
