"""The base class of what rewrites add to a network."""

from torch import nn


class AddedLayer(nn.Module):
    """A layer that the original does not have, beside the convolution for which a rewrite has added it.

    The code of the model does not know it: only graphs call it, or what is in it.
    """
