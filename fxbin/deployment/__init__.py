"""Deployed models: modules for inference, with weights packed into bits for the 1-bit engine."""

from fxbin.deployment.deployed_module import DeployedModule, DeployedSite, Int8Site
from fxbin.deployment.packed_conv2d import PackedConv2d
from fxbin.deployment.pipeline import deploy
from fxbin.deployment.plan import plan_deployment

__all__ = ["DeployedModule", "DeployedSite", "Int8Site", "PackedConv2d", "deploy", "plan_deployment"]
