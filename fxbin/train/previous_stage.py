"""A teacher that follows the stages: the network as it was at the end of the previous one."""

import copy

from torch import Tensor, nn

from fxbin.binarized.module import BinarizedModule
from fxbin.binarized.unwrap import transformed, unwrapped


class PreviousStage(nn.Module):
    """The network that a model in staged training was at the end of the previous stage, as its teacher.

        teacher = PreviousStage(binarized)  # once the schedule has its state, if training is resumed
        loss = DistillationLoss(teacher)
        ...
                optimizer.step()
                schedule.step((i + 1) / len(loader))
                teacher.update()

    Until the first switch, it is the network that it was made from; while only activations are binarized, the
    last full-precision network; once weights are binarized as well, the last network with binarized
    activations and real weights. `update` takes a copy of the model if a binarizer was switched since the
    last call, and switches the copy back, so call it after each `start_epoch` and `step` of the schedule: the
    weights are still those from before the switch then. The decay of the learning rate switches nothing.

    Its `state_dict` is that of `network`, each key with the prefix ``network.``.

    Errors: TransformError if the model was not transformed.
    Source: Martinez et al. 2020 (Real-to-Binary), arXiv:2003.11535, "progressive teacher-student".
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        student = transformed(unwrapped(model), "PreviousStage")
        self.network: BinarizedModule = copy.deepcopy(student)
        self._student = (student,)  # in a tuple: it is no part of this module
        self._enabled = student.binarization.enabled
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of the network of the previous stage."""
        y: Tensor = self.network(x)
        return y

    def update(self) -> None:
        """Become the network from before the switch, if binarizers were switched since the last call."""
        (student,) = self._student
        enabled = student.binarization.enabled
        if enabled == self._enabled:
            return
        self.network.load_state_dict(student.state_dict())
        for site, (activations, weights) in self._enabled.items():
            self.network.binarization.enable(activations=activations, weights=weights, sites=[site])
        self._enabled = enabled
