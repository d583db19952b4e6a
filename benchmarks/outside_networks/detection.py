"""Networks that find objects: ultralytics, torchvision's detectors as users call them, effdet."""

from __future__ import annotations

from .spec import Network, Noise, Uniform, call, image

_YOLO = {
    "DetectionModel": "yolov3-tiny yolov5n yolov6n yolov8n yolov8n-ghost yolov8n-p2 yolov9t "
    "yolov10n yolo11n yolo12n yolo26n",
    "SegmentationModel": "yolov8n-seg yolo11n-seg yolo26n-seg",
    "PoseModel": "yolov8n-pose yolo11n-pose",
    "OBBModel": "yolo11n-obb",
    "ClassificationModel": "yolov8n-cls yolo11n-cls",
    "RTDETRDetectionModel": "rtdetr-l",
}

ULTRALYTICS = [
    Network(
        "ultralytics",
        name,
        call(f"ultralytics.nn.tasks:{kind}", f"{name}.yaml", verbose=False),
        Uniform((1, 3, 64, 64)),
    )
    for kind, names in _YOLO.items()
    for name in names.split()
]

_BOXES = "boxes are chosen by value"


def _detector(name: str, side: int, **options: object) -> Network:
    build = call(
        f"torchvision.models.detection:{name}",
        weights=None,
        weights_backbone=None,
        num_classes=5,
        **options,
    )
    return Network(
        "torchvision-detection", name, build, ([Uniform((3, side, side))],), by_value=_BOXES
    )


_SMALL = {"min_size": 64, "max_size": 64}
_TWO_STAGES = {"box_score_thresh": 0.0, "rpn_post_nms_top_n_test": 20, **_SMALL}
_ALL_LAYERS = {"trainable_backbone_layers": 5}

TORCHVISION = [
    _detector(
        "fasterrcnn_mobilenet_v3_large_320_fpn", 64, trainable_backbone_layers=6, **_TWO_STAGES
    ),
    _detector("fasterrcnn_mobilenet_v3_large_fpn", 64, trainable_backbone_layers=6, **_TWO_STAGES),
    _detector("fasterrcnn_resnet50_fpn", 64, **_ALL_LAYERS, **_TWO_STAGES),
    _detector("fasterrcnn_resnet50_fpn_v2", 64, **_ALL_LAYERS, **_TWO_STAGES),
    _detector("maskrcnn_resnet50_fpn", 64, **_ALL_LAYERS, **_TWO_STAGES),
    _detector("keypointrcnn_resnet50_fpn", 64, **_ALL_LAYERS, **_TWO_STAGES),
    _detector("retinanet_resnet50_fpn", 64, score_thresh=0.0, **_ALL_LAYERS, **_SMALL),
    _detector("fcos_resnet50_fpn", 64, score_thresh=0.0, **_ALL_LAYERS, **_SMALL),
    _detector("ssd300_vgg16", 300, score_thresh=0.0, **_ALL_LAYERS),
    _detector("ssdlite320_mobilenet_v3_large", 320, score_thresh=0.0, trainable_backbone_layers=6),
    *(
        Network(
            "torchvision-flow",
            name,
            call(f"torchvision.models.optical_flow:{name}", weights=None),
            (image(128), image(128), 2),
        )
        for name in ("raft_small", "raft_large")
    ),
]

EFFDET = [
    Network(
        "effdet",
        name,
        call("effdet:create_model", name, pretrained_backbone=False, image_size=(128, 128)),
        image(128),
    )
    for name in ("efficientdet_d0", "efficientdet_lite0", "cspresdet50")
]

EASYOCR = [
    Network("easyocr", "CRAFT", call("easyocr.craft:CRAFT"), image(64)),
    Network(
        "easyocr",
        "recognition_vgg",
        call("easyocr.model.vgg_model:Model", 1, 256, 256, 97),
        (Noise((1, 1, 64, 128)), ""),
    ),
    Network(
        "easyocr",
        "recognition_resnet",
        call("easyocr.model.model:Model", 1, 512, 512, 97),
        (Noise((1, 1, 64, 128)), ""),
    ),
]

NETWORKS = [*ULTRALYTICS, *TORCHVISION, *EFFDET, *EASYOCR]
