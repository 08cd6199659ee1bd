"""Random convolutional networks of torch's own layers, and what their folded channels see: patches."""

import numpy as np
import torch
from instances import LOSSES, Net, randomize
from torch import nn


class ConvNet(Net):
    """As `Net`, with convolutions: a channel is a unit, applied to each patch of each image."""

    def rows(self, position):
        layer, features = self.layers[position], self.features(position)
        if not isinstance(layer, nn.Conv2d):
            return features
        patches = nn.functional.unfold(features, layer.kernel_size, padding=layer.padding, stride=layer.stride)
        return patches.transpose(1, 2).flatten(0, 1)

    def shaped(self, position, rows):
        output = self.layers[position](self.features(position))
        if output.ndim == 2:
            return rows
        return rows.unflatten(0, (len(output), -1)).transpose(1, 2).reshape(output.shape)


def conv_net(seed, eps=1e-5, loss="cross-entropy"):
    """One or two convolutions and a linear layer, each with batch normalization, and a linear read-out of three classes."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.standard_normal((rng.integers(6, 13), rng.integers(1, 4), 7, 7)) + rng.uniform(-2, 2))
    layers, channels = [], images.shape[1]
    for _ in range(rng.integers(1, 3)):
        outputs, kernel, stride, padding = (int(n) for n in (rng.integers(2, 5), *rng.integers((1, 1, 0), (4, 3, 2))))
        layers += [
            nn.Conv2d(channels, outputs, kernel, stride, padding, dtype=torch.float64),
            nn.BatchNorm2d(outputs, eps=eps, dtype=torch.float64),
            [nn.ReLU, nn.Tanh][int(rng.integers(2))](),
        ]
        channels = outputs
    layers.append(nn.Flatten())
    width, hidden = nn.Sequential(*layers)(images).shape[1], int(rng.integers(2, 5))
    layers += [
        nn.Linear(width, hidden, dtype=torch.float64),
        nn.BatchNorm1d(hidden, eps=eps, dtype=torch.float64),
        nn.Tanh(),
        nn.Linear(hidden, 3, dtype=torch.float64),
    ]
    randomize(layers, rng, generator)
    return ConvNet(nn.Sequential(*layers), images, torch.from_numpy(rng.integers(0, 3, len(images))), LOSSES[loss])
