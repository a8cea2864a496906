"""fxbin.lightning with Lightning's strategy for several processes."""

import os
import warnings

import torch
from torch import Tensor, distributed

from tests.conftest import TORCHVISION_OPERATORS
from tests.distributed.two_ranks import TwoRanks

OPERATORS = TORCHVISION_OPERATORS
"""Here, as Lightning imports torchvision in each of the processes."""


def fit() -> dict[str, Tensor]:
    warnings.simplefilter("ignore")
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    from fxbin.lightning import StagedBinarization
    from tests.lightning_module import Classifier, loader, trainer

    rank = str(distributed.get_rank())
    os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", GROUP_RANK="0")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    module = Classifier()
    run = trainer(
        StagedBinarization(),
        devices=2,
        strategy="ddp",
        plugins=[TorchElasticEnvironment()],
    )
    run.fit(module, loader(batch_size=2))
    return module.state_dict()


def test_two_processes_stay_in_step_through_all_stages(two_ranks: TwoRanks) -> None:
    one, other = two_ranks(fit)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert one["net.3.activation_binarizer.enabled"].item() == 1
    assert one["net.3.activation_binarizer.scale"].item() != 0
