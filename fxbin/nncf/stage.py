"""NNCF's enum for the stage of training, and its name in pickles."""

from enum import IntEnum

ENUM_MODULE = "nncf.api.compression"
"""Module of NNCF's enum."""

ENUM_NAME = "CompressionStage"
"""Name of NNCF's enum."""


class CompressionStage(IntEnum):
    """Copy of NNCF's enum of the same name, which its checkpoints pickle."""

    UNCOMPRESSED = 0
    PARTIALLY_COMPRESSED = 1
    FULLY_COMPRESSED = 2

    @classmethod
    def at(cls, *enabled: bool) -> "CompressionStage":
        """The stage for `enabled`, a flag for each kind of binarizer: all on, some, or none."""
        if all(enabled):
            return cls.FULLY_COMPRESSED
        return cls.PARTIALLY_COMPRESSED if any(enabled) else cls.UNCOMPRESSED
