"""fxbin.lightning with the real package."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.testing import assert_close

import fxbin
from fxbin.errors import CheckpointError, ConfigError, TransformError
from fxbin.lightning import FinalCheckpoint, StagedBinarization
from tests.lightning_module import BATCHES, Classifier, loader, trainer

pytestmark = pytest.mark.filterwarnings("ignore")


def own_loop(accumulate: int = 1) -> tuple[Classifier, list[float]]:
    """The same training without Lightning."""
    module = Classifier()
    optimizer = module.configure_optimizers()
    schedule = fxbin.StagedSchedule(module.net, optimizer)
    rates = []
    for epoch in range(4):
        schedule.start_epoch(epoch)
        for index, (x, y) in enumerate(loader()):
            rates.append(optimizer.param_groups[0]["lr"])
            (nn.functional.cross_entropy(module.net(x), y) / accumulate).backward()
            if (index + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
                schedule.step((index + 1) / BATCHES)
    return module, rates


@pytest.mark.parametrize("accumulate", [1, 3])
def test_it_trains_as_a_loop_of_ones_own(accumulate: int) -> None:
    callback, module = StagedBinarization(), Classifier()
    trainer(callback, accumulate_grad_batches=accumulate).fit(module, loader(), loader())
    expected, rates = own_loop(accumulate)
    assert_close(module.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert module.rates == rates
    stages = ["full precision", "activations", *["activations and weights"] * 2]
    assert module.trained_in == [stage for stage in stages for _ in range(BATCHES)]
    assert callback.stage == "learning rate falls"
    # The first two are the sanity check, before the training.
    assert module.validated_in[2:] == module.trained_in


def test_what_the_user_keeps_from_ddp_stays_so() -> None:
    module = Classifier()
    vars(module)["_ddp_params_and_buffers_to_ignore"] = ["head.weight"]
    StagedBinarization().setup(trainer(StagedBinarization()), module, "fit")
    ignored = vars(module)["_ddp_params_and_buffers_to_ignore"]
    assert ignored[0] == "head.weight"
    assert [name for name in ignored if "activation_binarizer" in name]


SCALE = "6.activation_binarizer.scale"


class SeesWhatIsValidated(Classifier):
    """Keeps, of each validation, the state and the logits of its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[dict[str, Tensor], Tensor]] = []
        self.scales: list[float] = []

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = super().training_step(batch, index)
        if self.net.binarization.stage != fxbin.Stage.FULL_PRECISION:
            self.scales.append(self.net.get_parameter(SCALE).item())
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        super().validation_step(batch, index)
        if index == 0:
            state = {name: value.clone() for name, value in self.net.state_dict().items()}
            self.seen.append((state, self.net(batch[0])))


def with_flags(state: dict[str, Tensor], flags: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {
        name: flags[name] for name in state if name.endswith(("_binarizer.enabled", "scale_initialized"))
    }


@pytest.mark.parametrize("use_buffers", [True, False])
def test_average_of_weights_is_validated_and_saved_in_the_stage_of_the_model(
    tmp_path: Path, use_buffers: bool
) -> None:
    torch.manual_seed(0)
    module, reference = SeesWhatIsValidated(), Classifier().net.eval()
    on = {name: torch.ones(1) for name in reference.state_dict()}
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning averages no weights yet")
    average = callbacks.EMAWeightAveraging(decay=0.9, use_buffers=use_buffers)
    saver = ModelCheckpoint(tmp_path, "last")
    trainer(StagedBinarization(), average, saver, enable_checkpointing=True).fit(module, loader(), loader())
    assert module.validated_in[2:] == module.trained_in
    x, _ = next(iter(loader()))
    # Of the four validations the last two have all binarizers on.
    for state, logits in module.seen[-2:]:
        # An average with what stood there before scales started would be nearer to 0.
        scale = state[SCALE].item()
        assert min(module.scales) - 0.02 < scale < max(module.scales) + 0.02 < 0
        reference.load_state_dict(with_flags(state, on))
        assert_close(logits, reference(x), rtol=0, atol=0)
    loaded = Classifier()
    loaded.load_state_dict(torch.load(tmp_path / "last.ckpt", weights_only=False)["state_dict"])
    assert set(loaded.net.binarization.enabled.values()) == {(True, True)}
    assert_close(loaded.net.eval()(x), module.seen[-1][1], rtol=0, atol=0)


class ByIndex(Classifier):
    """Lightning starts a plain loader from its beginning in the middle of an epoch: not the same data."""

    def training_step(self, _batch: Any, index: int) -> Tensor:
        return super().training_step(list(loader())[index], index)


@pytest.mark.parametrize("stop", [2, 6, 9, 14, 18, 20])
def test_a_checkpoint_from_anywhere_goes_on_to_the_same_weights(tmp_path: Path, stop: int) -> None:
    whole = ByIndex()
    trainer(StagedBinarization()).fit(whole, loader())
    saver = ModelCheckpoint(tmp_path, "stopped", every_n_train_steps=stop)
    trainer(StagedBinarization(), saver, max_steps=stop, enable_checkpointing=True).fit(ByIndex(), loader())
    resumed = ByIndex()
    trainer(StagedBinarization()).fit(resumed, loader(), ckpt_path=tmp_path / "stopped.ckpt")
    assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert resumed.rates == whole.rates[stop:]


class TwoOptimizers(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.critic = nn.Linear(2, 2)

    def training_step(self, batch: Any, _index: int) -> None:  # type: ignore[override]
        optimizers: Any = self.optimizers()
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self) -> Any:
        parts = [self.net.get_submodule("0"), self.net.get_submodule("8"), self.critic]
        return [
            torch.optim.SGD(part.parameters(), lr=rate) for part, rate in zip(parts, (1, 2, 3), strict=True)
        ]


def test_every_optimizer_of_the_model_is_scheduled_and_no_other() -> None:
    callback, module = StagedBinarization(), TwoOptimizers()
    run = trainer(callback)
    run.fit(module, loader())
    rates = [optimizer.param_groups[0]["lr"] for optimizer in run.optimizers]
    assert callback.schedule is not None
    assert callback.schedule.get_last_lr() == rates[:2]
    assert rates[0] < 1
    assert rates[1] == pytest.approx(2 * rates[0])
    assert rates[2] == 3


class Plain(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential()  # type: ignore[assignment]


class Others(Classifier):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Plain, r"Plain: expected one model that fxbin\.transform returned in it, found 0\. Transform in"),
        (Others, r"Others\.configure_optimizers: no optimizer has parameters of the model"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(module: type[Classifier], message: str) -> None:
    with pytest.raises(TransformError, match=message):
        trainer(StagedBinarization()).fit(module(), loader())


def test_a_loader_without_length_needs_a_limit() -> None:
    batches = (batch for batch in loader())
    with pytest.raises(ConfigError, match=r"limit_train_batches: .* no length"):
        trainer(StagedBinarization(), max_epochs=1).fit(Classifier(), batches)


def test_without_lightning_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['lightning'] = None; import fxbin.lightning"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "fxbin.lightning needs Lightning: `pip install 'fxbin[lightning]'`" in done.stderr


class WorseEachEpoch(Classifier):
    def on_validation_epoch_end(self) -> None:
        self.log("accuracy", 1.0 - 0.1 * self.current_epoch)


def test_the_best_checkpoint_is_the_best_of_the_final_network(tmp_path: Path) -> None:
    best = FinalCheckpoint(tmp_path / "final", monitor="accuracy", mode="max")
    usual = ModelCheckpoint(tmp_path / "usual", monitor="accuracy", mode="max")
    callback = StagedBinarization()
    was_final = callback.is_final
    run = trainer(callback, best, usual, enable_checkpointing=True)
    run.fit(WorseEachEpoch(), loader(), loader())
    assert (was_final, callback.is_final) == (False, True)
    # Epoch 0 is in full precision, epoch 1 has binarized activations alone.
    assert Path(best.best_model_path).name.startswith("epoch=2-")
    assert Path(usual.best_model_path).name.startswith("epoch=0-")
    module = Classifier()
    module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    assert module.net.binarization.stage == "activations and weights"


def test_the_best_of_the_final_network_needs_a_monitor_and_the_stages(tmp_path: Path) -> None:
    best = FinalCheckpoint(tmp_path, monitor="accuracy")
    with pytest.raises(ConfigError, match="the Trainer has no StagedBinarization"):
        trainer(best, enable_checkpointing=True).fit(WorseEachEpoch(), loader(), loader())
    with pytest.raises(ConfigError, match="monitor: expected the name of what is logged, got None"):
        trainer(StagedBinarization(), FinalCheckpoint(tmp_path), enable_checkpointing=True).fit(
            Classifier(), loader()
        )


def test_a_checkpoint_without_the_state_of_the_schedule_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"has the keys \['other'\], expected .schedule.: it was"):
        StagedBinarization().load_state_dict({"other": 1})
