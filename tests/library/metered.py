"""What the meter's tests share: a batch, and whether a model is as it was found."""

import copy

import torch
from torch import nn


def batch(rows=32, inputs=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, inputs, generator=generator), torch.randint(classes, (rows,), generator=generator)


cross_entropy = nn.functional.cross_entropy


def snapshot(model):
    return copy.deepcopy(model.state_dict()), [module.training for module in model.modules()], torch.get_rng_state()


def assert_as_found(model, before):
    state, modes, rng_state = before
    assert model.state_dict().keys() == state.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng_state)
    assert not any(module._forward_hooks for module in model.modules())
