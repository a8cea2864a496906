"""Models of libraries that have no list of them, each with few channels and layers, and their inputs."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

PICTURE = ((3, 64, 64),)
SCAN = ((1, 64, 64),)
LATENT = ((4, 32, 32), ())


@dataclass(frozen=True)
class Entry:
    """A model of a library."""

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...] = PICTURE
    """Of its inputs, without the batch; an empty one stands for a step in time."""

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Positional inputs, the same ones at each call."""
        generator = torch.Generator().manual_seed(0)
        return tuple(
            torch.rand(batch, *shape, generator=generator) if shape else torch.full((batch,), 10)
            for shape in self.shapes
        )


def _of(path: str, *, shapes: tuple[tuple[int, ...], ...] = PICTURE, **options: Any) -> Entry:
    """``Entry`` of the class or function at `path`, called with `options`."""

    def make() -> nn.Module:
        module, _, name = path.rpartition(".")
        model: nn.Module = getattr(importlib.import_module(module), name)(**options)
        return model

    return Entry(make, shapes)


# transformers


def _pretrained(
    name: str, config: str, /, shapes: tuple[tuple[int, ...], ...] = PICTURE, **options: Any
) -> Entry:
    def make() -> nn.Module:
        package = importlib.import_module("transformers")
        given = dict(options)
        if "backbone_config" in given:
            kind, inside = given["backbone_config"]
            given["backbone_config"] = getattr(package, kind)(**inside)
        model: nn.Module = getattr(package, name)(getattr(package, config)(**given))
        return model

    return Entry(make, shapes)


_STAGES: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 48, 64]}
_LAYERS: dict[str, Any] = {
    "image_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64,
}  # fmt: skip
_SEGFORMER: dict[str, Any] = {
    "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 2, 2, 4],
    "decoder_hidden_size": 16,
}  # fmt: skip
_RESNET = {**_STAGES, "embedding_size": 16, "layer_type": "basic"}
_STAGES_OUT = [f"stage{i}" for i in (1, 2, 3, 4)]
_SWIN = {
    "embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "image_size": 64, "window_size": 4,
    "out_features": _STAGES_OUT,
}  # fmt: skip

TRANSFORMERS = {
    "resnet": _pretrained("ResNetForImageClassification", "ResNetConfig", **_RESNET),
    "regnet": _pretrained(
        "RegNetForImageClassification", "RegNetConfig", **_STAGES, embedding_size=16, groups_width=8
    ),
    "convnext": _pretrained("ConvNextForImageClassification", "ConvNextConfig", **_STAGES, image_size=64),
    "convnextv2": _pretrained(
        "ConvNextV2ForImageClassification", "ConvNextV2Config", **_STAGES, image_size=64
    ),
    "mobilevit": _pretrained("MobileViTForImageClassification", "MobileViTConfig", image_size=64),
    "mobilevitv2": _pretrained("MobileViTV2ForImageClassification", "MobileViTV2Config", image_size=64),
    "mobilenet_v1": _pretrained(
        "MobileNetV1ForImageClassification", "MobileNetV1Config", depth_multiplier=0.25, min_depth=8
    ),
    "mobilenet_v2": _pretrained(
        "MobileNetV2ForSemanticSegmentation", "MobileNetV2Config", depth_multiplier=0.35
    ),
    "efficientnet": _pretrained(
        "EfficientNetForImageClassification", "EfficientNetConfig",
        image_size=64, width_coefficient=0.3, depth_coefficient=0.3, hidden_dim=384,
    ),
    "poolformer": _pretrained(
        "PoolFormerForImageClassification", "PoolFormerConfig",
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
    ),
    "levit": _pretrained(
        "LevitForImageClassification", "LevitConfig",
        image_size=64, hidden_sizes=[16, 24, 32], num_attention_heads=[1, 1, 1], depths=[1, 1, 1],
        key_dim=[8, 8, 8],
    ),
    "swin": _pretrained(
        "SwinForImageClassification", "SwinConfig",
        embed_dim=12, depths=[2, 2], num_heads=[2, 2], image_size=64, window_size=4,
    ),
    "swinv2": _pretrained(
        "Swinv2ForImageClassification", "Swinv2Config",
        embed_dim=12, depths=[2, 2], num_heads=[2, 2], image_size=64, window_size=4,
    ),
    "segformer": _pretrained("SegformerForSemanticSegmentation", "SegformerConfig", **_SEGFORMER),
    "glpn": _pretrained("GLPNForDepthEstimation", "GLPNConfig", **_SEGFORMER),
    "vit": _pretrained("ViTForImageClassification", "ViTConfig", **_LAYERS),
    "deit": _pretrained("DeiTForImageClassificationWithTeacher", "DeiTConfig", **_LAYERS),
    "beit": _pretrained("BeitForImageClassification", "BeitConfig", **_LAYERS),
    "dinov2": _pretrained(
        "Dinov2ForImageClassification", "Dinov2Config", ((3, 56, 56),), **(_LAYERS | {"image_size": 56})
    ),
    "clip": _pretrained("CLIPVisionModel", "CLIPVisionConfig", **_LAYERS),
    "vit_mae": _pretrained(
        "ViTMAEForPreTraining", "ViTMAEConfig", **_LAYERS,
        decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
    ),
    "yolos": _pretrained(
        "YolosForObjectDetection", "YolosConfig",
        **(_LAYERS | {"image_size": [64, 64]}), num_detection_tokens=10,
    ),
    "timesformer": _pretrained(
        "TimesformerForVideoClassification", "TimesformerConfig", ((2, 3, 64, 64),), **_LAYERS, num_frames=2
    ),
    "dpt": _pretrained(
        "DPTForDepthEstimation", "DPTConfig", **(_LAYERS | {"num_hidden_layers": 4}),
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16,
    ),
    "upernet": _pretrained(
        "UperNetForSemanticSegmentation", "UperNetConfig", ((3, 96, 96),),
        backbone_config=("ConvNextConfig", {**_STAGES, "out_features": _STAGES_OUT}),
        backbone=None, hidden_size=32, auxiliary_in_channels=48, auxiliary_channels=16, num_labels=5,
    ),
    "detr": _pretrained(
        "DetrForObjectDetection", "DetrConfig",
        backbone_config=("ResNetConfig", {**_RESNET, "out_features": ["stage4"]}),
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, d_model=32, num_queries=10,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
    ),
    "rt_detr": _pretrained(
        "RTDetrForObjectDetection", "RTDetrConfig",
        backbone_config=("RTDetrResNetConfig", {**_RESNET, "out_features": _STAGES_OUT[1:]}),
        encoder_hidden_dim=32, encoder_in_channels=[32, 48, 64], encoder_ffn_dim=32, d_model=32,
        decoder_in_channels=[32, 32, 32], decoder_ffn_dim=32, num_queries=10, decoder_layers=1,
        decoder_attention_heads=2, encoder_attention_heads=2,
    ),
    "mask2former": _pretrained(
        "Mask2FormerForUniversalSegmentation", "Mask2FormerConfig",
        backbone_config=("SwinConfig", _SWIN), feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        dim_feedforward=32, num_queries=5, num_labels=4,
    ),
}  # fmt: skip

# diffusers

_BLOCKS: dict[str, Any] = {"block_out_channels": (32, 32), "layers_per_block": 1, "norm_num_groups": 8}
_AUTOENCODER = {
    **_BLOCKS, "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
}  # fmt: skip

DIFFUSERS = {
    "unet": _of(
        "diffusers.UNet2DModel", shapes=((3, 32, 32), ()), **_BLOCKS, sample_size=32, attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ),
    "unet_with_text": _of(
        "diffusers.UNet2DConditionModel", shapes=(*LATENT, (5, 16)), **_BLOCKS, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), cross_attention_dim=16,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "controlnet": _of(
        "diffusers.ControlNetModel", shapes=(*LATENT, (5, 16), (3, 64, 64)), **_BLOCKS, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), cross_attention_dim=16,
        conditioning_embedding_out_channels=(16, 32),
    ),
    "autoencoder": _of("diffusers.AutoencoderKL", **_AUTOENCODER),
    "autoencoder_tiny": _of("diffusers.AutoencoderTiny"),
    "vq": _of("diffusers.VQModel", **_AUTOENCODER, num_vq_embeddings=16),
}  # fmt: skip

# segmentation_models_pytorch

_DECODERS = (
    *("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet"),
    *("DeepLabV3", "DeepLabV3Plus", "UPerNet", "Segformer"),
)
_SMP = "segmentation_models_pytorch"

SEGMENTATION = {
    **{name: _of(f"{_SMP}.{name}", encoder_name="resnet18", encoder_weights=None) for name in _DECODERS},
    "PAN": _of(f"{_SMP}.PAN", shapes=((3, 128, 128),), encoder_name="resnet18", encoder_weights=None),
    "Unet_efficientnet": _of(f"{_SMP}.Unet", encoder_name="efficientnet-b0", encoder_weights=None),
    "FPN_timm": _of(f"{_SMP}.FPN", encoder_name="timm-efficientnet-b0", encoder_weights=None),
    "Unet_classes": _of(
        f"{_SMP}.Unet", encoder_name="mobilenet_v2", encoder_weights=None, decoder_attention_type="scse",
        aux_params={"classes": 4, "dropout": 0.2},
    ),
}  # fmt: skip

# ultralytics

_TASKS = {"seg": "Segmentation", "pose": "Pose", "cls": "Classification", "obb": "OBB"}


def _yolo(name: str) -> Entry:
    task = "RTDETRDetection" if "detr" in name else _TASKS.get(name.rpartition("-")[2], "Detection")
    return _of(f"ultralytics.nn.tasks.{task}Model", cfg=f"{name}.yaml", verbose=False)


ULTRALYTICS = {
    name: _yolo(name)
    for name in (
        *(
            "yolov3-tiny",
            "yolov5n",
            "yolov6n",
            "yolov8n",
            "yolov9t",
            "yolov10n",
            "yolo11n",
            "yolo12n",
            "yolo26n",
        ),
        *("yolov8n-seg", "yolov8n-pose", "yolov8n-cls", "yolo11n-obb", "rtdetr-l"),
    )
}

# monai

_net = partial(_of, shapes=SCAN, spatial_dims=2, in_channels=1, out_channels=2)
_NETS = "monai.networks.nets"

MONAI = {
    "unet": _net(f"{_NETS}.UNet", channels=(8, 16, 32), strides=(2, 2), num_res_units=1),
    "basic_unet": _net(f"{_NETS}.BasicUNet", features=(8, 8, 16, 16, 32, 8)),
    "basic_unet_plus_plus": _net(f"{_NETS}.BasicUNetPlusPlus", features=(8, 8, 16, 16, 32, 8)),
    "attention_unet": _net(f"{_NETS}.AttentionUnet", channels=(8, 16, 32), strides=(2, 2)),
    "dyn_unet": _net(
        f"{_NETS}.DynUNet", kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2],
        deep_supervision=True,
    ),
    "seg_resnet": _net(f"{_NETS}.SegResNet", init_filters=8),
    "vnet": _net(f"{_NETS}.VNet"),
    "high_res_net": _net(f"{_NETS}.HighResNet"),
    "densenet": _net(f"{_NETS}.DenseNet121", init_features=8, growth_rate=4),
    "swin_unetr": _net(f"{_NETS}.SwinUNETR", feature_size=12),
    "unetr": _net(f"{_NETS}.UNETR", img_size=64, feature_size=8, hidden_size=24, mlp_dim=32, num_heads=2),
}  # fmt: skip

ENTRIES: dict[str, dict[str, Entry]] = {
    "transformers": TRANSFORMERS,
    "diffusers": DIFFUSERS,
    "segmentation_models_pytorch": SEGMENTATION,
    "ultralytics": ULTRALYTICS,
    "monai": MONAI,
}
"""By library, then by a name of our own."""
