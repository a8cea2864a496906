"""Weights with two levels, one bit each: how they are stored in an ONNX file and unpacked again."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

TABLE_NAME = "fxbin.signs_of_byte"


def pack_signs(weight: NDArray[np.floating]) -> NDArray[np.uint8]:
    """One bit a value, set where it is above 0, in C order, the first value in the highest bit.

    The last byte is filled up with zero bits.
    """
    return np.packbits((weight > 0).reshape(-1))


def sign_table(dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """``(256, 8)``: the eight values, -1 or 1, that each byte stands for."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return bits.astype(dtype) * 2 - 1


class PackedWeights:
    """Turns float weights into packed ones; all of a file share one table."""

    def __init__(self) -> None:
        self.initializers: dict[str, onnx.TensorProto] = {}

    def unpack_nodes(self, name: str, weight: NDArray[np.floating]) -> list["onnx.NodeProto"]:
        """Nodes that compute the signs of `weight`, -1 or 1, into the value `name`.

            bytes -> Cast -> Gather from the table -> (Slice off the filling) -> Reshape

        Looked up, as OpenVINO cannot unpack with BitShift; both it and onnxruntime do all of this
        once, when they load the file.
        """
        from onnx import TensorProto, helper

        table = f"{TABLE_NAME}.{weight.dtype}"
        self._add(table, sign_table(weight.dtype))
        packed = self._add(f"{name}.bits", pack_signs(weight))
        shape = self._add(f"{name}.shape", np.array(weight.shape, np.int64))
        rows = f"{name}.rows"
        nodes = [
            helper.make_node("Cast", [packed], [f"{name}.indices"], to=TensorProto.INT32),
            helper.make_node("Gather", [table, f"{name}.indices"], [rows], axis=0),
        ]
        if weight.size % 8:
            flat = self._add("fxbin.flat", np.array([-1], np.int64))
            start = self._add("fxbin.start", np.array([0], np.int64))
            size = self._add(f"{name}.size", np.array([weight.size], np.int64))
            nodes += [
                helper.make_node("Reshape", [rows, flat], [f"{name}.filled"]),
                helper.make_node("Slice", [f"{name}.filled", start, size], [f"{name}.values"]),
            ]
            rows = f"{name}.values"
        return [*nodes, helper.make_node("Reshape", [rows, shape], [name])]

    def _add(self, name: str, value: NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name
