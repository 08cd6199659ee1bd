// cross-entropy: what the covariance is worth against what the curvature asks.

import { logisticNoisePath, logisticResting } from "./closed_forms.js";
import { COLORS, INK, makeBoard, number, power, range, signed, stage, verdict } from "./stage.js";

const VARIANCES = [4, 1, 0.25, 0.0625]; // s_i
const SCALES = range(-2.4, 2.6, 101); // log2 of gamma
const LEVELS = range(-1.7, 1.5, 161); // log10 of noise_std
const TOP = 0.62; // of the left board
const [LOW, HIGH] = [-0.28, 0.62]; // of the right one

export function crossEntropy(host) {
  let view;
  let asked = { share: NaN, curvatures: [] };

  function look({ level, scale, share }) {
    const gamma = 2 ** scale;
    const kappa = 1.2 * share * (1 - share); // without noise, all directions alike; a Gaussian class allows 1.6 and more
    const cross = VARIANCES.map((s) => kappa * Math.sqrt(s / VARIANCES.length));
    if (asked.share !== share) {
      asked = { share, curvatures: SCALES.map((place) => logisticResting(2 ** place, share).curvature) };
    }
    const now = logisticNoisePath(VARIANCES, cross, gamma, 10 ** level, share);
    // kappa at every noise level from that of one scale: the curvature does not see the noise
    const worth = (exponent) => {
      const noisy = VARIANCES.map((s) => s + 10 ** (2 * exponent));
      return Math.sqrt(cross.reduce((sum, c, i) => sum + c ** 2 / noisy[i], 0));
    };
    return {
      now,
      level,
      scale,
      gamma,
      worth: worth(level) / gamma,
      offered: SCALES.map((place) => worth(level) / 2 ** place),
      path: LEVELS.map((exponent) => worth(exponent) / gamma - now.curvature),
    };
  }

  const figure = stage(host, {
    caption:
      "Drag the point along the blue curve: to the left of the crossing BN shrinks, to the right it inflates. " +
      "Then turn up the noise. The green curve sinks; the blue one, and the shift, do not move.",
    sliders: [
      {
        name: "scale",
        label: "scale γ",
        min: -2.4,
        max: 2.6,
        step: 0.05,
        value: -1,
        show: (value) => number(2 ** value),
      },
      {
        name: "level",
        label: "noise_std σ",
        min: -1.7,
        max: 1.5,
        step: 0.02,
        value: -0.5,
        show: (value) => power(10 ** value),
      },
      {
        name: "share",
        label: "share of the class",
        min: 0.05,
        max: 0.5,
        step: 0.01,
        value: 0.3,
        show: (value) => number(value),
      },
    ],
    draw(values) {
      view = look(values);
      scaleGrip.back();
      levelGrip.back();
      balance.update();
      noise.update();
      const { now, worth, gamma } = view;
      return {
        numbers: [
          ["rate λ", signed(now.rate, 3)],
          ["κ/γ", number(worth, 3)],
          ["mean of p(1 − p)", number(now.curvature, 3)],
          ["shift β", signed(now.beta)],
        ],
        says:
          `λ = ${number(worth, 3)} − ${number(now.curvature, 3)} = ${signed(now.rate, 3)}: ${verdict(now.rate)}. ` +
          "The weights point where those of least squares do.",
        alts: [
          `Two falling curves against γ: κ over γ and the mean of p times 1 − p. At γ = ${number(gamma)} they are ` +
            `${number(worth, 3)} and ${number(now.curvature, 3)}.`,
          `The rate against the noise, falling towards −${number(now.curvature, 3)}. ` +
            `At ${power(10 ** values.level)} it is ${signed(now.rate, 3)}.`,
        ],
      };
    },
  });
  view = look(figure.values);

  const balance = makeBoard(figure.boards, [-3.25, 0.76, 2.95, -0.16]);
  balance.axes({
    x: {
      at: 0,
      from: -2.4,
      to: 2.6,
      ticks: [
        [-2, "¼"],
        [0, "1"],
        [2, "4"],
      ],
      title: "scale γ",
    },
    y: {
      at: -2.4,
      from: 0,
      to: TOP,
      ticks: [
        [0, "0"],
        [0.25, "0.25"],
        [0.5, "0.5"],
      ],
      title: "what is weighed",
    },
    gap: [0.1, 0.018],
  });
  balance.curve(() => [SCALES, view.offered.map((value) => (value > TOP ? NaN : value))], {
    color: COLORS.signal,
    width: 3,
  });
  balance.curve(() => [SCALES, asked.curvatures], { color: COLORS.batch, width: 3 });
  balance.curve(
    () => [
      [view.scale, view.scale],
      [view.now.curvature, Math.min(TOP, view.worth)],
    ],
    { color: COLORS.theory, width: 3 },
  );
  balance.legend(0.2, 0.57, [0.4, 0.075], [
    [COLORS.signal, 0, "κ/γ"],
    [COLORS.batch, 0, "mean of p(1 − p)"],
    [COLORS.theory, 0, "rate λ"],
  ]);
  const scaleGrip = balance.handle(
    () => [view.scale, view.now.curvature],
    (x) => figure.set({ scale: x }),
    COLORS.batch,
  );

  const noise = makeBoard(figure.boards, [-2.15, 0.78, 1.75, -0.5]);
  noise.axes({
    x: {
      at: LOW,
      from: -1.7,
      to: 1.5,
      ticks: [
        [-1, "0.1"],
        [0, "1"],
        [1, "10"],
      ],
      title: "noise_std σ",
    },
    y: {
      at: -1.7,
      from: LOW,
      to: HIGH,
      ticks: [
        [-0.25, "−0.25"],
        [0, "0"],
        [0.25, "0.25"],
        [0.5, "0.5"],
      ],
      title: "rate λ",
    },
    gap: [0.06, 0.024],
  });
  noise.curve(
    () => [
      [-1.7, 1.5],
      [0, 0],
    ],
    { width: 0.6 },
  );
  noise.curve(
    () => [
      [-1.7, 1.5],
      [-view.now.curvature, -view.now.curvature],
    ],
    { color: COLORS.batch, width: 1, dash: 2 },
  );
  noise.curve(() => [LEVELS, view.path.map((value) => (value > HIGH ? NaN : value))], {
    color: COLORS.theory,
    width: 3,
  });
  noise.curve(
    () => [
      [view.level, view.level],
      [LOW, Math.min(HIGH, view.now.rate)],
    ],
    { color: INK, width: 0.8, dash: 1 },
  );
  const levelGrip = noise.handle(
    () => [view.level, Math.min(HIGH, view.now.rate)],
    (x) => figure.set({ level: x }),
    COLORS.theory,
  );
  figure.refresh();
}
