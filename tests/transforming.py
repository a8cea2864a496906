"""A small model, a config for it, and what it means to give the same outputs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def config(*shape: int, **section: Any) -> dict[str, Any]:
    return {
        "input_info": {"sample_size": list(shape)},
        "compression": {"algorithm": "binarization", "mode": "xnor", **section},
    }


class Small(nn.Module):
    """Convolution, normalization, shortcut, dropout and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)
        self.threshold = 0.25

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv1(x)))
        x = x + self.conv2(x)
        y: Tensor = self.fc(self.dropout(x.mean((2, 3))))
        return y


SMALL = config(2, 3, 8, 8)


def assert_same_outputs(model: nn.Module, binarized: nn.Module, *inputs: Tensor) -> None:
    """Bit for bit, in train mode (random state, running statistics and gradients too), then in eval mode."""
    for training in (True, False):
        model.train(training)
        binarized.train(training)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            expected, state = model(*inputs), torch.get_rng_state()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            found = binarized(*inputs)
            assert torch.equal(torch.get_rng_state(), state)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    ours = binarized.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(ours[name], value), name


def freeze_batch_norm(model: nn.Module) -> None:
    """Put the BatchNorm layers of `model` into eval mode, as people do who fine-tune."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
