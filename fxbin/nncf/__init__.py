"""Checkpoints of NNCF 2.x binarization, read and written without NNCF."""

from fxbin.nncf.load import load_nncf_checkpoint
from fxbin.nncf.report import NNCFCheckpointReport
from fxbin.nncf.save import save_nncf_checkpoint

__all__ = ["NNCFCheckpointReport", "load_nncf_checkpoint", "save_nncf_checkpoint"]
