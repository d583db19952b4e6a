"""Which networks can be copied, run and given other widths at all, and what to do about others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from lwdna.channels.copies.computed import computes_weights
from lwdna.channels.copies.skeleton import held_tensors
from lwdna.errors import GraphError

_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def check_network(model: Any) -> None:
    """Make sure that a network is made of ordinary modules and tensors.

    Raises:
        GraphError: it is not; the message names the module and what to give instead.
    """
    if not isinstance(model, nn.Module):
        raise GraphError(f"the network must be a torch.nn.Module, got {_kind_of(model)}")
    if isinstance(model, DistributedDataParallel) or (
        isinstance(model, DataParallel) and model.device_ids
    ):
        raise GraphError(
            f"the network is wrapped in {type(model).__name__}, which spreads each batch over "
            "devices; give the network inside, model.module, and wrap the result again"
        )
    for path, module in model.named_modules():
        _check_module(path, module)


def check_inputs(inputs: Any) -> None:
    """Make sure that the tensors among a network's inputs have a shape.

    Raises:
        GraphError: one has none.
    """
    if any(isinstance(leaf, Tensor) and leaf.is_nested for leaf in tree_leaves(inputs)):
        raise GraphError("an input is a nested tensor, which has no shape; give a padded one")


def check_values(model: nn.Module, init: str, undefined: Collection[str] = ()) -> None:
    """Make sure that the parameters of a network have the values that new ones are made of.

    Those ``undefined`` get no new ones.

    Raises:
        GraphError: they are fake, or on the meta device and to be drawn from.
    """
    drawn = init == "fresh"
    for name, tensor in model.named_parameters():
        if isinstance(tensor, FakeTensor) or (tensor.is_meta and drawn and name not in undefined):
            raise GraphError(
                f"parameter {name} has no values ({'fake' if not tensor.is_meta else 'meta'} "
                "tensor), so that no new ones can be made of them; make the network on a device "
                "such as the CPU"
            )


def needs_weights(model: nn.Module) -> bool:
    """Tell whether a network built without weights may not be traced in the place of the network.

    Its parameters are on the meta device. It may not where something that was computed from them
    is, or will be: a buffer, a tensor that a module keeps, a weight under a norm; and where a
    module has kept a parameter from before.
    """
    if any(buffer.is_meta for buffer in model.buffers()):
        return True
    modules = list(model.modules())
    if any(tensor.is_meta != isinstance(tensor, nn.Parameter) for tensor in held_tensors(modules)):
        return True
    return computes_weights(model)


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Inside the block, modules that ``torch.compile`` has made run as they were written."""
    if not any(map(_is_compiled, model.modules())):
        yield
        return
    with torch.compiler.set_stance("force_eager"):  # imports the compiler, unless it was used
        yield


def _is_compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules


def _kind_of(model: Any) -> str:
    if isinstance(model, torch.export.ExportedProgram):
        return "an ExportedProgram; give the module that it was exported from"
    if isinstance(model, type):
        return f"the class {model.__name__}; give an instance of it"
    return f"{type(model).__name__}; put what it computes into the forward of a module"


def _check_module(path: str, module: nn.Module) -> None:
    where = f"module {path!r}" if path else "the network"
    if isinstance(module, torch.jit.ScriptModule):
        raise GraphError(
            f"{where} was compiled by torch.jit, so that nothing inside can take another width; "
            "give the Python module that it was made from, and script the result"
        )
    if type(module).__module__.startswith(_QUANTIZED):
        raise GraphError(
            f"{where} is quantised ({type(module).__name__}), so that its weights are packed; "
            "change the widths of the network in floating point, and quantise the result"
        )
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        full = f"{path}.{name}" if path else name
        if tensor is None:
            continue
        if is_lazy(tensor):
            raise GraphError(
                f"{full} has no shape yet, because {where} is lazy ({type(module).__name__}); run "
                "the network once on real inputs, model(inputs), so that it gets one"
            )
        if not isinstance(tensor, Tensor) or tensor.is_nested:
            raise GraphError(
                f"{full} is no ordinary tensor (a nested one); keep a list of tensors instead, "
                "or padded ones"
            )
