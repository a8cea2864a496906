import gzip
import struct
from pathlib import Path

import pytest
import torch

from fxbin.errors import DataError
from fxbin.train.data.idx import read_idx


def write(path: Path, header: bytes, body: bytes) -> Path:
    path.write_bytes(gzip.compress(header + body))
    return path


def test_images_keep_row_major_order(tmp_path: Path) -> None:
    path = write(tmp_path / "images.gz", struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 2, 3), bytes(range(12)))
    images = read_idx(path)
    assert images.dtype == torch.uint8
    assert images.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        (b"\1\0\x08\1" + struct.pack(">I", 1), b"a", "is not an IDX file: it starts with 01 00 08 01"),
        (b"\0\0\x0d\1" + struct.pack(">I", 1), b"abcd", "IDX type 0x0d, expected 0x08"),
        (b"\0\0\x08\1" + struct.pack(">I", 3), b"ab", r"announces shape \(3,\) but holds 2 elements"),
        (b"\0\0\x08\3\0\0", b"", "ends inside its header"),
        (b"", b"", "is not an IDX file"),
    ],
)
def test_a_malformed_file_says_what_is_wrong(
    tmp_path: Path, header: bytes, body: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_idx(write(tmp_path / "bad.gz", header, body))


def test_a_file_that_is_not_complete_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(bytes(1000))[:-12])
    with pytest.raises(DataError, match=r"cut\.gz is not a complete gzip file"):
        read_idx(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.gz does not exist"):
        read_idx(tmp_path / "none.gz")
