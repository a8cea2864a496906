"""Stores two-level weights in an ONNX file with one bit each, and unpacks them again."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

TABLE_NAME = "fxbin.signs_of_byte"


def pack_signs(weight: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Pack the signs of `weight`, one bit per value, set where it is above 0.

    Values are in C order, the first one in the highest bit; the last byte is filled up with zero bits.
    """
    return np.packbits((weight > 0).reshape(-1))


def sign_table(dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Return a table ``(256, 8)`` with the eight values, -1 or 1, of each byte."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return bits.astype(dtype) * 2 - 1


class PackedWeights:
    """Creates the packed weights of one file, which share a table."""

    def __init__(self) -> None:
        self.initializers: dict[str, onnx.TensorProto] = {}
        """The packed weights and constants to add to the file, by name."""

    def unpack_nodes(self, name: str, weight: NDArray[np.floating]) -> list["onnx.NodeProto"]:
        """Create the nodes that compute the signs of `weight`, -1 or 1, as the value `name`.

            bytes -> Cast -> Gather from the table -> (Slice to remove the fill) -> Reshape

        They use a table because OpenVINO cannot unpack bits with BitShift. OpenVINO and onnxruntime both run
        these nodes once, when they load the file.
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
