"""Private names and message texts of PyTorch and other libraries that fxbin relies on.

Any release may remove a private name or change a message. They are in this file and in no other, each with
the reason why fxbin needs it and what could replace it; for each that a release lacks, a test in
`tests/test_torch_private.py` fails. Other files use the names as attributes of this module::

    from fxbin import torch_private

    if torch_private.has_transforms(): ...

A name is looked up in its library when it is first used, and is an attribute of this module from then on. So
it is as fast as in the library, and a release that lacks it breaks only the code that uses it, not
``import fxbin``. Constants, and functions that get an attribute of an object, exist from the start.
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
    """A private name, or several that are used together, with the reason for its use."""

    home: str
    """The module or class that has it: ``"torch.nn"``, ``"torch.nn:Module"``."""

    names: str
    """The name; several names are separated by spaces."""

    why: str
    """Why fxbin needs it; completes the sentence "fxbin needs it ..."."""

    instead: str
    """A possible replacement."""

    def find(self) -> Any:
        """The object of that name. Raises AttributeError, which says what to do, if there is none."""
        try:
            return getattr(resolve_name(self.home), self.names)
        except (AttributeError, ImportError) as error:
            library = self.home.partition(".")[0]
            version = getattr(sys.modules.get(library), "__version__", "")
            raise AttributeError(
                f"{library} {version} has no {self.home}.{self.names}, which fxbin needs {self.why}: "
                f"install a version of {library} that fxbin is tested with, and report this"
            ) from error


_ASK_TORCH = "nothing public; a request to PyTorch is needed"

NAMES = {
    # Other tracers and transforms that are active while operators run.
    "has_transforms": Private(
        "torch._C",
        "_are_functorch_transforms_active",
        "to read no numbers inside torch.func, where tensors have none",
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
        "flags that are not buffers",
    ),
    "unwrapped": Private(
        "torch._C._functorch", "get_unwrapped", "to read a flag that torch.func has wrapped", "as above"
    ),
    "WithoutTransforms": Private(
        "torch._C",
        "_DisableFuncTorch",
        "to read a flag inside torch.func, which wraps its value in torch 2.9",
        "nothing from 2.10 on",
    ),
    "tracing_state": Private(
        "torch._C",
        "_get_tracing_state",
        "to see quickly, at each forward, whether torch.jit.trace is active",
        "torch.jit.is_tracing(), three times as slow",
    ),
    "set_tracing_state": Private(
        "torch._C",
        "_set_tracing_state",
        "to read a flag in torch.jit.trace without a warning and a node for it",
        "reading with both",
    ),
    "count_dispatch_modes": Private(
        "torch._C",
        "_len_torch_dispatch_stack",
        "to read no numbers under fake tensors, make_fx and the like",
        _ASK_TORCH,
    ),
    "is_profiled": Private(
        "torch.autograd",
        "_profiler_enabled",
        "to see quickly, at each forward, whether torch.profiler lists the operators that run",
        "calling operators always, several times as slow",
    ),
    "without_dispatch_modes": Private(
        "torch.utils._python_dispatch",
        "_disable_current_modes",
        "to read a flag under fake tensors, make_fx and the like",
        "flags that are not buffers",
    ),
    "TorchDispatchMode": Private(
        "torch.utils._python_dispatch",
        "TorchDispatchMode",
        "to see what train() of a model writes into weights; documented, but in a private module",
        "a copy of all weights for each trace",
    ),
    "WithoutTorchFunction": Private(
        "torch._C",
        "DisableTorchFunction",
        "to run operators on traced tensors without recording them",
        "torch._C.DisableTorchFunctionSubclass, which is documented, and leaving modes",
    ),
    # Autograd.
    "has_forward_gradients": Private(
        "torch._C",
        "_is_fwd_grad_enabled",
        "to see that code runs in the forward of an autograd function, which switches them off",
        _ASK_TORCH,
    ),
    "graph_task_id": Private(
        "torch._C",
        "_current_graph_task_id",
        "to tell a forward that activation checkpointing repeats in a backward from a new batch",
        _ASK_TORCH,
    ),
    "CheckpointFrame": Private(
        "torch.utils.checkpoint",
        "_CheckpointFrame",
        "to run what checkpointing repeats in the backward with the binarizers of the forward",
        "a patch of torch.utils.checkpoint.checkpoint, which misses references that code has kept",
    ),
    "queue_callback": Private(
        "torch.autograd:Variable._execution_engine",
        "queue_callback",
        "to average gradients over ranks at the end of a backward, as DistributedDataParallel does",
        "a method that users call after each backward",
    ),
    # torch.compile.
    "compiler_callback": Private(
        "torch._C._dynamo.eval_frame",
        "get_eval_frame_callback",
        "to see that a call of a model is about to be compiled, and to initialize scales eagerly before",
        "no eager initialization: one more compilation for each stage",
    ),
    "set_code_strategy": Private(
        "torch._C._dynamo.eval_frame",
        "set_code_exec_strategy",
        "to keep torch.compile out of that initialization, but not out of what it calls",
        "torch.compiler.disable(recursive=False), which loads the compiler, and stops one that traces it",
    ),
    "CodeStrategy": Private(
        "torch._C._dynamo.eval_frame", "_FrameExecStrategy", "as an argument of set_code_strategy", "as above"
    ),
    "CodeAction": Private(
        "torch._C._dynamo.eval_frame", "_FrameAction", "as an argument of set_code_strategy", "as above"
    ),
    # Regions that a graph enters and leaves.
    "enter_autocast": Private(
        "torch.amp.autocast_mode",
        "_enter_autocast",
        "to enter torch.autocast in a graph; torch.export uses it in its graphs",
        "a function of fxbin that calls __enter__",
    ),
    "exit_autocast": Private(
        "torch.amp.autocast_mode", "_exit_autocast", "to leave it again", "as above, for __exit__"
    ),
    # Layers, operators and containers.
    "check_tensor_all": Private(
        "torch", "_check_tensor_all", "to check that it calls a replacement of fxbin", "no such check"
    ),
    "has_any_global_hook": Private(
        "torch.nn.modules.module",
        "_has_any_global_hook",
        "to call modules if there are hooks for all modules, which a graph would bypass",
        _ASK_TORCH,
    ),
    "ConvNd": Private(
        "torch.nn.modules.conv",
        "_ConvNd",
        "to recognize convolutions, including classes of users that are derived from it",
        "the six classes of torch.nn, without those of users",
    ),
    "BatchNorm": Private(
        "torch.nn.modules.batchnorm",
        "_BatchNorm",
        "to recognize batch norms, including classes of users that are derived from it",
        "the four classes of torch.nn, without those of users",
    ),
    "OperatorNames": Private(
        "torch._C",
        "_VariableFunctions",
        "to know which functions of torch are operators, to record their calls",
        "a list in fxbin",
    ),
    "arranged_weight": Private(
        "torch.ops.mkldnn",
        "_reorder_convolution_weight",
        "to arrange the weight of a convolution for oneDNN once; Inductor uses it, too",
        "torch.nn.functional.conv2d, which does so in each call",
    ),
    "arranged_conv2d": Private(
        "torch.ops.mkldnn", "_convolution_pointwise", "to compute such a convolution", "as above"
    ),
    "has_vnni": Private(
        "torch.cpu",
        "_is_vnni_supported",
        "to multiply bytes only where oneDNN adds the products in 32 bits",
        "a question to the CPU in the engine",
    ),
    "foreach_norm": Private(
        "torch",
        "_foreach_norm",
        "to compute the norms of all gradients in one or two launches on a GPU",
        "torch.linalg.vector_norm, a launch for each",
    ),
    "pytree": Private(
        "torch.utils",
        "_pytree",
        "to visit inputs and outputs in the order of torch.export, as names and files need",
        "fxbin.graph.containers, which does not sort keys or know classes that users have registered",
    ),
    # Other libraries.
    "PythonPickler": Private(
        "pickle",
        "_Pickler",
        "to write a class of NNCF by its name, without NNCF, which the pickler in C cannot do",
        "bytes written by fxbin itself",
    ),
    "pytorchcv_models": Private(
        "pytorchcv.model_provider",
        "_models",
        "to list the models of pytorchcv in a message",
        "a message without them",
    ),
}
"""Functions, classes and modules, by their name as attributes of this module."""

REPLACED = {
    "set_grad_enabled": Private(
        "torch._C",
        "_set_grad_enabled",
        "to record torch.no_grad and similar functions, which all call it",
        "patches of each of their methods",
    ),
    "check": Private(
        "torch",
        "_check_with",
        "to let torch._check accept a traced number",
        "a patch of torch._check",
    ),
    "check_all": Private(
        "torch",
        "_check_tensor_all_with",
        "to record torch._check_tensor_all and similar functions",
        "a patch of each of them",
    ),
    "vmap": Private(
        "torch._functorch.apis",
        "vmap_impl",
        "to record torch.vmap as one node, also if code has kept a reference to it",
        "a patch of torch.vmap, which misses such references",
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
"""Functions that are replaced during a trace; `check_replacements` checks that torch calls them."""

ATTRIBUTES = {
    "version": Private(
        "torch:Tensor",
        "_version",
        "to see that a tensor was written: before its backward, by an optimizer, or as a flag on a device",
        "comparing with a copy",
    ),
    "dual_level": Private(
        "torch.autograd.forward_ad",
        "_current_level",
        "to see quickly, at each forward, whether forward-mode differentiation is active",
        "unpack_dual of each tensor, slower",
    ),
    "schema": Private(
        "torch._ops:OpOverload",
        "_schema",
        "to see which arguments an operator writes",
        "its text in torch.library",
    ),
    "called_hooks": Private(
        "torch.nn:Module",
        "_forward_hooks _forward_pre_hooks _backward_hooks _backward_pre_hooks",
        "to see that a module has hooks, which a graph that bypasses it would not run",
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
        "to see and restore what code puts there, also None, as fast as in a dict",
        "named_parameters(recurse=False) and setattr",
    ),
    "buffers": Private(
        "torch.nn:Module", "_buffers", "as parameters", "named_buffers(recurse=False) and setattr"
    ),
    "modules": Private("torch.nn:Module", "_modules", "as parameters", "named_children() and setattr"),
    "plain_call": Private(
        "torch.nn:Module",
        "_call_impl",
        "to call a model as without torch.compile: its forward with the hooks around it",
        "no eager initialization of scales, see compiler_callback",
    ),
    "conv_forward": Private(
        "torch.nn:Conv2d",
        "_conv_forward",
        "to see that a class derived from nn.Conv2d convolves in its own way",
        "a check of forward alone, which such a class may not override",
    ),
    "padding_amounts": Private(
        "torch.nn:Conv2d",
        "_reversed_padding_repeated_twice",
        "to pad as nn.Conv2d does for padding_mode other than zeros",
        "computing them from padding, kernel_size and dilation",
    ),
    "autocast_options": Private(
        "torch:autocast",
        "device fast_dtype _enabled _cache_enabled",
        "to enter in a graph a region that the code created before the trace, as decorators do",
        "the arguments of __init__, recorded from the import of fxbin on",
    ),
    "target_name": Private(
        "torch.fx:Node",
        "_pretty_print_target",
        "to show what a node calls, as in str(graph)",
        "parsing Node.format_node()",
    ),
}
"""Attributes of objects; here, functions that get the attribute, or a tuple of several, of an object."""

NAMED = {
    "REGISTRIES": Private(
        "torch.nn:Module",
        "_parameters _buffers _modules",
        "to know which of them contains a name that code has read",
        "named_parameters(), named_buffers() and named_children()",
    ),
    "CONV_FORWARD": Private(
        "torch.nn:Conv2d",
        "_conv_forward",
        "to see that a method calls it, and so F.conv2d",
        "the code of the methods of nn.Conv2d, followed from that method",
    ),
    "CALLED_HOOKS": Private(
        "torch.nn:Module",
        "_forward_hooks _forward_pre_hooks _backward_hooks _backward_pre_hooks",
        "to find hooks among the attributes of a module, see called_hooks",
        _ASK_TORCH,
    ),
    "COMPILED_CALL": Private(
        "torch.nn:Module",
        "_compiled_call_impl",
        "to initialize scales before a compiled call, and to leave compiled code out of copies",
        "no eager initialization of scales, see compiler_callback",
    ),
    "GRAPH": Private(
        "torch.fx:GraphModule",
        "_graph",
        "to restore the graph of a module that switches it, without generating code",
        "the property `graph`, which generates code",
    ),
    "EXPORTING": Private(
        "torch.compiler",
        "_is_exporting_flag",
        "to tell torch.export from torch.compile: in Dynamo of torch 2.9, is_exporting() is always True",
        "torch.compiler.is_exporting(), once the oldest supported release answers correctly",
    ),
    "MARKED_CONSTANT": Private(
        "torch.compiler:assume_constant_result",
        "_dynamo_marked_constant",
        "to compare what a graph needs while Dynamo follows the code, which cannot follow the comparison",
        "torch.compiler.assume_constant_result, which loads the compiler",
    ),
    "FORWARD_CLASS": Private(
        "torch.autograd:Function._backward_cls",
        "_forward_cls",
        "to recognize by its grad_fn a tensor that a binarizer made, to compute it again in the backward",
        "an attribute put on the tensor",
    ),
    "BACKWARD_CLASS": Private(
        "torch.autograd:Function",
        "_backward_cls",
        "to see that torch.autograd.Function.apply is called, also if code has kept a reference to it",
        "a patch of apply, which misses such references",
    ),
    "IGNORED_BY_DDP": Private(
        "torch.nn.parallel:DistributedDataParallel",
        "_ddp_params_and_buffers_to_ignore",
        "to let DistributedDataParallel, which reads it from the model, ignore binarizers",
        "find_unused_parameters=True, set by every user",
    ),
    "ORIGINAL_MODULE": Private(
        "torch._dynamo.eval_frame:OptimizedModule",
        "_orig_mod",
        "to find the model inside the module that torch.compile returns",
        "a message that asks for the model itself",
    ),
    "CHECKPOINTED_MODULE": Private(
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper:CheckpointWrapper",
        "_checkpoint_wrapped_module",
        "to know the names of parameters of a model inside that wrapper",
        "names without it, so that a model could not be wrapped",
    ),
}
"""Names that are used as text, or as a tuple of several, by the name of the constant."""

INHERITED = (
    Private(
        "torch.nn:Module",
        "_apply",
        "to keep flags on the CPU in every cast and move, and to watch the new parameters",
        "an override of each of to(), cuda(), half(), ...",
    ),
    Private(
        "torch.nn:Module",
        "_save_to_state_dict _load_from_state_dict",
        "to read flags before they are saved and after they are loaded",
        "register_state_dict_pre_hook and register_load_state_dict_post_hook, again for each copy",
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
        "to let a traced tensor pass for a parameter, as isinstance reads it",
        _ASK_TORCH,
    ),
)
"""Methods and attributes that classes of fxbin override, so that they are also named in other files."""

COMPILER = "torch._dynamo"
"""The module of torch.compile, which must be loaded before operators are replaced: it has tables of them."""

COMPILED_MODEL = "torch._dynamo.eval_frame.OptimizedModule"
"""Name of the class that torch.compile puts around a model, which need not be imported."""

FABRIC_MODELS = ("lightning.fabric.wrappers._FabricModule", "lightning_fabric.wrappers._FabricModule")
"""Names, in both packages, of the class that Lightning Fabric puts around a model."""

FX_NODE = "pkg.torch.onnx.fx_node"
"""Metadata key of an ONNX node, under which PyTorch's exporter stores ``"%name : ..."``, its fx node."""

LOAD_GUESS = " This is an internal"
"""`torch.load`, of a damaged file: the beginning of its guesses at the cause, which follow the error."""

FORBIDDEN_GLOBAL = r"GLOBAL (\S+)"
"""`torch.load` with ``weights_only=True``: the class or function that the file would call."""

META_KERNEL = r"(\w+)::(\w+)"
"""Namespace and name of an operator without meta kernel, in a message that contains "meta"."""

EXPORTED_CALL = ("mod", "kwargs")
"""`torch.export`, in the method `forward` that runs a graph module: the local variables with that module and
with the keyword arguments, of which it passes on only the values."""

NODE_APPENDED = "\n\nWhile executing %"
"""`fx.Interpreter`, of an error in a node: the beginning of what it appends to the message of any error."""

NUMBER_RETURNED = "translating node return"
"""`torch.onnx.export`, of a model that returns a number besides tensors."""

LEAF_SPEC = ".*LeafSpec.* is deprecated"
"""A warning of PyTorch about code of `torch.export` itself."""

GRADIENT_STRIDES = "Grad strides do not match bucket view strides"
"""A warning of DistributedDataParallel."""

JSON5_PLACE = r"<string>:(\d+) (.*) at column (\d+)"
"""json5, of a text that it cannot read: the line, the problem, and the column."""

LITERAL_CHOICE = r"'([^']*)'"
"""pydantic, of a value that is not in a Literal: each of the values that it expects."""

OPENVINO_PLACES = ("Exception from", "Check '")
"""OpenVINO: the beginnings of lines of a message that are about its own source files."""

TIMEOUT = "Timeout ("
"""Python's faulthandler, of a process that it ends."""


def place(key: str) -> tuple[Any, str]:
    """The owner of the function `key` of `REPLACED`, and its name there."""
    return resolve_name(REPLACED[key].home), REPLACED[key].names


def __getattr__(name: str) -> Any:
    """Look up one of `NAMES`. Python calls this for names that this module does not have yet."""
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = NAMES[name].find()
    return found


def _names(each: Private) -> Any:
    names = tuple(each.names.split())
    return names if len(names) > 1 else names[0]


globals().update({key: attrgetter(*each.names.split()) for key, each in ATTRIBUTES.items()})
globals().update({key: _names(each) for key, each in NAMED.items()})
