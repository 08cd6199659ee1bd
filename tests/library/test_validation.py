"""Bad input gets a ValueError that names the argument, its value and what would be right."""

import numpy as np
import pytest
import torch
from torch import nn

from bnlib import data, models, theory, training
from bnlib.experiments import Conditions, sweep
from bnlib.moments import Moments, semidefinite_spectrum
from bnlib.objects import choice
from bnlib.stack import Stack
from bnlib.validation import covariance, finite_array, nonnegative, nonzero

EYE, NAN = np.eye(2), float("nan")
GOOD = Moments([0.0, 0.0], EYE, [0.5, 0.5], 1.0)
TWO_TARGETS = Moments([0.0, 0.0], EYE, 0.5 * EYE, [1.0, 1.0])
UNCORRELATED = Moments([0.0, 0.0], EYE, [0.0, 0.0], 1.0)
IMPOSSIBLE = Moments([0.0, 0.0], EYE, [1.0, 1.0], 1.0)
INDEFINITE = [[1.0, 2.0], [2.0, 1.0]]
LABELS = np.zeros(4, dtype=np.int64)
ARM, SCHEDULE = training.Arm(), training.Schedule(batch_size=2)

CASES = {
    # the checks themselves
    "finite_array: dimensions": (lambda: finite_array("w", EYE, 1), r"w has shape \(2, 2\); it must have 1 dimension"),
    "finite_array: either": (
        lambda: finite_array("w", 1.0, (1, 2)),
        r"w has shape \(\); it must have 1 or 2 dimension",
    ),
    "finite_array: NaN": (lambda: finite_array("w", [1, NAN, NAN], 1), r"w has 2 non-finite .* index \(1,\)"),
    "finite_array: infinity": (lambda: finite_array("w", [[0, np.inf]], 2), r"w has 1 non-finite .* index \(0, 1\)"),
    "covariance: not square": (lambda: covariance("cov", [[1.0, 0.0]]), r"cov has shape \(1, 2\); it must be \(1, 1\)"),
    "covariance: size": (lambda: covariance("cov", EYE, 3), r"cov has shape \(2, 2\); it must be \(3, 3\)"),
    "covariance: symmetry": (
        lambda: covariance("cov", [[1, 0.5], [0.4, 1]]),
        r"cov is not symmetric: .* up to 0.1; pass \(cov",
    ),
    "nonnegative": (lambda: nonnegative("noise_std", [1, -2.5]), "noise_std = -2.5 is negative; it must be at least 0"),
    "nonzero": (lambda: nonzero("gamma", [1, 0]), "gamma = 0 switches the unit off; it must be nonzero"),
    "choice": (lambda: choice("name", "a", ("b", "c")), "name = 'a' is unknown; it must be one of 'b', 'c'"),
    "least_squares: gamma, of another shape": (
        lambda: theory.least_squares(GOOD, [0.1, 0.2]),
        r"gamma has shape \(2,\); it must be one number$",
    ),
    "rate: gamma, of another shape": (
        lambda: theory.rate([1.0, 2.0], [1.0, 1.0], [1.0, 2.0]),
        r"gamma has shape \(2,\); it must be one number",
    ),
    "effective_weights: gamma, of another shape": (
        lambda: theory.effective_weights([1.0, 2.0], [1.0, 2.0], EYE),
        r"gamma has shape \(2,\)",
    ),
    "effective_weights: units": (lambda: theory.effective_weights(EYE, [1.0, 2.0, 3.0], EYE), r"or have shape \(2,\)"),
    "noise_path: impossible": (lambda: theory.noise_path(IMPOSSIBLE, 1.0, [0.0]), "R.2 must be at most 1"),
    # moments
    "Moments: mean": (lambda: Moments([NAN], [[1.0]], [0.5], 1.0), "mean has 1 non-finite"),
    "Moments: cov shape": (lambda: Moments([0.0], EYE, [0.5], 1.0), r"cov has shape \(2, 2\); it must be \(1, 1\)"),
    "Moments: cov symmetry": (lambda: Moments([0, 0], [[1, 1], [0, 1]], [0, 0], 1.0), "cov is not symmetric"),
    "Moments: cross": (
        lambda: Moments([0, 0], EYE, [1.0], 1.0),
        r"cross has shape \(1,\); its first dimension must be 2",
    ),
    "Moments: NaN in cross": (lambda: Moments([0.0], [[1.0]], [[0.5, NAN]], [1.0, 1.0]), "^cross has 1 non-finite"),
    "Moments: target_var, of several": (
        lambda: Moments([0, 0], EYE, EYE, 1.0),
        r"target_var has shape \(\); with cross of shape \(2, 2\) it must have shape \(2,\)$",
    ),
    "Moments: target_var": (lambda: Moments([0, 0], EYE, [0, 0], [1.0]), r"target_var has shape \(1,\); .* shape \(\)"),
    "Moments: negative": (lambda: Moments([0, 0], EYE, [0, 0], -1.0), "target_var = -1 is negative"),
    "Moments: indefinite": (
        lambda: Moments([0, 0], INDEFINITE, [0, 0], 1.0).spectrum,
        "cov has the eigenvalue -1; .* none below 0",
    ),
    "Moments: dead input": (
        lambda: Moments([0, 0], np.diag([1, 0]), [0.5, 0.5], 1.0).spectrum,
        "cross has a part of size 0.5 .* cov is zero; an input that does not vary cannot covary with the target$",
    ),
    "Moments: dead input, of small ones": (
        lambda: Moments([0, 0], np.diag([1e-12, 0]), [5e-7, 1e-9], 1.0).spectrum,
        "cross has a part of size 1e-09",
    ),
    "Moments: R^2": (lambda: IMPOSSIBLE.r_squared, r"R\^2 = 2; .* at most 1"),
    "spectrum": (lambda: semidefinite_spectrum("noise_cov", np.diag([-1.0, 2.0])), "noise_cov has the eigenvalue -1"),
    "from_data: X": (lambda: Moments.from_data([1.0, 2.0], [1.0, 2.0]), r"X has shape \(2,\); it must be \(n, d\)"),
    "from_data: length": (lambda: Moments.from_data(EYE, [1.0]), r"t has shape \(1,\); .* must be \(2,\) or \(2, k\)"),
    "from_data: scalar": (lambda: Moments.from_data(EYE, 1.0), r"t has shape \(\); .* must be \(2,\)"),
    "from_data: empty": (lambda: Moments.from_data(np.empty((0, 2)), []), "^X has no rows; moments need at least one$"),
    "from_data: NaN in every chunk": (
        lambda: Moments.from_data([[NAN]], [1.0]),
        r"^X has 1 non-finite .* index \(0, 0\)",
    ),
    "from_data: NaN in several targets": (
        lambda: Moments.from_data(EYE, [[1.0, 2.0], [NAN, 3.0]]),
        r"^t has 1 non-finite .* index \(1, 0\)",
    ),
    "from_data: NaN in X": (
        lambda: Moments.from_data([[1.0], [NAN]], [1, 2], 1),
        r"X has 1 non-finite .* index \(1, 0\)",
    ),
    "from_data: infinity in t": (
        lambda: Moments.from_data([[1.0], [2.0]], [1, np.inf]),
        r"t has 1 non-finite .* index \(1,\)",
    ),
    "from_data: chunk_rows": (
        lambda: Moments.from_data(EYE, [1, 2], 0),
        "chunk_rows = 0 is not right; it must be a whole number above 0",
    ),
    "with_noise: neither": (lambda: GOOD.with_noise(), "noise_std = None and noise_cov = None; give exactly one"),
    "with_noise: both": (lambda: GOOD.with_noise(1.0, EYE), "give exactly one of the two"),
    "with_noise: negative": (lambda: GOOD.with_noise(-1.0), "noise_std = -1 is negative"),
    "with_noise: NaN": (lambda: GOOD.with_noise(NAN), "noise_std has 1 non-finite"),
    "with_noise: a vector": (lambda: GOOD.with_noise([1.0, 2.0]), r"noise_std has shape \(2,\); it must have 0"),
    "with_noise: indefinite": (lambda: GOOD.with_noise(noise_cov=INDEFINITE), "noise_cov has the eigenvalue -1"),
    "with_noise: size": (
        lambda: GOOD.with_noise(noise_cov=np.eye(3)),
        r"noise_cov has shape \(3, 3\); it must be \(2, 2\)",
    ),
    # closed forms
    "effective_weights: w": (lambda: theory.effective_weights([NAN, 1], 1.0, EYE), "w has 1 non-finite"),
    "effective_weights: gamma": (lambda: theory.effective_weights([1, 1], 0, EYE), "gamma = 0 switches the unit off"),
    "effective_weights: cov": (
        lambda: theory.effective_weights([1, 1], 1.0, np.eye(3)),
        r"cov has shape \(3, 3\); .* \(2, 2\)",
    ),
    "effective_weights: symmetry": (
        lambda: theory.effective_weights([1, 1], 1.0, [[1, 1], [0, 1]]),
        "cov is not symmetric",
    ),
    "effective_weights: eps": (lambda: theory.effective_weights([1, 1], 1.0, EYE, -1e-5), "eps = -1e-05 is negative"),
    "effective_weights: no variance": (
        lambda: theory.effective_weights([0, 0], 1.0, EYE),
        r"w'Sigma w \+ eps = 0 is not above rounding; .* must vary",
    ),
    "rate: shapes": (
        lambda: theory.rate([1.0], [1.0, 2.0], 1.0),
        r"grad_v has shape \(2,\); it must be that of v, \(1,\)",
    ),
    "rate: gamma": (lambda: theory.rate([1.0], [1.0], 0.0), "gamma = 0 switches the unit off"),
    "rate: NaN": (lambda: theory.rate([1.0], [NAN], 1.0), "grad_v has 1 non-finite"),
    "rate: NaN in v": (lambda: theory.rate([NAN], [1.0], 1.0), "^v has 1 non-finite"),
    "l2_equivalent_rate: v": (
        lambda: theory.l2_equivalent_rate([0.0], [1.0]),
        "v = 0 has no direction .* must be nonzero",
    ),
    "l2_equivalent_rate: shapes": (lambda: theory.l2_equivalent_rate([1.0], [[1.0]]), r"grad_v has shape \(1, 1\)"),
    "least_squares: gamma": (lambda: theory.least_squares(GOOD, 0), "gamma = 0 switches the unit off"),
    "least_squares: eps": (lambda: theory.least_squares(GOOD, 1.0, -1.0), "eps = -1 is negative"),
    "least_squares: uncorrelated": (lambda: theory.least_squares(UNCORRELATED, 1.0), "R sigma_t = 0: .* uncorrelated"),
    "least_squares: impossible": (lambda: theory.least_squares(IMPOSSIBLE, 1.0), r"R\^2 = 2"),
    "noise_path: targets": (
        lambda: theory.noise_path(TWO_TARGETS, 1.0, [0.0]),
        r"cross of shape \(2, 2\); .* one target",
    ),
    "noise_path: gamma": (lambda: theory.noise_path(GOOD, 0.0, [0.0]), "gamma = 0 switches the unit off"),
    "noise_path: gammas": (
        lambda: theory.noise_path(GOOD, [1.0, 2.0], [0.0]),
        r"gamma has shape \(2,\); it must be one number",
    ),
    "noise_path: scalar": (lambda: theory.noise_path(GOOD, 1.0, 0.5), r"noise_stds has shape \(\); it must have 1"),
    "noise_path: negative": (lambda: theory.noise_path(GOOD, 1.0, [1, -1]), "noise_stds = -1 is negative"),
    "noise_path: uncorrelated": (lambda: theory.noise_path(UNCORRELATED, 1.0, [1.0]), "R sigma_t = 0: .* uncorrelated"),
    "signal_and_noise: shapes": (lambda: theory.signal_and_noise([1, 2], [1]), r"second has shape \(1,\); .* \(2,\)"),
    "signal_and_noise: empty": (lambda: theory.signal_and_noise([], []), "at least one row"),
    "signal_and_noise: NaN": (lambda: theory.signal_and_noise([1.0], [NAN]), "second has 1 non-finite"),
    "signal_and_noise: NaN first": (lambda: theory.signal_and_noise([NAN], [1.0]), "^first has 1 non-finite"),
    "weight_decay_rate: eps": (
        lambda: theory.weight_decay_rate(0.1, 1, 1, 1, 0.0),
        "eps = 0.0 leaves no stationary point .* positive",
    ),
    "weight_decay_rate: decay": (
        lambda: theory.weight_decay_rate(-0.1, 1, 1, 1, 0.1),
        "weight_decay = -0.1 is negative",
    ),
    "weight_decay_rate: norm": (lambda: theory.weight_decay_rate(0.1, -1, 1, 1, 0.1), "weight_norm = -1 is negative"),
    "weight_decay_rate: variance": (lambda: theory.weight_decay_rate(0.1, 1, -1, 1, 0.1), "batch_var = -1 is negative"),
    "weight_decay_rate: gamma": (
        lambda: theory.weight_decay_rate(0.1, 1, 1, 0, 0.1),
        "gamma = 0 switches the unit off",
    ),
    "minibatch_factor": (
        lambda: theory.minibatch_factor([4, 1]),
        "batch_size = 1 has no variance; it must be at least 2",
    ),
    "minibatch_factor: NaN": (lambda: theory.minibatch_factor(NAN), "^batch_size has 1 non-finite"),
    "minibatch_decay: batch_size": (lambda: theory.minibatch_decay(1, 0.0), "batch_size = 1 has no variance"),
    "minibatch_decay: kurtosis": (
        lambda: theory.minibatch_decay(4, -2.1),
        "excess_kurtosis = -2.1 belongs to no .* at least -2",
    ),
    "minibatch_decay: NaN": (lambda: theory.minibatch_decay(4, NAN), "excess_kurtosis has 1 non-finite value"),
    # data
    "load": (
        lambda: data.load("emnist"),
        "name = 'emnist' is unknown; it must be one of 'mnist-5k', 'mnist', 'fashion-mnist'",
    ),
    "download": (
        lambda: data.download("mnist-5k"),
        "name = 'mnist-5k' is unknown; it must be one of 'mnist', 'fashion-mnist'",
    ),
    "corrupt: neither": (lambda: data.corrupt(EYE, np.random.default_rng(0)), "give exactly one of the two"),
    "corrupt: negative": (lambda: data.corrupt(EYE, np.random.default_rng(0), -1.0), "noise_std = -1 is negative"),
    "corrupt: size": (
        lambda: data.corrupt(EYE, np.random.default_rng(0), noise_cov=np.eye(3)),
        r"noise_cov has shape \(3, 3\)",
    ),
    "corrupt: indefinite": (
        lambda: data.corrupt(EYE, np.random.default_rng(0), noise_cov=INDEFINITE),
        "noise_cov has the eigenvalue",
    ),
    # models and training
    "network: normalization": (
        lambda: models.network((2, 3), "group"),
        "normalization = 'group' is unknown; .* 'batch', 'layer', 'weight', 'none'",
    ),
    "network: one width": (lambda: models.network((2,)), r"widths = \(2,\) is no network; give at least"),
    "network: zero width": (lambda: models.network((2, 0, 1)), r"widths = \(2, 0, 1\) is no network"),
    "network: eps": (lambda: models.network((2, 3), eps=0.0), "eps = 0.0 is refused by torch .* 1e-30"),
    "network: gamma": (
        lambda: models.network((2, 3), gamma=0.0),
        "gamma = 0 switches the units off; it must be nonzero",
    ),
    "convolutional: normalization": (
        lambda: models.convolutional((2,), "layer"),
        "normalization = 'layer' is unknown; .* 'batch', 'none'",
    ),
    "convolutional: no channels": (
        lambda: models.convolutional(()),
        r"channels = \(\) is no network; give 1 to 4 numbers, each at least 1",
    ),
    "convolutional: zero": (lambda: models.convolutional((2, 0)), r"channels = \(2, 0\) is no network; .* at least 1"),
    "convolutional: too deep": (lambda: models.convolutional((2,) * 5), r"channels = \(2, 2, 2, 2, 2\) is no network"),
    "convolutional: classes": (lambda: models.convolutional((2,), classes=0), "classes = 0 leaves no output"),
    "convolutional: eps": (lambda: models.convolutional((2,), eps=0.0), "eps = 0.0 is refused by torch .* 1e-30"),
    "fold: units": (
        lambda: models.fold(nn.Linear(2, 3), nn.BatchNorm1d(2)),
        "batch_norm has 2 units; after linear it must have 3",
    ),
    "fold: no statistics": (
        lambda: models.fold(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False)),
        "batch_norm keeps no running statistics",
    ),
    "Arm: normalization": (lambda: training.Arm("group"), "normalization = 'group' is unknown"),
    "Arm: weight_decay": (lambda: training.Arm(weight_decay=-1e-3), "weight_decay = -0.001 is negative"),
    "Schedule: epochs": (lambda: training.Schedule(epochs=0), "epochs = 0 trains nothing; it must be at least 1"),
    "Schedule: batch_size": (lambda: training.Schedule(batch_size=0), "batch_size = 0 trains nothing"),
    "Schedule: learning_rate": (
        lambda: training.Schedule(learning_rate=0.0),
        "learning_rate = 0.0 is not positive; .* above 0",
    ),
    "train: too few rows": (
        lambda: training.train(
            [training.Arm()], np.zeros((4, 2), np.float32), LABELS, training.Schedule(batch_size=5), seed=0
        ),
        "batch_size = 5 exceeds the 4 rows of inputs",
    ),
    "train: no arms": (
        lambda: training.train([], np.zeros((4, 2), np.float32), LABELS, SCHEDULE, seed=0),
        r"arms is empty; it must hold bnlib.training.Arm, and at least one",
    ),
    "train: noise_std": (
        lambda: training.train([ARM], np.zeros((4, 2), np.float32), LABELS, SCHEDULE, seed=0, noise_std=-1.0),
        "noise_std = -1 is negative; it must be at least 0",
    ),
    "Stack: widths": (
        lambda: Stack([models.network((2, 3)), models.network((2, 4))], [0.0, 0.0], 0.9),
        r"models have the widths \[\(3,\), \(4,\)\]; all must be alike",
    ),
    # experiments
    "Conditions: dataset": (lambda: Conditions(dataset="emnist"), "dataset = 'emnist' is unknown; .* 'mnist-5k'"),
    "Conditions: noisy_side": (
        lambda: Conditions(noisy_side="top"),
        "noisy_side = 'top' is unknown; .* 'both', 'left'",
    ),
    "Conditions: noise_std": (lambda: Conditions(noise_std=-1.0), "noise_std = -1 is negative; it must be at least 0"),
    "Conditions: NaN": (lambda: Conditions(noise_std=NAN), "noise_std has 1 non-finite"),
    "Conditions: label_noise": (
        lambda: Conditions(label_noise=1.5),
        "label_noise = 1.5 is no share; it must be from 0 to 1",
    ),
    "Conditions: input_scale": (
        lambda: Conditions(input_scale=0.0),
        "input_scale = 0.0 is not positive; it must be above 0",
    ),
    "Conditions: too few images": (
        lambda: Conditions(train_size=5).training_rows(LABELS, seed=0),
        "train_size = 5 does not fit the training split; it must be from 1 to 4",
    ),
    "Conditions: no images": (
        lambda: Conditions(train_size=0),
        "train_size = 0 is not right; it must be a whole number, at least 1",
    ),
    "sweep: arms": (lambda: sweep([], [Conditions()], SCHEDULE, [0]), "arms is empty; a sweep needs at least one"),
    "sweep: conditions": (lambda: sweep([ARM], [], SCHEDULE, [0]), "conditions is empty"),
    "sweep: seeds": (lambda: sweep([ARM], [Conditions()], SCHEDULE, []), "seeds is empty"),
    "sweep: twice": (
        lambda: sweep([ARM], [Conditions()], SCHEDULE, [0, 0]),
        "seeds holds one twice; each must be different",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_words(name):
    call, message = CASES[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_good_input_is_returned_as_float64():
    assert finite_array("w", [1, 2], 1).dtype == np.float64
    assert finite_array("w", torch.ones(2), (0, 1)).tolist() == [1.0, 1.0]
    assert nonnegative("noise_std", 0).shape == ()
    assert nonzero("gamma", -2) == -2.0
    assert choice("name", "a", ("a", "b")) == "a"
    assert nonnegative("empty", []).size == 0


def test_rounding_is_no_asymmetry():
    matrix = covariance("cov", [[1.0, 0.5], [0.5 + 1e-12, 1.0]])
    assert (matrix == matrix.T).all()
    assert matrix[0, 1] == pytest.approx(0.5 + 5e-13, abs=1e-16)
    with pytest.raises(ValueError, match="not symmetric"):
        covariance("cov", [[1.0, 0.5], [0.5 + 1e-9, 1.0]])


def test_rounding_is_no_negative_eigenvalue():
    s, _ = semidefinite_spectrum("cov", np.diag([-1e-12, 1.0]))
    assert s.tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="none below 0"):
        semidefinite_spectrum("cov", np.diag([-1e-9, 1.0]))


def test_rounding_is_no_impossible_r_squared():
    barely = Moments([0.0], [[1.0]], [1.0 + 1e-8], 1.0)
    assert barely.r_squared == pytest.approx(1.0, abs=1e-7)
