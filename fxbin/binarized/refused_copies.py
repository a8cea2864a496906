"""Refuses ways to copy or save a transformed model that would lose its graphs or binarizers."""

from typing import NoReturn, SupportsIndex

from torch import nn

from fxbin.errors import TransformError


class RefusesCopies(nn.Module):
    """A module that DataParallel, pickle, torch.jit.script and copy.copy refuse, with what to do instead."""

    def _replicate_for_data_parallel(self) -> NoReturn:
        raise TransformError(
            f"DataParallel: replicas of {type(self).__name__} would lose what its binarizers learn and what "
            "is switched on; use DistributedDataParallel"
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TransformError(
            f"pickle: the code of a transformed {type(self).__name__} is made in this process and cannot be "
            "saved. Save model.state_dict() and load it into fxbin.transform(...) of the original model"
        )

    def __prepare_scriptable__(self) -> NoReturn:
        raise TransformError(
            f"torch.jit.script: TorchScript cannot compile the code of a transformed {type(self).__name__}. "
            "torch.jit.trace(model.eval(), inputs) makes a program of it, and fxbin.export_onnx a file"
        )

    def __copy__(self) -> NoReturn:
        raise TransformError(
            f"copy.copy: a second {type(self).__name__} cannot run on the modules of the first; use "
            "copy.deepcopy"
        )
