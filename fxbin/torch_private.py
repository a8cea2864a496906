"""What fxbin uses of PyTorch and other libraries without their promise: private names, and texts of messages.

A private name may go in any release, and a message may get other words. They are here and in no other file,
each with why fxbin needs it and what would replace it; `tests/test_torch_private.py` fails by name where a
release lacks one. Other files take names from the module where they need them::

    from fxbin import torch_private

    if torch_private.has_transforms(): ...

Such a name is looked up in its library when it is first used, and is then an attribute of this module: it
costs what it costs in the library, and a release that lacks it breaks what uses it, not ``import fxbin``.
Constants, and functions that give an attribute of an object, are there from the start and can be imported.
"""

import sys
from dataclasses import dataclass
from operator import attrgetter
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # classes that fxbin derives from, or names in annotations
    import pickle

    from torch.nn.modules import batchnorm
    from torch.utils import _python_dispatch

    BatchNorm = batchnorm._BatchNorm
    PythonPickler = pickle._Pickler
    TorchDispatchMode = _python_dispatch.TorchDispatchMode


@dataclass(frozen=True)
class Private:
    """A private name, or several that are used together."""

    home: str
    """Where it is: ``"torch.nn"``; for what a class or its objects have, ``"torch.nn:Module"``."""

    names: str
    """The name; several are separated by blanks."""

    why: str
    """What fxbin needs it for."""

    instead: str
    """What would replace it."""

    def find(self) -> Any:
        """The object of that name. Raises AttributeError, with what to do, if there is none."""
        try:
            return getattr(resolve_name(self.home), self.names)
        except (AttributeError, ImportError) as error:
            library = self.home.partition(".")[0]
            version = getattr(sys.modules.get(library), "__version__", "")
            raise AttributeError(
                f"{library} {version} has no {self.home}.{self.names}, which fxbin needs {self.why}: "
                f"install a version of {library} that fxbin is tested with, and report this"
            ) from error


_ASK_TORCH = "nothing public; it takes a request to PyTorch"

NAMES = {
    # Who looks on while operators run.
    "has_transforms": Private(
        "torch._C",
        "_are_functorch_transforms_active",
        "to leave numbers alone inside torch.func, where tensors have none",
        _ASK_TORCH,
    ),
    "interpreter_stack": Private(
        "torch._C._functorch", "get_interpreter_stack", "to refuse a gradient of a gradient", _ASK_TORCH
    ),
    "TransformType": Private(
        "torch._C._functorch", "TransformType", "to tell gradients from batches in that stack", _ASK_TORCH
    ),
    "is_wrapped": Private(
        "torch._C._functorch",
        "is_functorch_wrapped_tensor",
        "to read a flag that torch.func has wrapped",
        "flags that are no buffers",
    ),
    "unwrapped": Private(
        "torch._C._functorch", "get_unwrapped", "to read a flag that torch.func has wrapped", "as above"
    ),
    "WithoutTransforms": Private(
        "torch._C",
        "_DisableFuncTorch",
        "to read a flag inside torch.func, which in torch 2.9 wraps what is read",
        "nothing from 2.10 on",
    ),
    "tracing_state": Private(
        "torch._C",
        "_get_tracing_state",
        "to see at each forward, in the least of time, that torch.jit.trace does not look on",
        "torch.jit.is_tracing(), three times as slow",
    ),
    "set_tracing_state": Private(
        "torch._C",
        "_set_tracing_state",
        "to read a flag in torch.jit.trace without a warning and a node for it",
        "a read with both",
    ),
    "count_dispatch_modes": Private(
        "torch._C",
        "_len_torch_dispatch_stack",
        "to leave numbers alone under fake tensors, make_fx and the like",
        _ASK_TORCH,
    ),
    "without_dispatch_modes": Private(
        "torch.utils._python_dispatch",
        "_disable_current_modes",
        "to read a flag under fake tensors, make_fx and the like",
        "flags that are no buffers",
    ),
    "TorchDispatchMode": Private(
        "torch.utils._python_dispatch",
        "TorchDispatchMode",
        "to see what the train() of a model writes into weights; documented, in a private module",
        "a copy of all weights for each trace",
    ),
    "WithoutTorchFunction": Private(
        "torch._C",
        "DisableTorchFunction",
        "to run operators on traced tensors without recording them",
        "torch._C.DisableTorchFunctionSubclass, documented, and modes that are left",
    ),
    # Autograd.
    "graph_task_id": Private(
        "torch._C",
        "_current_graph_task_id",
        "to tell a forward that activation checkpointing repeats in a backward from a new batch",
        _ASK_TORCH,
    ),
    "queue_callback": Private(
        "torch.autograd:Variable._execution_engine",
        "queue_callback",
        "to average gradients over ranks when a backward is over; DistributedDataParallel does so with it",
        "a method that users call after each backward",
    ),
    # torch.compile.
    "compiler_callback": Private(
        "torch._C._dynamo.eval_frame",
        "get_eval_frame_callback",
        "to see that a call of a model is about to be compiled, and start scales eagerly before",
        "no eager start: one more compilation for each stage",
    ),
    "set_code_strategy": Private(
        "torch._C._dynamo.eval_frame",
        "set_code_exec_strategy",
        "to keep torch.compile out of that start, and not out of what it calls",
        "torch.compiler.disable(recursive=False), which loads the compiler and stops one that looks inside",
    ),
    "CodeStrategy": Private(
        "torch._C._dynamo.eval_frame", "_FrameExecStrategy", "to say so, see set_code_strategy", "as above"
    ),
    "CodeAction": Private(
        "torch._C._dynamo.eval_frame", "_FrameAction", "to say so, see set_code_strategy", "as above"
    ),
    # Regions, as a graph switches them.
    "enter_autocast": Private(
        "torch.amp.autocast_mode",
        "_enter_autocast",
        "to enter torch.autocast in a graph; torch.export has it in its graphs",
        "a function of fxbin's own that calls __enter__",
    ),
    "exit_autocast": Private(
        "torch.amp.autocast_mode", "_exit_autocast", "to leave it again", "as above, for __exit__"
    ),
    # Layers, operators and containers.
    "check_tensor_all": Private(
        "torch", "_check_tensor_all", "to try whether it comes to a stand-in of fxbin", "no such check"
    ),
    "has_any_global_hook": Private(
        "torch.nn.modules.module",
        "_has_any_global_hook",
        "to call modules where hooks for all modules would see a graph go past them",
        _ASK_TORCH,
    ),
    "ConvNd": Private(
        "torch.nn.modules.conv",
        "_ConvNd",
        "to know convolutions, also of users who derive their own from it",
        "the six classes of torch.nn, without those of users",
    ),
    "BatchNorm": Private(
        "torch.nn.modules.batchnorm",
        "_BatchNorm",
        "to know batch norms, also of users who derive their own from it",
        "the four classes of torch.nn, without those of users",
    ),
    "OperatorNames": Private(
        "torch._C",
        "_VariableFunctions",
        "to know which functions of torch are operators, to record their calls",
        "a list of fxbin's own",
    ),
    "foreach_norm": Private(
        "torch",
        "_foreach_norm",
        "to have the norms of all gradients in a launch or two on a GPU",
        "torch.linalg.vector_norm, a launch for each",
    ),
    "pytree": Private(
        "torch.utils",
        "_pytree",
        "to go through inputs and outputs in the order of torch.export, whose names and files have it",
        "fxbin.graph.containers, which sorts no keys and knows no classes that users have registered",
    ),
    # Other libraries.
    "PythonPickler": Private(
        "pickle",
        "_Pickler",
        "to write a class of NNCF by its name, without NNCF: the pickler in C lets nobody do so",
        "bytes written by fxbin itself",
    ),
    "pytorchcv_models": Private(
        "pytorchcv.model_provider", "_models", "to say which models pytorchcv has", "a message without them"
    ),
}
"""By the name that they have here: functions, classes and modules."""

REPLACED = {
    "set_grad_enabled": Private(
        "torch._C",
        "_set_grad_enabled",
        "to record torch.no_grad and its kin, which all come to it",
        "patches of each of their methods",
    ),
    "check": Private(
        "torch",
        "_check_with",
        "to let torch._check ask for a number that is traced",
        "a patch of torch._check",
    ),
    "check_all": Private(
        "torch",
        "_check_tensor_all_with",
        "to record torch._check_tensor_all and its kin",
        "a patch of each of them",
    ),
    "vmap": Private(
        "torch._functorch.apis",
        "vmap_impl",
        "to record torch.vmap as one node, whoever took hold of it before",
        "a patch of torch.vmap, which misses those",
    ),
    "verify_batch_size": Private(
        "torch.nn.functional",
        "_verify_batch_size",
        "to trace a norm of one value per channel, which it refuses in train mode",
        "example inputs of two images",
    ),
    "system_random": Private(
        "random",
        "_urandom",
        "to note that code draws from random.SystemRandom, which no graph can repeat",
        "a patch of the methods of that class",
    ),
}
"""What has a stand-in while a model is traced; `check_replacements` tries whether torch comes to it."""

ATTRIBUTES = {
    "version": Private(
        "torch:Tensor",
        "_version",
        "to see that a tensor was written: before its backward, by an optimizer, or a flag on a device",
        "copies that are compared",
    ),
    "schema": Private(
        "torch._ops:OpOverload",
        "_schema",
        "to see which arguments an operator writes",
        "the text that torch.library has of it",
    ),
    "called_hooks": Private(
        "torch.nn:Module",
        "_forward_hooks _forward_pre_hooks _backward_hooks _backward_pre_hooks",
        "to see that hooks are to run around a module, which a graph that goes past it would leave out",
        _ASK_TORCH,
    ),
    "forward_hooks": Private(
        "torch.nn:Module", "_forward_pre_hooks _forward_hooks", "to name them in messages", "as above"
    ),
    "backward_hooks": Private(
        "torch.nn:Module",
        "_backward_pre_hooks _backward_hooks",
        "to refuse them, see called_hooks",
        "as above",
    ),
    "parameters": Private(
        "torch.nn:Module",
        "_parameters",
        "to see, and to put back, what code puts there: what is None too, in no more time than a dict takes",
        "named_parameters(recurse=False) and setattr",
    ),
    "buffers": Private(
        "torch.nn:Module", "_buffers", "as parameters", "named_buffers(recurse=False) and setattr"
    ),
    "modules": Private("torch.nn:Module", "_modules", "as parameters", "named_children() and setattr"),
    "plain_call": Private(
        "torch.nn:Module",
        "_call_impl",
        "to call a model as it is called without torch.compile: its forward with the hooks around it",
        "no eager start of scales, see compiler_callback",
    ),
    "conv_forward": Private(
        "torch.nn:Conv2d",
        "_conv_forward",
        "to see that a class derived from nn.Conv2d convolves in its own way",
        "forward alone, where a class may well leave that as it is",
    ),
    "padding_amounts": Private(
        "torch.nn:Conv2d",
        "_reversed_padding_repeated_twice",
        "to pad as nn.Conv2d does for padding_mode other than zeros",
        "the same amounts out of padding, kernel_size and dilation",
    ),
    "autocast_options": Private(
        "torch:autocast",
        "device fast_dtype _enabled _cache_enabled",
        "to enter in a graph what the code has made before the trace, as decorators do",
        "what __init__ was given, noted from the import of fxbin on",
    ),
    "target_name": Private(
        "torch.fx:Node",
        "_pretty_print_target",
        "to show what a node calls, in the words of str(graph)",
        "the same out of Node.format_node()",
    ),
}
"""Of objects. Called like a function, each gives the attribute of an object; a tuple where it is several."""

NAMED = {
    "REGISTRIES": Private(
        "torch.nn:Module",
        "_parameters _buffers _modules",
        "to know in which of them a name is that code has read",
        "named_parameters(), named_buffers() and named_children()",
    ),
    "CALLED_HOOKS": Private(
        "torch.nn:Module",
        "_forward_hooks _forward_pre_hooks _backward_hooks _backward_pre_hooks",
        "to see hooks in what a module holds, as called_hooks",
        _ASK_TORCH,
    ),
    "COMPILED_CALL": Private(
        "torch.nn:Module",
        "_compiled_call_impl",
        "to start scales before a compiled call, and to leave compiled code out of copies",
        "no eager start of scales, see compiler_callback",
    ),
    "GRAPH": Private(
        "torch.fx:GraphModule",
        "_graph",
        "to put back the graph of a module that switches it, without code being made of it",
        "the property `graph`, which makes code",
    ),
    "FORWARD_CLASS": Private(
        "torch.autograd:Function._backward_cls",
        "_forward_cls",
        "to know by its grad_fn a tensor that a binarizer made, to compute it again in the backward",
        "an attribute put on the tensor",
    ),
    "BACKWARD_CLASS": Private(
        "torch.autograd:Function",
        "_backward_cls",
        "to see that torch.autograd.Function.apply asks a class for what it calls, whoever holds apply",
        "a patch of apply, which misses those",
    ),
    "IGNORED_BY_DDP": Private(
        "torch.nn.parallel:DistributedDataParallel",
        "_ddp_params_and_buffers_to_ignore",
        "to tell DistributedDataParallel, which looks for it on the model, to leave binarizers alone",
        "find_unused_parameters=True, set by every user",
    ),
    "ORIGINAL_MODULE": Private(
        "torch._dynamo.eval_frame:OptimizedModule",
        "_orig_mod",
        "to find the model in what torch.compile returned",
        "a message that asks for the model itself",
    ),
    "CHECKPOINTED_MODULE": Private(
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper:CheckpointWrapper",
        "_checkpoint_wrapped_module",
        "to know the names of parameters in a model inside that wrapper",
        "names without it: nobody could wrap a model",
    ),
}
"""By the name that they have here: names as text, a tuple where they are several."""

INHERITED = (
    Private(
        "torch.nn:Module",
        "_apply",
        "to keep flags on the CPU in every cast and move, and to watch parameters that these make",
        "an override of each of to(), cuda(), half(), ...",
    ),
    Private(
        "torch.nn:Module",
        "_save_to_state_dict _load_from_state_dict",
        "to read flags before they are saved and after they were loaded",
        "register_state_dict_pre_hook and register_load_state_dict_post_hook, anew for each copy",
    ),
    Private(
        "torch.nn:Module",
        "_replicate_for_data_parallel",
        "to refuse DataParallel, whose replicas lose what binarizers learn",
        "a check in forward",
    ),
    Private(
        "torch.nn:Parameter",
        "_is_param",
        "to let a traced tensor pass for a parameter: isinstance asks for it",
        _ASK_TORCH,
    ),
)
"""What classes of fxbin override, and what is therefore written where these are."""

COMPILER = "torch._dynamo"
"""The module of torch.compile, which is loaded before operators are replaced: it keeps tables of them."""

COMPILED_MODEL = "torch._dynamo.eval_frame.OptimizedModule"
"""The class that torch.compile puts around a model; a name, as it need not be imported."""

FABRIC_MODELS = ("lightning.fabric.wrappers._FabricModule", "lightning_fabric.wrappers._FabricModule")
"""The class that Lightning Fabric puts around a model, by its names in both packages."""

FX_NODE = "pkg.torch.onnx.fx_node"
"""Metadata key of an ONNX node, under which PyTorch's exporter notes ``"%name : ..."``, its node of fx."""

LOAD_GUESS = " This is an internal"
"""`torch.load`, of a damaged file: its guesses at the cause begin with this, behind what it found."""

FORBIDDEN_GLOBAL = r"GLOBAL (\S+)"
"""`torch.load` with ``weights_only=True``: the class or function that a file would have called."""

META_KERNEL = r"(\w+)::(\w+)"
"""An operator that cannot run on the meta device: its namespace and name, in a message about "meta"."""

NUMBER_RETURNED = "translating node return"
"""`torch.onnx.export`, of a model that returns a number beside its tensors."""

LEAF_SPEC = ".*LeafSpec.* is deprecated"
"""A warning of PyTorch at what `torch.export` does itself."""

GRADIENT_STRIDES = "Grad strides do not match bucket view strides"
"""A warning of DistributedDataParallel."""

JSON5_PLACE = r"<string>:(\d+) (.*) at column (\d+)"
"""json5, of a text that it cannot read: the line, what is there, and the column."""

LITERAL_CHOICE = r"'([^']*)'"
"""pydantic, of a value that is none of a Literal: each of the values that it expected."""

OPENVINO_PLACES = ("Exception from", "Check '")
"""OpenVINO: lines of a message that begin so speak of its own source files."""

TIMEOUT = "Timeout ("
"""faulthandler of Python, of a process that it ends."""


def place(key: str) -> tuple[Any, str]:
    """The owner of one of `REPLACED`, and its name there."""
    return resolve_name(REPLACED[key].home), REPLACED[key].names


def __getattr__(name: str) -> Any:
    """One of `NAMES`, looked up once. Python calls this for what is not in the module yet."""
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = NAMES[name].find()
    return found


def _names(each: Private) -> Any:
    names = tuple(each.names.split())
    return names if len(names) > 1 else names[0]


globals().update({key: attrgetter(*each.names.split()) for key, each in ATTRIBUTES.items()})
globals().update({key: _names(each) for key, each in NAMED.items()})
