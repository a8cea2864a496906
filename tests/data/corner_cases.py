"""Small hand-written modules that exercise NNCF-2.9.0-style graph naming.

Stand-alone: needs only torch.  Every class in ``CASES`` is an ``nn.Module`` that can
be built without arguments and has a static ``sample_inputs()`` returning the tuple of positional
inputs.  The names that NNCF 2.9.0 gives are in corner_cases.json, keyed by class name.
The cases were recorded with nncf imported BEFORE this file.
"""
from collections import OrderedDict, namedtuple

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import nn
from torch.nn.functional import conv2d as imported_conv2d

CASES = OrderedDict()


def case(cls):
    CASES[cls.__name__] = cls
    return cls


def img(n=1, c=3, s=8):
    return torch.ones(n, c, s, s)


class _Img(nn.Module):
    @staticmethod
    def sample_inputs():
        return (img(),)


# ---------------------------------------------------------------- module reuse / sharing
@case
class ReusedConv(_Img):
    """one conv module called twice"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(torch.relu(self.conv(x)))


class ConvBnRelu(nn.Module):
    def __init__(self, i, o, inplace=False):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(o)
        self.act = nn.ReLU(inplace)

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


@case
class ReusedBlock(_Img):
    """one block (with children) called twice, one ReLU shared by everything"""

    def __init__(self):
        super().__init__()
        self.block = ConvBnRelu(3, 3)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.block(self.relu(self.block(x))))


@case
class LoopOverModuleList(_Img):
    """a ModuleList iterated twice in a python loop"""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 3, 1) for _ in range(2)])

    def forward(self, x):
        for _ in range(2):
            for layer in self.layers:
                x = layer(x)
        return x


@case
class SharedWeightConvs(_Img):
    """two conv modules that share one Parameter"""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv2.weight = self.conv1.weight

    def forward(self, x):
        return self.conv2(self.conv1(x))


@case
class SameModuleTwoNames(_Img):
    """one conv registered as .a and .b, called through both"""

    def __init__(self):
        super().__init__()
        self.b = nn.Conv2d(3, 3, 3, padding=1)
        self.a = self.b

    def forward(self, x):
        return self.a(self.b(x))


@case
class SameModuleTwoParents(_Img):
    """a conv owned by two different blocks"""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 3, 1)
        self.left = nn.Sequential(conv, nn.ReLU())
        self.right = nn.Sequential(OrderedDict(c=conv, r=nn.ReLU6()))

    def forward(self, x):
        return self.left(x) + self.right(x)


@case
class NestedShadow(_Img):
    """a module also reachable at a shallower level: breadth-first search decides the scope"""

    def __init__(self):
        super().__init__()
        inner = nn.Conv2d(3, 3, 1)
        self.deep = nn.Sequential(nn.Sequential(inner))
        self.shallow = inner

    def forward(self, x):
        return self.deep(x) + self.shallow(x)


# ---------------------------------------------------------------- functional convs
@case
class FunctionalConvParam(_Img):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, padding=1)


@case
class ConvSpellings(_Img):
    """the same op through four spellings"""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, 3, 1, 1))

    def forward(self, x):
        x = torch.conv2d(x, self.w)
        x = torch.nn.functional.conv2d(x, self.w)
        x = F.conv2d(x, self.w)
        x = imported_conv2d(x, self.w)
        return x


@case
class FunctionalConvOwnModuleWeight(_Img):
    """functional conv with the weight of a registered (never called) Conv2d"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.real = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.real(F.conv2d(x, self.conv.weight, self.conv.bias))


@case
class StdConvSubclass(_Img):
    """subclass of nn.Conv2d with its own forward (weight standardization)"""

    class StdConv2d(nn.Conv2d):
        def forward(self, x):
            w = self.weight
            w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
            return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def __init__(self):
        super().__init__()
        self.std = self.StdConv2d(3, 4, 3, padding=1)
        self.plain = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.plain(self.std(x))


class MyConv(nn.Conv2d):
    pass


@case
class ConvSubclass(_Img):
    """trivial subclass of nn.Conv2d / BatchNorm2d / Linear"""

    class MyBN(nn.BatchNorm2d):
        pass

    class MyLinear(nn.Linear):
        pass

    def __init__(self):
        super().__init__()
        self.conv = MyConv(3, 4, 3)
        self.bn = self.MyBN(4)
        self.fc = self.MyLinear(4, 2)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).mean((2, 3)))


class Conv2d(nn.Module):
    """user class that happens to be called Conv2d and is no nn.Conv2d"""

    def __init__(self, i, o):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(o, i, 1, 1))

    def forward(self, x):
        return F.conv2d(x, self.weight)


@case
class UserClassNamedConv2d(_Img):
    def __init__(self):
        super().__init__()
        self.a = Conv2d(3, 3)
        self.b = type("Conv2d", (nn.Conv2d,), {})(3, 3, 1)

    def forward(self, x):
        return self.b(self.a(x))


@case
class UserClassNamedNNCFConv2d(_Img):
    """a user class that already is called NNCFConv2d"""

    def __init__(self):
        super().__init__()
        self.a = type("NNCFConv2d", (nn.Conv2d,), {})(3, 3, 1)
        self.b = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.b(self.a(x))


# ---------------------------------------------------------------- containers and scopes
@case
class NestedSequential(_Img):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True))),
            nn.Sequential(OrderedDict(conv=nn.Conv2d(4, 4, 3), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())),
        )
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.net(x))


@case
class ModuleListDict(_Img):
    def __init__(self):
        super().__init__()
        self.ml = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.ModuleList([nn.Conv2d(3, 3, 1)])])
        self.md = nn.ModuleDict({"first": nn.Conv2d(3, 3, 1), "second": nn.ModuleDict({"x": nn.Conv2d(3, 3, 1)})})

    def forward(self, x):
        x = self.ml[1][0](self.ml[0](x))
        return self.md["second"]["x"](self.md["first"](x))


@case
class SlashInKey(_Img):
    """ModuleDict keys with '/', ' ', '[' in them"""

    def __init__(self):
        super().__init__()
        self.md = nn.ModuleDict({"a/b": nn.Conv2d(3, 3, 1), "a b": nn.Conv2d(3, 3, 1), "a[0]": nn.Conv2d(3, 3, 1)})

    def forward(self, x):
        return self.md["a[0]"](self.md["a b"](self.md["a/b"](x)))


@case
class CalledFromParent(_Img):
    """the parent calls a grandchild directly, skipping the child's forward"""

    def __init__(self):
        super().__init__()
        self.block = ConvBnRelu(3, 3)

    def forward(self, x):
        return F.relu(self.block.bn(self.block.conv(x)))


class _CallsOutside(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.hidden = [target]

    def forward(self, x):
        return self.hidden[0](x) + 1


@case
class CalledFromSibling(_Img):
    """a block calls a module that is registered elsewhere (no path from the caller to it)"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.caller = _CallsOutside(self.conv)

    def forward(self, x):
        return self.caller(self.conv(x))


@case
class HiddenModules(_Img):
    """modules in a plain python list and one made on the fly"""

    def __init__(self):
        super().__init__()
        self.hidden = [nn.Conv2d(3, 3, 1), nn.ReLU()]
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        for h in self.hidden:
            x = h(x)
        return nn.Softmax(dim=1)(self.conv(x))


@case
class CallsForwardDirectly(_Img):
    """child.forward(x) instead of child(x): no scope is pushed"""

    def __init__(self):
        super().__init__()
        self.block = ConvBnRelu(3, 3)
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv.forward(self.block.forward(x))


@case
class RootSequential(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))

    @staticmethod
    def sample_inputs():
        return (img(),)


@case
class RootConv(nn.Conv2d):
    """the root module is itself a convolution"""

    def __init__(self):
        super().__init__(3, 4, 3)

    @staticmethod
    def sample_inputs():
        return (img(),)


@case
class UnusedAndTrainOnly(_Img):
    """a conv never called, and one called in training mode only"""

    def __init__(self):
        super().__init__()
        self.main = nn.Conv2d(3, 3, 1)
        self.aux = nn.Conv2d(3, 3, 1)
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.main(x)
        if self.training:
            return y, self.aux(x)
        return y


@case
class TrainOnlySharedBlock(_Img):
    """train-only conv inside a block that does run in eval mode"""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.extra = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            y = self.conv(x) + 0
            return y + self.extra(x) if self.training else y

    def __init__(self):
        super().__init__()
        self.block = self.Block()

    def forward(self, x):
        return self.block(x)


# ---------------------------------------------------------------- parametrized weights
@case
class WeightNormOld(_Img):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3))

    def forward(self, x):
        return self.conv(x)


@case
class SpectralNormOld(_Img):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))

    def forward(self, x):
        return self.conv(x)


@case
class ParametrizedWeightNorm(_Img):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.plain = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.plain(self.conv(x))


@case
class ParametrizedSpectralNorm(_Img):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))

    def forward(self, x):
        return self.conv(x)


# ---------------------------------------------------------------- kinds of convolution
@case
class ConvKinds(nn.Module):
    """depthwise, grouped, dilated, strided, asymmetric, 'same', 'valid' convs and a transposed one"""

    def __init__(self):
        super().__init__()
        self.dw = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.dwmul = nn.Conv2d(4, 8, 3, padding=1, groups=4)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.strided = nn.Conv2d(8, 8, (3, 1), stride=(2, 1), padding=(1, 0))
        self.same = nn.Conv2d(8, 8, 3, padding="same")
        self.valid = nn.Conv2d(8, 8, 3, padding="valid")
        self.deconv = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.pw = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        x = self.dilated(self.grouped(self.dwmul(self.dw(x))))
        return self.pw(self.deconv(self.valid(self.same(self.strided(x)))))

    @staticmethod
    def sample_inputs():
        return (img(c=4, s=16),)


@case
class PaddingModes(_Img):
    """non-zero padding modes: an extra 'pad' node"""

    def __init__(self):
        super().__init__()
        self.reflect = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.circular = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular")
        self.replicate = nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate")
        self.zp = nn.ZeroPad2d(1)
        self.rp = nn.ReflectionPad2d(1)

    def forward(self, x):
        x = self.rp(self.zp(self.replicate(self.circular(self.reflect(x)))))
        return F.pad(x, (1, 1, 1, 1))


@case
class Conv1d3d(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv1d(3, 3, 3, padding=1)
        self.d1 = nn.ConvTranspose1d(3, 3, 3, padding=1)
        self.c3 = nn.Conv3d(3, 3, 3, padding=1)
        self.d3 = nn.ConvTranspose3d(3, 3, 3, padding=1)
        self.bn1 = nn.BatchNorm1d(3)
        self.bn3 = nn.BatchNorm3d(3)

    def forward(self, x):
        x = self.bn1(self.d1(self.c1(x)))
        x = x.view(1, 3, 4, 4, 4)
        return self.bn3(self.d3(self.c3(x)))

    @staticmethod
    def sample_inputs():
        return (torch.ones(1, 3, 64),)


@case
class LazyConv(_Img):
    """LazyConv2d turns into Conv2d at its first call"""

    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv2d(4, 3)
        with torch.no_grad():
            self.conv(img())

    def forward(self, x):
        return self.conv(x)


@case
class KeywordCall(_Img):
    """conv called with keyword argument"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(input=x)


@case
class FrozenConv(_Img):
    """a conv with requires_grad=False and a frozen BatchNorm"""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 3, 1)
        self.b = nn.Conv2d(3, 3, 1)
        self.a.weight.requires_grad_(False)

    def forward(self, x):
        return self.b(self.a(x))


# ---------------------------------------------------------------- op names
@case
class Dropouts(nn.Module):
    def __init__(self):
        super().__init__()
        self.d = nn.Dropout(0.5)
        self.d2 = nn.Dropout2d(0.5)
        self.di = nn.Dropout(0.5, inplace=True)
        self.ad = nn.AlphaDropout(0.5)
        self.ident = nn.Identity()

    def forward(self, x):
        x = self.ident(self.ad(self.di(self.d2(self.d(x)))))
        x = F.dropout(x, 0.1, self.training)
        x = F.dropout2d(x, 0.1, training=self.training)
        return torch.dropout(x, 0.1, self.training)

    @staticmethod
    def sample_inputs():
        return (img(2, 4),)


@case
class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4)
        self.bn_na = nn.BatchNorm2d(4, affine=False)
        self.bn_nt = nn.BatchNorm2d(4, track_running_stats=False)
        self.gn = nn.GroupNorm(2, 4)
        self.inorm = nn.InstanceNorm2d(4)
        self.inorm_a = nn.InstanceNorm2d(4, affine=True)
        self.ln = nn.LayerNorm(8)
        self.lrn = nn.LocalResponseNorm(2)
        self.sbn = nn.SyncBatchNorm(4)

    def forward(self, x):
        x = self.inorm_a(self.inorm(self.gn(self.bn_nt(self.bn(x)))))
        x = self.lrn(self.ln(x))
        if not self.training:
            x = self.sbn(x)
        x = F.layer_norm(x, (8,))
        x = F.batch_norm(x, self.bn_na.running_mean, self.bn_na.running_var)
        x = torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)
        return F.normalize(x, dim=1)

    @staticmethod
    def sample_inputs():
        return (img(2, 4),)


@case
class BatchNormNoAffineInEval(_Img):
    """BatchNorm2d(affine=False) as a module"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4, affine=False)

    def forward(self, x):
        return self.bn(self.conv(x))


@case
class Activations(_Img):
    def __init__(self):
        super().__init__()
        names = (
            "ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Sigmoid Tanh Softplus "
            "Softsign LogSigmoid PReLU RReLU Threshold Softmax2d LogSoftmax Softmin Hardshrink Softshrink Tanhshrink"
        ).split()
        self.acts = nn.ModuleDict()
        for n in names:
            kw = {"Threshold": (0.1, 0.0), "LogSoftmax": (1,), "Softmin": (1,)}.get(n, ())
            self.acts[n] = getattr(nn, n)(*kw)
        for n in "ReLU ReLU6 LeakyReLU ELU SELU CELU SiLU Mish Hardswish Hardsigmoid Hardtanh RReLU".split():
            self.acts[n + "_inplace"] = getattr(nn, n)(inplace=True)
        self.sm = nn.Softmax(dim=1)

    def forward(self, x):
        for a in self.acts.values():
            x = a(x)
        return self.sm(x)


@case
class ReluSpellings(_Img):
    def forward(self, x):
        x = F.relu(x)
        x = F.relu(x, inplace=True)
        x = F.relu_(x)
        x = torch.relu(x)
        x = torch.relu_(x)
        x = x.relu()
        x = x.relu_()
        x = F.relu6(x)
        x = x.clamp(0, 6)
        x = x.clamp_(min=0)
        x = F.leaky_relu(x, 0.1)
        x = F.leaky_relu(x, 0.1, inplace=True)
        x = F.silu(x)
        x = F.hardswish(x)
        x = F.hardsigmoid(x)
        x = torch.sigmoid(x)
        x = x.sigmoid()
        x = F.sigmoid(x)
        x = x.sigmoid_()
        x = F.softmax(x, dim=1)
        x = torch.softmax(x, dim=1)
        x = x.softmax(dim=1)
        x = torch.tanh(x)
        x = F.gelu(x)
        return F.softplus(x)


@case
class Arithmetic(nn.Module):
    """operators, functions and methods, in and out of place, with scalars and reflected"""

    def forward(self, x, y):
        x = x + y
        x += y
        x = x + 1
        x = 1 + x
        x += 1
        x = torch.add(x, y)
        x = x.add(y)
        x = x.add_(y)
        x = x - y
        x -= y
        x = 1 - x
        x = torch.sub(x, y)
        x = x * y
        x *= y
        x = 2 * x
        x = torch.mul(x, y)
        x = x.mul(y)
        x = x.mul_(y)
        x = x / (y + 3)
        x /= 2
        x = 1 / (x + 10)
        x = torch.div(x, 2)
        x = x.div(2)
        x = x // 2
        x = x**2
        x = 2**x
        x = torch.pow(x, 2)
        x = x % 3
        x = -x
        x = abs(x)
        x = x @ y
        x = torch.matmul(x, y)
        m = (x > 0) & (y < 3)
        x = torch.where(m, x, y)
        x = x.masked_fill(m, 0.0)
        return x

    @staticmethod
    def sample_inputs():
        return (torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4))


@case
class ShapeOps(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.unflatten = nn.Unflatten(1, (4, 4, 4))

    def forward(self, x):
        b, c, h, w = x.shape
        n = x.size(0)
        x = x.view(b, -1)
        x = x.reshape(n, c, h, w)
        x = torch.reshape(x, (b, c, h * w)).view(b, c, h, w)
        x = torch.flatten(x, 1)
        x = self.unflatten(x)
        x = self.flatten(x)
        x = x.flatten(1).view(b, c, h, w)
        x = x.permute(0, 2, 3, 1)
        x = x.transpose(1, 3)
        x = x.contiguous()
        x = x.unsqueeze(0).squeeze(0)
        x = x.unsqueeze_(0).squeeze_(0)
        x = x.expand(b, c, h, w).repeat(1, 1, 1, 1)
        a, d = torch.chunk(x, 2, dim=1)
        e, f = x.chunk(2, dim=1)
        g, k = torch.split(x, [1, 3], dim=1)
        o, p = x.split(2, dim=1)
        q = torch.unbind(x, 1)[0]
        r = x[:, 1:2]
        s = x[..., 0]
        x = torch.cat([a, d], 1)
        x = torch.cat((e, f, g, k, o, p), dim=1)
        x = x.narrow(1, 0, 4)
        x = torch.stack([q, q, x[:, 0], r[:, 0]], 1)
        x = x.mean((2, 3), keepdim=True) + x.mean(-1).mean(-1)[:, :, None, None]
        x = torch.mean(x, 1) + s.sum()
        x = x.to(torch.float32).float().clone().detach()
        return x.t() if x.dim() == 2 else x.mT

    @staticmethod
    def sample_inputs():
        return (torch.ones(1, 4, 4, 4),)


@case
class SetItem(_Img):
    """indexed assignment, masks, roll, gather"""

    def forward(self, x):
        x = x.clone()
        x[:, 0] = 0
        x[:, 1] = x[:, 2] * 2
        x = torch.roll(x, 1, 2)
        idx = torch.zeros(1, 3, 8, 1, dtype=torch.long)
        return torch.gather(x, 3, idx)


@case
class Pooling(nn.Module):
    def __init__(self):
        super().__init__()
        self.mp = nn.MaxPool2d(2)
        self.mpi = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        self.ap = nn.AvgPool2d(2)
        self.aap = nn.AdaptiveAvgPool2d(4)
        self.amp = nn.AdaptiveMaxPool2d(2)
        self.lp = nn.LPPool2d(2, 1)
        self.up = nn.Upsample(scale_factor=2)
        self.upb = nn.UpsamplingBilinear2d(scale_factor=2)
        self.ps = nn.PixelShuffle(2)
        self.cs = nn.ChannelShuffle(2)

    def forward(self, x):
        x = self.mp(x)
        x, i = self.mpi(x)
        x = self.unpool(x, i)
        x = self.upb(self.up(self.ap(x)))
        x = self.lp(self.amp(self.aap(x)))
        x = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
        x = F.interpolate(x, size=(8, 8))
        x = F.max_pool2d(x, 2)
        x = torch.max_pool2d(x, 1)
        x = F.avg_pool2d(x, 1)
        x = F.adaptive_avg_pool2d(x, 2)
        x = F.adaptive_avg_pool2d(x, (2, 2))
        x = F.adaptive_max_pool2d(x, 2)
        x = self.ps(self.cs(x))
        return F.pixel_unshuffle(x, 2)

    @staticmethod
    def sample_inputs():
        return (img(1, 4, 32),)


# ---------------------------------------------------------------- inputs / outputs / control flow
@case
class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(1, 4, 1)

    def forward(self, x, y):
        return self.a(x) + self.b(y)

    @staticmethod
    def sample_inputs():
        return (img(), img(c=1))


@case
class UnusedInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x, y, scale=2.0):
        return self.a(x) * scale

    @staticmethod
    def sample_inputs():
        return (img(), img())


@case
class DictOutput(_Img):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return {"b": self.b(x), "a": self.a(x), "list": [x, (self.a(x), 3)]}


Pair = namedtuple("Pair", "logits aux")


@case
class NamedTupleOutput(_Img):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        y = self.a(x)
        return Pair(y, y)  # the same tensor twice


@case
class OutputIsInput(_Img):
    def forward(self, x):
        return x


@case
class ShapeControlFlow(_Img):
    def __init__(self):
        super().__init__()
        self.big = nn.Conv2d(3, 4, 3)
        self.small = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        if x.shape[-1] > 16:
            return self.big(x)
        if x.sum() > 0:
            return self.small(x) * 2
        return self.small(x)


@case
class NoGradPart(_Img):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 3, 1)
        self.b = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        with torch.no_grad():
            x = self.a(x)
        return self.b(x.detach())


def free_function(x):
    return F.relu(x) + torch.sigmoid(x)


@case
class FreeFunctions(_Img):
    """ops in functions and methods take the scope of the innermost *called module*"""

    def __init__(self):
        super().__init__()
        self.block = ConvBnRelu(3, 3)

    def helper(self, x):
        return free_function(x) * 2

    def forward(self, x):
        x = self.helper(free_function(x))
        return self.helper(self.block(x))


@case
class ForwardHooks(_Img):
    """a forward hook and a pre-hook that compute"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.conv.register_forward_hook(lambda m, i, o: o * 2)
        self.conv.register_forward_pre_hook(lambda m, i: (i[0] + 1,))

    def forward(self, x):
        return self.conv(x)


@case
class BuffersAndConstants(_Img):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = (x - self.mean) * self.scale
        w = self.scale.exp()  # op on a bare Parameter
        z = torch.zeros_like(x) + torch.ones(1)
        m = self.mean * 2  # op on a plain tensor only
        return self.conv(x) * w + z + m


@case
class PreTracedConstants(_Img):
    """ops on plain tensors that never meet the input, torch.* and method spelling"""

    def forward(self, x):
        a = torch.arange(4).float()
        b = torch.sin(a)
        c = a.cos()
        d = a + 1
        return x * (b.sum() + c.sum() + d.sum())


@case
class MHA(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 2)

    def forward(self, x, y):
        a, _ = self.attn(x, x, x, need_weights=False)
        b, w = self.cross(a, y, y)
        return b, w

    @staticmethod
    def sample_inputs():
        return (torch.ones(1, 4, 8), torch.ones(1, 4, 8))


@case
class TransformerLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.enc(x)

    @staticmethod
    def sample_inputs():
        return (torch.ones(1, 4, 8),)


@case
class LSTMNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 1)
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.gru = nn.GRU(5, 5, batch_first=True)
        self.cell = nn.LSTMCell(5, 5)
        self.fc = nn.Linear(5, 2)

    def forward(self, x):
        x = self.conv(x).transpose(1, 2)
        x, (h, c) = self.lstm(x)
        x, _ = self.gru(x)
        h, c = self.cell(x[:, -1])
        return self.fc(h + c)

    @staticmethod
    def sample_inputs():
        return (torch.ones(1, 3, 6),)


@case
class EmbeddingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(10, 4)
        self.bag = nn.EmbeddingBag(10, 4)
        self.bil = nn.Bilinear(4, 4, 2)

    def forward(self, x):
        return self.bil(self.emb(x).mean(1), self.bag(x)) + F.one_hot(x, 10).sum()

    @staticmethod
    def sample_inputs():
        return (torch.ones(1, 3, dtype=torch.long),)


@case
class Attention2d(nn.Module):
    """softmax attention spelled by hand, einsum, bmm, baddbmm, scaled_dot_product_attention"""

    def forward(self, q, k):
        a = torch.einsum("bhid,bhjd->bhij", q, k)
        a = a.softmax(-1) @ k
        a = torch.bmm(a[:, 0], k[:, 0])
        a = torch.baddbmm(a, a, a)
        a = a.unsqueeze(1)
        return F.scaled_dot_product_attention(a, k, k)

    @staticmethod
    def sample_inputs():
        return (torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4))


@case
class SqueezeExcite(_Img):
    """conv on a pooled 1x1 map, channel gate with expand / mul_"""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(8, 2, 1)
        self.fc2 = nn.Conv2d(2, 8, 1)
        self.gate = nn.Sigmoid()
        self.act = nn.SiLU(inplace=True)

    def forward(self, x):
        x = self.act(self.stem(x))
        s = self.gate(self.fc2(F.relu(self.fc1(self.pool(x)))))
        return x * s.expand_as(x)


@case
class ChannelShuffleBlock(nn.Module):
    """shufflenet-style: chunk, groups, view/transpose, cat"""

    def __init__(self):
        super().__init__()
        self.b = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 4, 1))

    def forward(self, x):
        a, b = x.chunk(2, 1)
        x = torch.cat((a, self.b(b)), 1)
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)

    @staticmethod
    def sample_inputs():
        return (img(1, 8),)


@case
class CheckpointedBlock(_Img):
    """torch.utils.checkpoint around a block"""

    def __init__(self):
        super().__init__()
        self.block = ConvBnRelu(3, 3)

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=False)


class _ScaleFn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


@case
class CustomAutograd(_Img):
    """a custom autograd.Function between two convs"""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 3, 1)
        self.b = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.b(_ScaleFn.apply(self.a(x)))


# ---------------------------------------------------------------- traced / untraced operands
@case
class ParamTimesTraced(_Img):
    """a Parameter as LEFT operand: the result is a plain tensor, NNCF loses the trail"""

    def __init__(self):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.a = nn.Conv2d(3, 3, 1)
        self.b = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.g * self.a(x)  # untraced
        y = y + x  # plain + traced -> __radd__
        z = self.g + self.b(y)  # untraced again
        z = z.relu()  # method of a plain tensor: untraced
        z = F.relu6(z)  # function: traced, no input edge
        z = torch.mul(self.g, z)  # function: traced
        return z


@case
class ParamFirstAllOps(_Img):
    """Parameter / buffer / python number as left operand of every operator"""

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.register_buffer("b", torch.ones(1, 3, 1, 1))

    def forward(self, x):
        out = []
        for left in (self.b, self.p):
            out.append(left + x)
            out.append(left - x)
            out.append(left * x)
            out.append(left / x)
            out.append(left**x)
            out.append(left // x)
            out.append(left % x)
            out.append(left > x)
            out.append(left == x)
            out.append(left.expand(1, 3, 3, 8) @ x[..., :3, :].transpose(2, 3).expand(1, 3, 8, 3))
            out.append(left.add(x))
            out.append(torch.add(left, x))
        return out


@case
class InplaceOnPlain(_Img):
    """plain += traced, traced += plain, builtin sum()"""

    def forward(self, x):
        acc = torch.zeros(1, 3, 8, 8)
        acc += x
        acc = acc + 1
        y = x.clone()
        y += torch.ones(1)
        s = sum([y, y, y])
        return s + acc


@case
class MiscTensor(_Img):
    """multi-output ops, iteration, constructors from a traced tensor, dtype methods"""

    def forward(self, x):
        v, i = x.max(1)
        t = torch.topk(x, 2, dim=1)
        k = t.values + t[0]
        a, b, c = x[0]  # Tensor.__iter__ -> unbind
        d = [q * 2 for q in x[0]]
        n = x.new_zeros(8, 8)
        m = torch.max(a, b) + torch.maximum(a, c) + d[0] + n
        y = x.type(torch.float32).type_as(x).half().float()
        z = x.amax((2, 3), keepdim=True) + x.std() + x.norm()
        mask = torch.ones_like(x).bool() | (x > 0)
        w = torch.full_like(x, 2.0) + torch.full((1, 3, 1, 1), 1.0) + torch.eye(8)
        return v.mean() + k.mean() + m.mean() + (y * z).masked_fill(~mask, 0).sum() + w.sum() + i.float().mean()


@case
class TensorProperties(_Img):
    """.data .mT .T .real .shape are properties: .data / .mT give plain tensors"""

    def forward(self, x):
        y = x.data
        z = F.relu(y)
        return z.mT + x


@case
class FunctionsAsAttributes(_Img):
    """functions kept as attributes, default arguments, partials, lambdas"""

    def __init__(self):
        super().__init__()
        import functools

        self.act = F.relu
        self.act2 = F.gelu
        self.pool = functools.partial(F.max_pool2d, kernel_size=2)
        self.lam = lambda t: torch.sigmoid(t) * t
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x, act=torch.tanh):
        return act(self.lam(self.pool(self.act2(self.act(self.conv(x))))))


@case
class VarArgsInput(nn.Module):
    """forward(*xs): NNCF marks no input node"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, *xs):
        return self.conv(xs[0]) + xs[1]

    @staticmethod
    def sample_inputs():
        return (img(), img())


@case
class LayerNormNoAffine(_Img):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.ln = nn.LayerNorm(8, elementwise_affine=False)

    def forward(self, x):
        return self.ln(self.conv(x))


@case
class GroupNormFunctional(_Img):
    """F.group_norm inside a module that is no GroupNorm"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return F.group_norm(self.conv(x), 2, self.weight)


@case
class ConvNoBiasAttr(_Img):
    """module with a None child, a list-typed attribute and an instance attribute on the conv"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.conv.my_tag = "x"
        self.none = None
        self.add_module("nothing", None)

    def forward(self, x):
        return self.conv(x)


@case
class DropPath(_Img):
    """timm-style stochastic depth: identity in eval mode"""

    class Drop(nn.Module):
        def forward(self, x):
            if not self.training:
                return x
            mask = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(0.9)
            return x * mask.div_(0.9)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.drop = self.Drop()

    def forward(self, x):
        return x + self.drop(self.conv(x))


@case
class RecursiveSelfCall(_Img):
    """a module that calls itself again from inside its own forward"""

    class Rec(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x, depth=1):
            x = self.conv(x)
            return self(x, depth - 1) if depth else x

    def __init__(self):
        super().__init__()
        self.rec = self.Rec()

    def forward(self, x):
        return self.rec(x)


@case
class ChildCallsParentsChild(_Img):
    """a child holds a (hidden) reference to the root and calls root.conv"""

    class Child(nn.Module):
        def __init__(self, root):
            super().__init__()
            self.__dict__["root"] = root

        def forward(self, x):
            return F.relu(self.root.conv(x))

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.child = self.Child(self)

    def forward(self, x):
        return self.child(x)


@case
class InstanceForwardOverride(_Img):
    """model.forward replaced on the instance of a child"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        old = self.conv.forward
        self.conv.forward = lambda x: old(x) * 2

    def forward(self, x):
        return self.conv(x)


@case
class SkipTraceOps(_Img):
    """functions NNCF patches without tracing give plain tensors: the trail is lost after them"""

    def forward(self, x):
        a = x.cpu().relu()  # cpu(): no node, plain result; relu(): untraced
        b = torch.sort(x, 1)[0] + 1
        c = x.broadcast_to(1, 3, 8, 8) * 2
        d = torch.broadcast_to(x, (1, 3, 8, 8))
        e = torch.ones_like(x)  # creating function: no node
        f = torch.zeros_like(x)  # not in the list: a node
        g = x.new_ones(1, 3, 8, 8)
        h = torch.tensor([1.0]) + x
        i = x.to("cpu").relu()
        flag = bool((x > 0).all()) and x.any().item() is not None
        j = F.relu(a) if flag else a
        return [a, b, c, d, e, f, g, h, i, j, x.numel() + x.size(0) + x.dim()]


class _Foreign:
    def __radd__(self, other):
        return other * 3

    def __rmul__(self, other):
        return other - 1


@case
class NotImplementedGap(_Img):
    """an operator that returns NotImplemented still uses up its call index"""

    def forward(self, x):
        if x == None:  # noqa: E711
            return x
        m = x == 1
        y = x + _Foreign()
        y = y * _Foreign()
        return (y + 1) * 2 + m

@case
class RaisingOp(_Img):
    """an op that raises and is caught still uses up its call index"""

    def forward(self, x):
        try:
            x.view(5, 5)
        except RuntimeError:
            pass
        x = x.view(1, 3, 64)
        try:
            F.conv2d(x, torch.ones(1, 1, 1, 1))
        except RuntimeError:
            pass
        return F.conv2d(x.view(1, 3, 8, 8), torch.ones(1, 3, 1, 1))


@case
class ScriptedFunction(_Img):
    """torch.jit.script function: nothing inside is traced, the result is plain"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.conv2 = nn.Conv2d(3, 3, 1)
        self.act = [torch.jit.script(_swish)]

    def forward(self, x):
        return self.conv2(self.act[0](self.conv(x)))


def _swish(t):
    return t * torch.sigmoid(t)


class Recurrent(nn.Module):
    """one of the class names that NNCF treats as an 'iteration module'"""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return F.relu(self.conv(x))


@case
class IterationModuleName(_Img):
    """user module whose class is called Recurrent, called twice: the counters are reset after each call"""

    def __init__(self):
        super().__init__()
        self.r = Recurrent()

    def forward(self, x):
        return self.r(self.r(x))


# ---------------------------------------------------------------- the small trained network
class TinyBlock(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.downsample = None
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


@case
class TinyResNet(nn.Module):
    """2 stages x 2 basic blocks, about 20k parameters; the model of nncf_tiny_{xnor,dorefa}.pth"""

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(TinyBlock(12, 12), TinyBlock(12, 12))
        self.layer2 = nn.Sequential(TinyBlock(12, 20, 2), TinyBlock(20, 20))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(20, num_classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))

    @staticmethod
    def sample_inputs():
        return (img(2, 3, 16),)


if __name__ == "__main__":
    for name, cls in CASES.items():
        m = cls().eval()
        try:
            with torch.no_grad():
                m(*cls.sample_inputs())
            print("ok  ", name)
        except Exception as e:
            print("FAIL", name, type(e).__name__, e)
