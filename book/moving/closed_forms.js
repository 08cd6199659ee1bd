// The closed forms of bnlib.theory, for the browser: same names, same arguments, plain arrays.
// Figures call these and nothing else. constraint to half-tuned are the book's theorems.

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

// cross-entropy: the best shift of a logit of deviation gamma below 64, and the mean of p (1 - p) there, Gaussian inputs
export function logisticResting(gamma, targetMean) {
  const step = Math.min(0.25, 0.4 / positive("gamma", gamma)); // of the trapezoidal rule, as in bnlib.theory
  if (gamma >= 64) throw new RangeError(`gamma = ${gamma} must be below 64`);
  const nodes = [];
  for (let k = -Math.ceil(12 / step); k <= Math.ceil(12 / step); k += 1) {
    nodes.push([k * step, (step * Math.exp(-((k * step) ** 2) / 2)) / Math.sqrt(2 * Math.PI)]);
  }
  const means = (beta) => {
    let [mean, curvature] = [0, 0];
    for (const [z, weight] of nodes) {
      const chance = 1 / (1 + Math.exp(-beta - gamma * z));
      mean += weight * chance;
      curvature += (weight * chance) / (1 + Math.exp(beta + gamma * z));
    }
    return [mean, curvature];
  };
  let beta = Math.log(targetMean / (1 - targetMean)) * Math.sqrt(1 + (Math.PI * gamma ** 2) / 8);
  for (let round = 0; round < 9; round += 1) {
    const [mean, slope] = means(beta);
    beta += (targetMean - mean) / slope;
  }
  return { beta, curvature: means(beta)[1] };
}

// cross-entropy: the weights of noisePath, the rate with the curvature in place of 1
export function logisticNoisePath(variances, cross, gamma, noiseStd, targetMean) {
  const { rate: squares, weights, signalShare, noiseShare, wiener } = noisePath(variances, cross, gamma, noiseStd);
  const { beta, curvature } = logisticResting(Math.abs(gamma), targetMean);
  const multiplier = 1 + squares - curvature;
  const l2Rate = (multiplier * gamma ** 2) / dot(weights, weights);
  return { rate: multiplier, weights, signalShare, noiseShare, l2Rate, wiener, beta, curvature };
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

// half-tuned: the rate that makes the best of the fit to n Gaussian rows
export function neededRate(rSquared, rows, inputs) {
  return (inputs * (1 - rSquared)) / (positive("rows - inputs - 2", rows - inputs - 2) * positive("R^2", rSquared));
}

// half-tuned: exp(E log(1 + lambda)) - 1 at the true length, R^2 below 1
export function trueLengthRate(rSquared, rows, inputs) {
  const freedom = (rows - 1) / 2;
  const mean = rSquared + ((1 - rSquared) * inputs) / (rows - 1);
  const squaredStd = (((Math.exp(digamma(freedom)) * 2) / rows) * mean) / rSquared;
  const difference = (tau) => {
    const fall = Math.expm1(-tau);
    const alike = Math.expm1(-freedom * (tau + Math.log1p((1 - mean) * fall)));
    const exact = Math.expm1((-inputs / 2) * tau + ((rows - inputs - 1) / 2) * Math.log1p(rSquared * fall));
    return (exact - alike) / fall;
  };
  return Math.sqrt(squaredStd) * Math.exp(integral(difference, 1 / (freedom * mean)) / 2) - 1;
}

// half-tuned: the excess risk at the true length, sigma_t = 1, R^2 below 1
export function trueLengthExcess(rSquared, rows, inputs) {
  const missing = 1 - rSquared;
  const spare = positive("rows - inputs - 2", rows - inputs - 2);
  const powers = (tau, first, second) =>
    Math.exp(-first * tau + second * Math.log1p(rSquared * Math.expm1(-tau)));
  const length = (tau) => {
    const mixture = missing + rSquared * Math.exp(-tau);
    const bracket = rSquared * Math.exp(-tau) + (missing / spare) * (1 + (inputs - 1) * mixture);
    return (powers(tau, inputs / 2, (rows - inputs - 5) / 2) * bracket) / 2;
  };
  const along = (tau) =>
    powers(tau, (inputs + 1) / 2, (rows - inputs - 3) / 2) / Math.sqrt(-Math.expm1(-tau));
  const scale = 1 / (inputs / 2 + (rSquared * rows) / 2);
  const projected = Math.sqrt((rSquared * rows) / (2 * Math.PI)) * integral(along, scale);
  return rSquared * (rows * integral(length, scale) - 2 * projected + 1);
}

// from 0 to infinity, of what decays on this scale, by the nodes exp(pi/2 sinh h) of bnlib.theory
const NODES = Array.from({ length: 201 }, (_, i) => {
  const h = (i - 100) / 20;
  const node = Math.exp((Math.PI / 2) * Math.sinh(h));
  return [node, (node * (Math.PI / 2) * Math.cosh(h)) / 20];
});

function integral(f, scale) {
  return scale * NODES.reduce((sum, [node, weight]) => sum + weight * f(scale * node), 0);
}

function digamma(x) {
  let [sum, at] = [0, x];
  for (; at < 16; at += 1) sum -= 1 / at;
  const u = 1 / at ** 2;
  return sum + Math.log(at) - 1 / (2 * at) - u * (1 / 12 - u * (1 / 120 - u * (1 / 252 - u * (1 / 240 - u / 132))));
}
