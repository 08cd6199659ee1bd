// stationarity, depth: what eps does to the constraint, and how weight decay on w acts through it.

import { leastSquaresRate, rate, weightDecayFit, weightDecayRate } from "./closed_forms.js";
import { COLORS, INK, makeBoard, number, power, range, signed, stage, verdict } from "./stage.js";

const BEST = 1; // R sigma_t
const OFF = -5.25; // the sliders' left end
const GAMMAS = range(0.32, 2, 169);
const LENGTHS = range(-3, 2, 201);
const setting = (exponent) => (exponent <= OFF ? 0 : 10 ** exponent);
const shown = (exponent) => (exponent <= OFF ? "0 (off)" : power(10 ** exponent));

export function decay(host) {
  let view;

  // One input of variance 1, so that q = |w|^2; the resting point, where there is one.
  function rest(gamma, eps, weightDecay) {
    if (eps > 0 && weightDecay > 0) {
      const fit = weightDecayFit(weightDecay, BEST, 1, gamma, eps);
      return { rate: fit.rate, length: fit.weightNorm, std: fit.outputStd };
    }
    const multiplier = leastSquaresRate(BEST, gamma, eps);
    if (eps === 0) return { rate: multiplier, length: weightDecay > 0 ? 0 : null, std: gamma };
    const std = Math.min(gamma, BEST);
    return { rate: multiplier, length: Math.sqrt((eps * std ** 2) / (gamma ** 2 - std ** 2)), std };
  }

  function look({ gamma, eps: epsExponent, weightDecay: decayExponent }) {
    const eps = setting(epsExponent);
    const weightDecay = setting(decayExponent);
    // w'grad_w J = -(eps/(q + eps)) gamma^2 lambda: how hard the loss pulls |w| outwards
    const outward = (length) => {
      const v = (gamma * length) / Math.sqrt(length ** 2 + eps);
      return (eps / (length ** 2 + eps)) * gamma ** 2 * rate([v], [v - BEST], gamma);
    };
    return { gamma, eps, weightDecay, outward, now: rest(gamma, eps, weightDecay) };
  }

  function story({ eps, weightDecay, now }) {
    if (eps === 0 && weightDecay === 0) return "ε = 0: the loss does not see |w|, so any length will do.";
    if (eps === 0) return "ε = 0: decay shortens w, and the loss does not see it. The rate does not change.";
    if (weightDecay === 0 && now.length < Infinity) return "No decay: ε leaves room for the fit without BN.";
    if (weightDecay === 0) return "No decay: w lengthens for ever, and the rate is approached, never reached.";
    return `The two pulls meet at |w| = ${power(now.length)}: decay on w has become a rate.`;
  }

  const figure = stage(host, {
    caption:
      "Move ε to its left end and back: without it weight decay on w does nothing to the rate. " +
      "Then turn the decay up and watch where the two pulls on |w| meet.",
    sliders: [
      {
        name: "gamma",
        label: "scale γ",
        min: 0.32,
        max: 2,
        step: 0.01,
        value: 1,
        show: (value) => `${number(value)} Rσₜ`,
      },
      { name: "eps", label: "BN’s ε", min: OFF, max: 0, step: 0.05, value: -1, show: shown },
      { name: "weightDecay", label: "weight decay a on w", min: OFF, max: 1, step: 0.05, value: -1, show: shown },
    ],
    draw(values) {
      view = look(values);
      grip.back();
      rates.update();
      pulls.update();
      const { now } = view;
      const limits = new Map([
        [null, "any"],
        [0, "→ 0"],
        [Infinity, "→ ∞"],
      ]);
      const length = limits.get(now.length) ?? power(now.length);
      const says = `λ = ${signed(now.rate)}: ${verdict(now.rate)}. ${story(view)}`;
      return {
        numbers: [
          ["rate λ", signed(now.rate)],
          ["length |w|", length],
          ["variance q = |w|²", limits.get(now.length) ?? power(now.length ** 2)],
          ["std of the output", number(now.std)],
        ],
        says,
        alts: [
          "The rate against gamma for eps 0, for eps above 0, and with weight decay. " +
            `Now ${signed(now.rate)} at gamma ${number(values.gamma)}.`,
          `Two pulls on the length of w: the loss outwards, decay inwards. Length at rest: ${length}.`,
        ],
      };
    },
  });
  view = look(figure.values);

  const rates = makeBoard(figure.boards, [-0.12, 2.55, 2.12, -1.15]);
  rates.curve(
    () => [
      [0.2, 2],
      [0, 0],
    ],
    { width: 0.6 },
  );
  rates.axes({
    x: {
      at: -0.65,
      from: 0.2,
      to: 2,
      ticks: [
        [0.5, "0.5"],
        [1, "1"],
        [1.5, "1.5"],
        [2, "2"],
      ],
      title: "scale γ",
    },
    y: {
      at: 0.2,
      from: -0.65,
      to: 2.2,
      ticks: [
        [0, "0"],
        [1, "1"],
        [2, "2"],
      ],
      title: "rate λ",
    },
    gap: [0.04, 0.05],
  });
  const both = () => view.eps > 0 && view.weightDecay > 0;
  const along = (eps, weightDecay) => [GAMMAS, GAMMAS.map((gamma) => rest(gamma, eps, weightDecay).rate)];
  rates.curve(() => along(0, 0), { color: COLORS.none, width: 2, dash: 2 });
  rates.curve(() => (view.eps > 0 ? along(view.eps, 0) : [[], []]), { color: COLORS.batch, width: 2.5 });
  rates.curve(() => (both() ? along(view.eps, view.weightDecay) : [[], []]), { color: COLORS.theory, width: 3 });
  rates.legend(
    1.02,
    2.1,
    [0.16, 0.28],
    [
      [COLORS.none, 2, "ε = 0"],
      [COLORS.batch, 0, () => (view.eps > 0 ? "ε > 0, no decay" : "")],
      [COLORS.theory, 0, () => (both() ? "ε > 0 and decay on w" : "")],
    ],
  );
  const grip = rates.handle(
    () => [view.gamma, view.now.rate],
    (x) => figure.set({ gamma: x }),
    COLORS.theory,
  );

  const pulls = makeBoard(figure.boards, [-3.85, 1.75, 2.25, -7.2]);
  pulls.axes({
    x: {
      at: -6,
      from: -3,
      to: 2,
      ticks: [
        [-3, "0.001"],
        [-1, "0.1"],
        [1, "10"],
      ],
      title: "length |w|",
    },
    y: {
      at: -3,
      from: -6,
      to: 1,
      ticks: [
        [-6, "10⁻⁶"],
        [-4, "10⁻⁴"],
        [-2, "0.01"],
        [0, "1"],
      ],
      title: "pull on |w|",
    },
    gap: [0.1, 0.13],
  });
  const inside = (pull) => {
    const kept = LENGTHS.map((exponent) => [exponent, Math.log10(pull(10 ** exponent))]).filter(
      ([, y]) => y > -6 && y < 1,
    );
    return [kept.map(([x]) => x), kept.map(([, y]) => y)];
  };
  const inward = (length) => view.weightDecay * length ** 2;
  pulls.curve(() => (view.eps > 0 ? inside((length) => Math.max(0, view.outward(length))) : [[], []]), {
    color: COLORS.l2,
    width: 2.5,
  });
  pulls.curve(() => (view.weightDecay > 0 ? inside(inward) : [[], []]), { color: COLORS.signal, width: 2.5 });
  const crossing = () => Math.log10(view.now.length);
  pulls.dot(
    () => (both() ? crossing() : NaN),
    () => (both() ? Math.log10(inward(view.now.length)) : NaN),
    { color: COLORS.theory, size: 5 },
  );
  pulls.legend(
    -2.8,
    0.75,
    [0.5, 0.65],
    [
      [COLORS.l2, 0, () => (view.eps > 0 ? "the loss lengthens w" : "")],
      [COLORS.signal, 0, () => (view.weightDecay > 0 ? "decay shortens w" : "")],
    ],
  );
  figure.refresh();
}
