"""Keys of NNCF and of its sample scripts that are accepted and have no effect here."""

from typing import Annotated, Any

from pydantic import JsonValue

from fxbin.config.value_types import NotNull, Section, Text

Unused = Annotated[JsonValue, NotNull]


class UnusedKeys(Section):
    """Accepted so that a config written for NNCF loads as it stands; `Config.notes` names those present.

    Any other unknown key is an error. What the keys meant is said in terms of NNCF 2.9 and its
    `examples/torch`.
    """

    has_effect = False

    log_dir: Text = "."
    """Folder of graph dumps; `fxbin graph` and `to_dot` write to the file that you name."""

    accuracy_aware_training: Unused = None
    """Training loops that NNCF never ran for binarization."""

    disable_shape_matching: Unused = None
    """Deprecated and ignored in NNCF too."""

    scopes_without_shape_matching: Unused = None
    """How NNCF told two runs of one operator apart."""

    aux_loss: Unused = None
    """Weight of auxiliary heads."""

    augmentations: Unused = None
    """Data augmentation of the detection and segmentation samples; see `augmentation`."""

    basenet: Unused = None
    """Weights of a detection backbone."""

    batch_size_init: Unused = None
    """Batch size of an initialization that binarization does not have."""

    batch_size_val: Unused = None
    """Batch size of validation."""

    checkpoint_save_dir: Unused = None
    """Where checkpoints went; here `--output` says it."""

    cpu_only: Unused = None
    """See `device`."""

    dataset: Unused = None
    """Name of a data set; see `data`."""

    dataset_dir: Unused = None
    """Folder of the data set; see `data_dir`."""

    disable_compression: Unused = None
    """Training without any compression."""

    dist_backend: Unused = None
    """Distributed training."""

    dist_url: Unused = None
    """Distributed training."""

    eval_only: Unused = None
    """Evaluation instead of training."""

    export_model_path: Unused = None
    """Where the export went; see `fxbin export`."""

    export_to_ir_via_onnx: Unused = None
    """How the export was made; here it is always one ONNX file."""

    gpu_id: Unused = None
    """See `device`."""

    ignore_unlabeled: Unused = None
    """Segmentation: whether pixels without a label count."""

    imshow_batch: Unused = None
    """Showing training pictures in a window."""

    intermediate_checkpoints_path: Unused = None
    """Where checkpoints of a precision search went."""

    loss_inference: Unused = None
    """Detection: whether to compute the loss in evaluation."""

    metrics_dump: Unused = None
    """Where metrics went; here `report.json`."""

    mixed_precision: Unused = None
    """Automatic mixed precision."""

    multiprocessing_distributed: Unused = None
    """Distributed training."""

    no_strip_on_export: Unused = None
    """Whether the export kept NNCF's own operators; binarizers are always exported here."""

    preprocessing: Unused = None
    """How pictures are normalized."""

    print_freq: Unused = None
    """Batches between two lines of output."""

    print_step: Unused = None
    """Whether to print the loss of each step."""

    rank: Unused = None
    """Distributed training."""

    resuming_checkpoint_path: Unused = None
    """What to resume; `fxbin train` resumes what it finds in `--output`."""

    save_freq: Unused = None
    """Epochs between two checkpoints; here each epoch has one."""

    ssd_params: Unused = None
    """Detection heads."""

    start_epoch: Unused = None
    """First epoch; a resumed run knows its own."""

    test_anno: Unused = None
    """Detection: annotations of the test set."""

    test_every_n_epochs: Unused = None
    """Epochs between two evaluations; here each epoch has one."""

    test_imgs: Unused = None
    """Detection: pictures of the test set."""

    test_interval: Unused = None
    """Iterations between two evaluations."""

    to_onnx: Unused = None
    """Where the export went; see `fxbin export`."""

    train_anno: Unused = None
    """Detection: annotations of the training set."""

    train_imgs: Unused = None
    """Detection: pictures of the training set."""

    weighing: Unused = None
    """Segmentation: class weights."""

    weights: Unused = None
    """A file with the full-precision weights to start from."""

    world_size: Unused = None
    """Distributed training."""

    def unused(self) -> dict[str, Any]:
        """The keys of this class that the config really has, with their values."""
        return {key: getattr(self, key) for key in UnusedKeys.model_fields if key in self.model_fields_set}
