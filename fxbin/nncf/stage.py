"""NNCF's own word for a stage of training, and its place in pickles."""

from enum import IntEnum

ENUM_MODULE = "nncf.api.compression"
ENUM_NAME = "CompressionStage"


class CompressionStage(IntEnum):
    """Stands in for NNCF's enum of the same name, which its checkpoints pickle."""

    UNCOMPRESSED = 0
    PARTIALLY_COMPRESSED = 1
    FULLY_COMPRESSED = 2

    @classmethod
    def at(cls, *enabled: bool) -> "CompressionStage":
        """The stage with these kinds of binarizer enabled: all, some or none."""
        if all(enabled):
            return cls.FULLY_COMPRESSED
        return cls.PARTIALLY_COMPRESSED if any(enabled) else cls.UNCOMPRESSED
