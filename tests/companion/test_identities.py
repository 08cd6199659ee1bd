"""Layers walked by hand against networks that are folded by hand: two ways that share no line."""

import numpy as np
import pytest
from convolutions import conv_net
from instances import LOSSES, net, same

from bnlib.meter import measure
from companion.studies.identities import walk


def walked(case):
    return walk(case.layers, case.inputs, case.labels, case.loss_fn)


@pytest.mark.parametrize("eps", [1e-30, 1e-2])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("build", [net, conv_net])
def test_a_layer_is_what_folding_it_gives(build, seed, eps):
    case = build(seed, eps)
    layers = walked(case)
    assert [layer.name for layer in layers] == [str(position) for position in case.pairs]
    for layer, position in zip(layers, case.pairs):
        folded = case.folded(position)
        grad_w, grad_gamma, grad_beta = case.gradients(position)
        scale = folded["pull"] / folded["gamma"] ** 2
        same(layer.v, folded["v"], rtol=1e-12)
        same(layer.q, folded["variance"], rtol=1e-12)
        same(layer.normal, folded["v"] @ folded["cov"], rtol=1e-10)
        same(layer.grad_v, folded["grad_v"])
        same(layer.rate, -(folded["v"] * folded["grad_v"]).sum(axis=1) / folded["gamma"] ** 2, scale=scale)
        same(layer.rate_by_gamma, layer.rate, scale=scale)
        ratio = np.abs(folded["gamma"] / np.sqrt(folded["variance"] + eps))[:, None]
        terms = np.abs(ratio * folded["grad_v"]).max(axis=1, keepdims=True)  # grad_w may be what is left of two of them
        same(layer.grad_w, grad_w, rtol=1e-12, scale=terms)
        same(layer.rebuilt_grad_w, grad_w, scale=terms)
        same(layer.grad_gamma, grad_gamma, rtol=1e-12)
        same(layer.grad_beta, grad_beta, rtol=1e-12)
        same(layer.gauge, layer.radial, scale=folded["pull"])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("build", [net, conv_net])
def test_the_meter_reads_the_same_rates(build, loss):
    case = build(3, 1e-5, loss)
    report = measure(case.layers, [(case.inputs, case.labels)], case.loss_fn)
    by_hand = np.concatenate([layer.rate_by_gamma for layer in walked(case)])
    same(report.rate, by_hand, scale=np.abs(by_hand).max())


def test_walking_leaves_the_network_as_it_was():
    case = net(2)
    before = {name: tensor.clone() for name, tensor in case.layers.state_dict().items()}
    walked(case)
    assert all((tensor == before[name]).all() for name, tensor in case.layers.state_dict().items())
    assert all(parameter.grad is None for parameter in case.layers.parameters())
