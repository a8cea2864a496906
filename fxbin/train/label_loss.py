"""Cross entropy with the labels: the loss of the full-precision phase, and a part of that of the stages."""

import torch.nn.functional as F
from torch import Tensor


class LabelLoss:
    """Cross entropy with the labels, of which the share `smoothing` is spread over all classes.

    Forward:   mean over the batch of -sum_c q_c * log softmax(logits)_c, where q is
               (1 - smoothing) * onehot(label) + smoothing / classes
    Shapes:    logits ``(n, classes)``, labels ``(n,)``, to a scalar. Labels of mixed pictures are shares of
               the classes, ``(n, classes)``, in place of onehot(label).
    Source:    Szegedy et al. 2015, arXiv:1512.00567, section 7.

    `parts` is what the last loss consists of, detached: ``{"label": loss}``.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing
        self.parts: dict[str, Tensor] = {}

    def __call__(self, logits: Tensor, x: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002  (as any loss)
        """The loss of one batch: logits ``(n, classes)`` for the inputs x, and `labels`."""
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        self.parts = {"label": loss.detach()}
        return loss
