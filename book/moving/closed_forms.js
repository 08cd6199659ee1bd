// The closed forms of bnlib.theory, for the browser: same names, same arguments, plain arrays.
// Figures call these and nothing else. constraint to minibatch are the book's theorems.

export const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
export const times = (matrix, vector) => matrix.map((row) => dot(row, vector));

const positive = (name, value) => {
  if (!(value > 0)) throw new RangeError(`${name} = ${value} must be positive`);
  return value;
};

// constraint: v = gamma w / sqrt(w'Sigma w + eps)
export function effectiveWeights(w, gamma, cov, eps = 0) {
  const divisor = Math.sqrt(positive("w'Sigma w + eps", dot(w, times(cov, w)) + eps));
  return w.map((value) => (gamma / divisor) * value);
}

// rate: lambda = -v'grad / gamma^2
export function rate(v, gradV, gamma) {
  return -dot(v, gradV) / gamma ** 2;
}

// rate: alpha = -v'grad / |v|^2
export function l2EquivalentRate(v, gradV) {
  return -dot(v, gradV) / positive("|v|^2", dot(v, v));
}

// (1/2) Var(t - v'x) and its gradient, the bias tied
export function squaredLoss(v, moments) {
  const { cov, cross, targetVar } = moments;
  return (targetVar - 2 * dot(cross, v) + dot(v, times(cov, v))) / 2;
}

export function squaredLossGradient(v, moments) {
  return times(moments.cov, v).map((value, i) => value - moments.cross[i]);
}

// R sigma_t and Sigma^{-1} c: the least squares fit without BN, two inputs
export function ordinaryLeastSquares({ cov, cross }) {
  const [[a, b], [, d]] = cov;
  const det = positive("det Sigma", a * d - b * b);
  const weights = [(d * cross[0] - b * cross[1]) / det, (a * cross[1] - b * cross[0]) / det];
  return { weights, explainedStd: Math.sqrt(positive("R sigma_t", dot(cross, weights))) };
}

// stationarity, least-squares: 1 + lambda = R sigma_t / |gamma|, with eps > 0 at least 1; two inputs
export function leastSquares(moments, gamma, eps = 0) {
  const { weights: free, explainedStd } = ordinaryLeastSquares(moments);
  const multiplier = leastSquaresRate(explainedStd, gamma, eps);
  const weights = free.map((value) => value / (1 + multiplier));
  const outputVar = (explainedStd / (1 + multiplier)) ** 2;
  return {
    weights,
    rate: multiplier,
    l2Rate: (multiplier * outputVar) / dot(weights, weights),
    loss: (moments.targetVar - (2 * explainedStd ** 2) / (1 + multiplier) + outputVar) / 2,
  };
}

export function leastSquaresRate(explainedStd, gamma, eps = 0) {
  const multiplier = explainedStd / Math.abs(gamma) - 1;
  return eps > 0 ? Math.max(0, multiplier) : multiplier;
}

// noise: the fit under white noise, in the eigenbasis of Sigma: variances s_i, cross_i = u_i'c
export function noisePath(variances, cross, gamma, noiseStd) {
  const noiseVar = noiseStd ** 2;
  const scale = Math.abs(gamma);
  const noisy = variances.map((s) => positive("s_i + noise_std^2", s + noiseVar));
  const kappa = Math.sqrt(
    positive(
      "kappa",
      cross.reduce((sum, c, i) => sum + c ** 2 / noisy[i], 0),
    ),
  );
  const weights = cross.map((c, i) => ((scale / kappa) * c) / noisy[i]);
  const signal = weights.reduce((sum, v, i) => sum + variances[i] * v ** 2, 0);
  const normSquared = dot(weights, weights);
  const multiplier = kappa / scale - 1;
  return {
    rate: multiplier,
    weights,
    signalShare: signal / gamma ** 2,
    noiseShare: (noiseVar * normSquared) / gamma ** 2,
    l2Rate: (multiplier * gamma ** 2) / normSquared, // on the loss that training sees
    cleanL2Rate: (multiplier * signal) / normSquared + (1 + multiplier) * noiseVar,
    wiener: variances.map((s, i) => s / noisy[i]),
  };
}

// depth: lambda = a |w|^2 (q + eps) / (eps gamma^2), at rest
export function weightDecayRate(weightDecay, weightNorm, batchVar, gamma, eps) {
  return (weightDecay * weightNorm ** 2 * (batchVar + positive("eps", eps))) / (eps * gamma ** 2);
}

// Where least squares on one input of variance s comes to rest under decay a on w, gamma > 0, eps > 0.
// Output std y = gamma sqrt(q/(q + eps)). The loss pulls by R sigma_t - y, falling in q; decay by
// a sqrt(q) (q + eps)^{3/2} / (s eps gamma), rising from 0. So they meet at one q, a minimum of the sum.
export function weightDecayFit(weightDecay, explainedStd, inputVar, gamma, eps) {
  positive("weight_decay", weightDecay);
  positive("R sigma_t", explainedStd);
  const excess = (logVar) => {
    const q = Math.exp(logVar);
    const ratio = Math.sqrt(q / (q + eps));
    // gamma - y without cancellation where q is far above eps
    const below = (gamma * eps) / ((q + eps) * (1 + ratio));
    const pull = (weightDecay * Math.sqrt(q) * (q + eps) ** 1.5) / (inputVar * eps * gamma);
    return explainedStd - gamma + below - pull;
  };
  const batchVar = Math.exp(bisect(excess, -80, 80));
  const weightNorm = Math.sqrt(batchVar / inputVar);
  return {
    batchVar,
    weightNorm,
    outputStd: gamma * Math.sqrt(batchVar / (batchVar + eps)),
    rate: weightDecayRate(weightDecay, weightNorm, batchVar, gamma, eps),
  };
}

function bisect(falling, low, high) {
  for (let step = 0; step < 80; step += 1) {
    const middle = (low + high) / 2;
    if (falling(middle) > 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

// minibatch: a_M = sqrt(2/M) g(M), g(M) = Gamma(M/2) / Gamma((M-1)/2), by g(M + 1) g(M) = (M - 1)/2 from g(2) = 1/sqrt(pi)
export function minibatchFactor(batchSize) {
  if (!(Number.isInteger(batchSize) && batchSize >= 2)) {
    throw new RangeError(`batch_size = ${batchSize} must be an integer of at least 2`);
  }
  let ratio = 1 / Math.sqrt(Math.PI);
  for (let size = 2; size < batchSize; size += 1) ratio = (size - 1) / 2 / ratio;
  return Math.sqrt(2 / batchSize) * ratio;
}

// minibatch: 1/a_M - 1 for Gaussian data; with an excess kurtosis the leading term (rho + 6)/(8 M)
export function minibatchDecay(batchSize, excessKurtosis) {
  if (excessKurtosis === undefined) return 1 / minibatchFactor(batchSize) - 1;
  return (excessKurtosis + 6) / (8 * batchSize);
}

// minibatch: the expected least squares loss less its constant, at the best w: -gamma A R sigma_t + gamma^2/2
export function expectedBatchLoss(gamma, factor, explainedStd) {
  return -gamma * factor * explainedStd + gamma ** 2 / 2;
}
