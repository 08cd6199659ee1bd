"""Networks of torch's own layers, and folding against torch's own."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from instances import net, same
from torch import nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from bnlib.models import NORMALIZATIONS, convolutional, fold, network
from bnlib.theory import effective_weights


def trained_pair(inputs=4, outputs=3, bias=True, affine=True, eps=1e-5, dtype=torch.float64):
    torch.manual_seed(0)
    linear = nn.Linear(inputs, outputs, bias=bias, dtype=dtype)
    norm = nn.BatchNorm1d(outputs, eps=eps, affine=affine, dtype=dtype)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    for _ in range(3):
        norm(linear(torch.randn(20, inputs, dtype=dtype) + 2))
    return linear.eval(), norm.eval()


@pytest.mark.parametrize("eps", [1e-30, 1e-5, 1e-1])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_fold_is_torchs_fusion(bias, eps):
    linear, norm = trained_pair(bias=bias, eps=eps)
    folded, fused = fold(linear, norm), fuse_linear_bn_eval(linear, norm)
    same(folded.weight.detach().numpy(), fused.weight.detach().numpy(), rtol=1e-15)
    same(folded.bias.detach().numpy(), fused.bias.detach().numpy(), rtol=1e-14)


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fold_computes_the_same(affine, dtype):
    linear, norm = trained_pair(affine=affine, dtype=dtype)
    state = [tensor.clone() for module in (linear, norm) for tensor in module.state_dict().values()]
    x = torch.randn(10, 4, dtype=dtype)
    folded = fold(linear, norm)
    assert folded.weight.dtype == folded.bias.dtype == dtype
    same(folded(x).detach().numpy(), norm(linear(x)).detach().numpy(), rtol=1e-5 if dtype == torch.float32 else 1e-14)
    after = [tensor for module in (linear, norm) for tensor in module.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(state, after))
    folded.weight.data.zero_()
    assert linear.weight.abs().sum() > 0


def test_fold_is_the_theorems_v_where_running_statistics_are_the_batchs():
    """Momentum 1 stores the last batch's unbiased variance: the effective weights are those of M/(M - 1) Sigma."""
    case = net(2, depth=2)
    for layer in case.layers:
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 1.0
    case.layers(case.inputs)
    rows = len(case.labels)
    for position in case.pairs:
        folded = case.folded(position)
        expected = effective_weights(folded["w"], folded["gamma"], folded["cov"] * rows / (rows - 1), 1e-5)
        same(fold(case.layers[position], case.layers[position + 1]).weight.detach().numpy(), expected, rtol=1e-13)


def test_fold_control_eps_is_not_dropped():
    linear, norm = trained_pair(eps=1e-1)
    kept = fold(linear, norm).weight.detach().numpy()
    norm.eps = 1e-30
    with pytest.raises(AssertionError):
        same(fold(linear, norm).weight.detach().numpy(), kept, rtol=1e-3)


@pytest.mark.parametrize(
    "arguments, kinds",
    [
        ({"widths": (4, 3)}, ["Linear"]),
        ({"widths": (4, 3), "normalize_output": True}, ["Linear", "BatchNorm1d"]),
        ({"widths": (4, 5, 3)}, ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
        ({"widths": (4, 5, 3), "normalization": "none"}, ["Linear", "ReLU", "Linear"]),
        ({"widths": (4, 3), "normalization": "none", "normalize_output": True}, ["Linear"]),
        ({"widths": (4, 5, 3), "normalization": "layer"}, ["Linear", "LayerNorm", "ReLU", "Linear"]),
        ({"widths": (4, 5, 3), "normalization": "weight"}, ["ParametrizedLinear", "ReLU", "Linear"]),
        ({"widths": (4, 3), "normalization": "weight", "normalize_output": True}, ["ParametrizedLinear"]),
        ({"widths": (4, 5, 6, 3), "normalize_output": True}, ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]),
    ],
    ids=["read-out", "normalized read-out", "hidden", "none", "none wins", "layer", "weight", "weight of a read-out", "deep"],
)  # fmt: skip
def test_layers_of_a_network(arguments, kinds):
    model = network(**arguments)
    assert [type(layer).__name__ for layer in model] == kinds
    assert model.training
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    for linear, after in zip(model, [*model[1:], None]):
        if isinstance(linear, nn.Linear):
            assert (linear.bias is None) == isinstance(after, nn.BatchNorm1d)


def raw_weight(layer):
    return layer.parametrizations.weight.original1 if hasattr(layer, "parametrizations") else layer.weight


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_networks_that_share_a_seed_share_their_weights(normalization):
    normalized, plain = network((4, 5, 6, 3), normalization, seed=7), network((4, 5, 6, 3), "none", seed=7)
    weights = [[raw_weight(layer) for layer in model if isinstance(layer, nn.Linear)] for model in (normalized, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*weights))
    assert torch.equal(normalized[-1].bias, plain[-1].bias)
    assert not torch.equal(weights[0][0], raw_weight(network((4, 5, 6, 3), normalization, seed=8)[0]))
    assert (normalized[0].bias is None) == (normalization == "batch")
    if normalization != "batch":
        assert torch.equal(normalized[0].bias, plain[0].bias)


def test_weight_normalization_starts_as_the_function_without_it():
    normalized, plain = (network((4, 5, 6, 3), kind, seed=7, dtype=torch.float64) for kind in ("weight", "none"))
    x = torch.randn(10, 4, dtype=torch.float64)
    same(normalized(x).detach().numpy(), plain(x).detach().numpy(), rtol=1e-14)
    length, direction = normalized[0].parametrizations.weight.original0, normalized[0].parametrizations.weight.original1
    same(length.detach().numpy(), np.linalg.norm(direction.detach().numpy(), axis=1, keepdims=True), rtol=1e-14)


def test_weight_normalization_does_not_see_the_length_of_its_directions():
    model = network((4, 5, 3), "weight", dtype=torch.float64)
    x = torch.randn(10, 4, dtype=torch.float64)
    before = model(x).detach().numpy()
    model[0].parametrizations.weight.original1.data *= torch.rand(5, 1, dtype=torch.float64) + 0.5
    same(model(x).detach().numpy(), before, rtol=1e-13)
    model[0].parametrizations.weight.original0.data *= 2  # control: it does see the other one
    with pytest.raises(AssertionError):
        same(model(x).detach().numpy(), before, rtol=1e-2)


def test_layer_normalization_in_five_lines_of_numpy():
    model, eps = network((4, 5, 3), "layer", eps=1e-2, dtype=torch.float64), 1e-2
    nn.init.normal_(model[1].weight)
    nn.init.normal_(model[1].bias)
    x = torch.randn(10, 4, dtype=torch.float64)
    W, b, gamma, beta, V, c = (parameter.detach().numpy() for parameter in model.parameters())
    z = x.numpy() @ W.T + b
    centred = z - z.mean(axis=1, keepdims=True)
    normalized = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps)
    expected = np.maximum(gamma * normalized + beta, 0) @ V.T + c
    same(model(x).detach().numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize(
    "normalization, names",
    [
        ("none", "0.weight 0.bias 2.weight 2.bias"),
        ("layer", "0.weight 0.bias 1.weight 1.bias 3.weight 3.bias"),
        ("weight", "0.bias 0.parametrizations.weight.original0 0.parametrizations.weight.original1 2.weight 2.bias"),
        (
            "batch",
            "0.weight 1.weight 1.bias 1.running_mean 1.running_var 1.num_batches_tracked 3.weight 3.bias",
        ),
    ],
)
def test_state_dict_has_torchs_own_names(normalization, names):
    assert list(network((4, 5, 3), normalization).state_dict()) == names.split()


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    network((4, 5, 3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    first = network((4, 3)).state_dict()
    assert all(torch.equal(first[name], tensor) for name, tensor in network((4, 3)).state_dict().items())


@pytest.mark.parametrize("gamma", [0.5, -2.0])
def test_fixed_gamma_is_fixed_and_beta_is_learned(gamma):
    model = network((4, 5, 3), gamma=gamma, eps=1e-3, normalize_output=True)
    for norm in (model[1], model[4]):
        assert (norm.weight == gamma).all()
        assert not norm.weight.requires_grad
        assert norm.bias.requires_grad
        assert norm.eps == 1e-3
    learned = network((4, 5, 3))[1]
    assert learned.weight.requires_grad
    assert (learned.weight == 1).all()
    assert learned.eps == 1e-5


def test_a_hidden_bias_would_be_subtracted_again():
    torch.manual_seed(0)
    model, x = network((4, 5, 3)), torch.randn(16, 4)
    output = model(x)
    model[0].bias = nn.Parameter(10 * torch.randn(5))
    assert np.abs((model(x) - output).detach().numpy()).max() < 1e-5


# Convolutions


@pytest.mark.parametrize(
    "arguments, kinds, features",
    [
        ({"channels": (2,)}, ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"], 2 * 14**2),
        ({"channels": (2, 3)}, ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 2, 3 * 7**2),
        ({"channels": (2, 3, 4, 5)}, ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 4, 5),
        ({"channels": (2, 3), "normalization": "none"}, ["Conv2d", "ReLU", "MaxPool2d"] * 2, 3 * 7**2),
    ],
    ids=["one", "two", "down to one pixel", "none"],
)
def test_layers_of_a_convolutional_network(arguments, kinds, features):
    model = convolutional(**arguments, classes=6)
    assert [type(layer).__name__ for layer in model] == ["Unflatten", *kinds, "Flatten", "Linear"]
    assert model[-1].in_features == features
    assert model.training
    assert model(torch.zeros(3, 784)).shape == (3, 6)
    for layer, after in pairwise(model):
        if isinstance(layer, nn.Conv2d):
            assert (layer.bias is None) == isinstance(after, nn.BatchNorm2d)


def test_rows_are_images_rows_first():
    model = convolutional((1,), "none")
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    model[1].weight.data[0, 0, 1, 2] = 1.0  # each pixel looks at its right neighbour
    x = torch.rand(2, 784)
    expected = torch.cat([x.view(2, 28, 28)[:, :, 1:], torch.zeros(2, 28, 1)], dim=2)
    assert torch.equal(model[:2](x)[:, 0], expected)


def test_convolutional_networks_that_share_a_seed_share_their_weights():
    normalized, plain = convolutional((2, 3), seed=7), convolutional((2, 3), "none", seed=7)
    kernels = [[layer.weight for layer in model if isinstance(layer, nn.Conv2d)] for model in (normalized, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*kernels))
    assert torch.equal(normalized[-1].weight, plain[-1].weight)
    assert torch.equal(normalized[-1].bias, plain[-1].bias)
    assert not torch.equal(kernels[0][0], convolutional((2, 3), seed=8)[1].weight)
    assert normalized[2].eps == 1e-5
    assert convolutional((2,), eps=1e-3)[2].eps == 1e-3


def test_convolutional_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    convolutional((2, 3))
    assert torch.equal(torch.get_rng_state(), before)
