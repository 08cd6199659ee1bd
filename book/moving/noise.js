// noise: the rate along the noise, and who pays.

import { noisePath } from "./closed_forms.js";
import { COLORS, INK, makeBoard, number, percent, power, range, signed, stage, verdict } from "./stage.js";

const DIRECTIONS = range(1, 6, 6);
const EXPLAINED = 0.9;
const STRONGEST = 4;
const LEVELS = range(-1.7, 1.5, 161);

export function noise(host) {
  let view;

  function look({ level, decay, alignment, gamma }) {
    const variances = DIRECTIONS.map((i) => STRONGEST * i ** -decay);
    const raw = DIRECTIONS.map((i) => i ** alignment);
    const total = raw.reduce((sum, value) => sum + value, 0);
    const shares = raw.map((value) => (EXPLAINED * value) / total); // R_i^2
    const cross = variances.map((s, i) => Math.sqrt(s * shares[i])); // sigma_t = 1
    const at = (exponent) => noisePath(variances, cross, gamma, 10 ** exponent);
    const starts = shares.map((_, i) => shares.slice(0, i).reduce((sum, value) => sum + value, 0));
    return { level, gamma, shares, starts, now: at(level), path: LEVELS.map((exponent) => at(exponent).rate) };
  }

  const figure = stage(host, {
    caption:
      "Turn up the noise: watch the narrow directions drain first, the rate fall, and the budget change hands. " +
      "Then let weak directions carry the target, and do it again.",
    sliders: [
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
        name: "decay",
        label: "variances sᵢ",
        min: 0,
        max: 4,
        step: 0.1,
        value: 2,
        show: (value) => `∝ i^−${number(value, 1)}`,
      },
      {
        name: "alignment",
        label: "target carried by",
        min: -2,
        max: 2,
        step: 0.1,
        value: 0,
        show: (value) => (value > 0.05 ? "weak directions" : value < -0.05 ? "strong directions" : "all alike"),
      },
      {
        name: "gamma",
        label: "scale γ",
        min: 0.3,
        max: 1.2,
        step: 0.01,
        value: 0.5,
        show: (value) => `${number(value)} σₜ`,
      },
    ],
    draw(values) {
      view = look(values);
      grip.back();
      rates.update();
      bars.update();
      const { now } = view;
      return {
        numbers: [
          ["rate λ", signed(now.rate)],
          ["signal", percent(now.signalShare)],
          ["noise", percent(now.noiseShare)],
          ["L2-equivalent α", signed(now.l2Rate)],
          ["α on the clean loss", signed(now.cleanL2Rate)],
        ],
        says:
          `λ = ${signed(now.rate)}: ${verdict(now.rate)}. ` +
          `${percent(now.signalShare)} of the output’s variance is signal, ${percent(now.noiseShare)} noise.`,
        alts: [
          `The rate against the noise, falling towards −1. At ${power(10 ** values.level)} it is ${signed(now.rate)}.`,
          "A bar a direction, as wide as its share of the target and as high as its Wiener factor: " +
            `${now.wiener.map((factor) => number(factor)).join(", ")}. ` +
            `Below, the budget: signal ${percent(now.signalShare)}, noise ${percent(now.noiseShare)}.`,
        ],
      };
    },
  });
  view = look(figure.values);

  const rates = makeBoard(figure.boards, [-2.05, 2.62, 1.65, -1.75]);
  rates.curve(
    () => [
      [-1.7, 1.5],
      [0, 0],
    ],
    { width: 0.6 },
  );
  rates.axes({
    x: {
      at: -1.15,
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
      from: -1.15,
      to: 2.25,
      ticks: [
        [-1, "−1"],
        [0, "0"],
        [1, "1"],
        [2, "2"],
      ],
      title: "rate λ",
    },
    gap: [0.06, 0.06],
  });
  rates.text(1.5, 0.14, "BN shrinks", { anchorX: "right" });
  rates.text(1.5, -0.14, "BN inflates", { anchorX: "right" });
  rates.curve(() => [LEVELS, view.path], { color: COLORS.theory, width: 3 });
  rates.curve(
    () => [
      [view.level, view.level],
      [-1.15, view.now.rate],
    ],
    { color: INK, width: 0.8, dash: 1 },
  );
  const grip = rates.handle(
    () => [view.level, view.now.rate],
    (x) => figure.set({ level: x }),
    COLORS.theory,
  );

  const bars = makeBoard(figure.boards, [-0.09, 1.26, 0.97, -0.72]);
  const box = (left, right, low, high) => [
    [left, right, right, left, left],
    [low, low, high, high, low],
  ];
  DIRECTIONS.forEach((direction, i) => {
    const left = () => view.starts[i] + 0.004;
    const right = () => view.starts[i] + view.shares[i] - 0.004;
    bars.curve(() => box(left(), right(), 0, view.now.wiener[i]), {
      color: "none",
      width: 0,
      fill: COLORS.batch,
      opacity: 0.75,
    });
    bars.curve(() => box(left(), right(), 0, 1), { color: COLORS.none, width: 1 });
    bars.text(
      () => (left() + right()) / 2,
      -0.05,
      () => (view.shares[i] > 0.035 ? String(direction) : ""),
      { anchorX: "middle", anchorY: "top" },
    );
  });
  bars.text(0, 1.13, "height: Wiener factor, width: Rᵢ²");
  const split = () => EXPLAINED * view.now.signalShare;
  bars.curve(() => box(0, split(), -0.46, -0.3), { color: "none", width: 0, fill: COLORS.signal, opacity: 0.85 });
  bars.curve(() => box(split(), EXPLAINED, -0.46, -0.3), {
    color: "none",
    width: 0,
    fill: COLORS.noise,
    opacity: 0.85,
  });
  bars.text(0, -0.57, () => `signal ${percent(view.now.signalShare)}`);
  bars.text(EXPLAINED, -0.57, () => `noise ${percent(view.now.noiseShare)}`, { anchorX: "right" });
  figure.refresh();
}
