"""Moves max pooling before ReLU, which then has fewer numbers to compare."""

from torch import fx, nn

from fxbin.deployment.graph_facts import called, calls_plain, is_relu, only_user


def pool_before_relu(module: fx.GraphModule) -> None:
    """Swap ReLU and max pooling in the graph of `module`, in place.

        before:  x -> ReLU -> MaxPool2d
        after:   x -> MaxPool2d -> ReLU

    The result is the same in either order, and NaN stays NaN. They are swapped if the pooling has a stride
    above 1, and x is a new tensor that nothing else reads, because ReLU may work in place.
    """
    for relu in list(module.graph.nodes):
        if not is_relu(module, relu):
            continue
        pool, (x, *_) = only_user(relu), relu.all_input_nodes
        if pool is not None and _makes_smaller(module, pool) and _is_new(module, x):
            _swap(relu, pool, x)


def _makes_smaller(module: fx.GraphModule, node: fx.Node) -> bool:
    pool = called(module, node)
    if not (isinstance(pool, nn.MaxPool2d) and calls_plain(module, node, nn.MaxPool2d)):
        return False
    if pool.return_indices:
        return False
    stride = pool.stride
    return (stride if isinstance(stride, int) else max(stride)) > 1


def _is_new(module: fx.GraphModule, x: fx.Node) -> bool:
    return calls_plain(module, x, nn.Conv2d, nn.BatchNorm2d) and len(x.users) == 1


def _swap(relu: fx.Node, pool: fx.Node, x: fx.Node) -> None:
    pool.replace_all_uses_with(relu)
    pool.replace_input_with(relu, x)
    relu.replace_input_with(x, pool)
    pool.append(relu)
