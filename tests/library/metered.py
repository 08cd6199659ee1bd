"""What the meter's tests share: a batch, autograd's own rates, and whether a model is as it was found."""

import copy
import random
import sys
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _BatchNorm

cross_entropy = nn.functional.cross_entropy


def batch(rows=32, inputs=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, inputs, generator=generator), torch.randint(classes, (rows,), generator=generator)


def images(rows=8, channels=3, size=6, classes=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(rows, channels, size, size, generator=generator, dtype=dtype)
    return pixels, torch.randint(classes, (rows,), generator=generator)


def scattered(model, seed=0):
    """`model`, with scales of either sign and size, so that no two channels are alike."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.3, 2.0, generator=generator)
            module.weight.data[::3] *= -1
            nn.init.normal_(module.bias, generator=generator)
    return model


def rates_by_autograd(model, loss_of):
    """-(dJ/dgamma) / gamma of each layer of batch normalization, by a plain backward pass of a copy that trains."""
    twin = copy.deepcopy(model)
    loss_of(twin).backward()
    norms = {name: module for name, module in twin.named_modules() if isinstance(module, _BatchNorm)}
    return {
        name: (-norm.weight.grad / norm.weight).detach().double().numpy()
        for name, norm in norms.items()
        if norm.weight.grad is not None
    }


def by_channel(report, name, column="rate"):
    """That column of the report, in the channels of one layer."""
    rows = [position for position, layer in enumerate(report.layer) if layer == name]
    return np.array(getattr(report, column))[rows]


# What is compared before and after, each by a function of the model
COMPARED = {
    "parameters, by identity": lambda model: [id(parameter) for parameter in model.parameters()],
    "parameters, byte for byte": lambda model: [_bytes(parameter) for parameter in model.parameters()],
    "what requires a gradient": lambda model: [parameter.requires_grad for parameter in model.parameters()],
    "gradients, by identity": lambda model: [id(parameter.grad) for parameter in model.parameters()],
    "gradients, byte for byte": lambda model: [_bytes(parameter.grad) for parameter in model.parameters()],
    "hooks of parameters": lambda model: [list(parameter._backward_hooks or ()) for parameter in model.parameters()],
    "buffers, by identity": lambda model: [id(buffer) for buffer in model.buffers()],
    "buffers, byte for byte": lambda model: [_bytes(buffer) for buffer in model.buffers()],
    "what the modules hold, in order": lambda model: [
        (name, list(module._parameters), list(module._buffers), list(module._modules))
        for name, module in model.named_modules()
    ],
    "state dict": lambda model: list(model.state_dict()),
    "modes": lambda model: [module.training for module in model.modules()],
    "hooks of modules": lambda model: [
        {key: list(hooks) for key, hooks in vars(module).items() if "hooks" in key and isinstance(hooks, dict)}
        for module in model.modules()
    ],
    "hooks of all modules": lambda _: {
        key: list(hooks) for key, hooks in vars(torch_module).items() if key.startswith("_global") and "hooks" in key
    },
    "random state of torch": lambda _: torch.get_rng_state().numpy().tobytes(),
    "random state of CUDA": lambda _: [
        state.numpy().tobytes() for state in (torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())
    ],
    "random state of NumPy": lambda _: [
        state.tobytes() if isinstance(state, np.ndarray) else state for state in np.random.get_state()
    ],
    "random state of Python": lambda _: random.getstate(),
    "autocast": lambda _: (
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_autocast_cache_enabled(),
    ),
    "gradient mode": lambda _: (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    "modes of functions": lambda _: list(map(id, torch.overrides._get_current_function_mode_stack())),
    "stance of the compiler": lambda _: (
        torch._dynamo.eval_frame._stance.stance if "torch._dynamo" in sys.modules else "default"
    ),
    "filters of warnings": lambda _: list(warnings.filters),
}


def _bytes(tensor):
    if tensor is None:
        return None
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def snapshot(model):
    """What every function in `COMPARED` says of `model`."""
    return {what: state(model) for what, state in COMPARED.items()}


def assert_as_found(model, before):
    after = snapshot(model)
    for what, state in before.items():
        assert after[what] == state, what
