// minibatch: a batch's size as a decay on gamma.

import { expectedBatchLoss, minibatchDecay, minibatchFactor } from "./closed_forms.js";
import { COLORS, INK, makeBoard, number, range, stage } from "./stage.js";

const SIZES = [2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256];
const GAMMAS = range(0, 1.3, 66);
const log = Math.log10;
const digits3 = (value) => value.toPrecision(3);
const EVERY = range(2, 256, 255);
const EXACT = EVERY.map((M) => minibatchDecay(M));

export function batches(host) {
  let view;

  function look({ size, correlation, kurtosis }) {
    const M = SIZES[Math.round(size)];
    const factor = minibatchFactor(M);
    return {
      M,
      factor,
      correlation,
      kurtosis,
      gamma: factor * correlation,
      exact: minibatchDecay(M),
      leading: minibatchDecay(M, kurtosis),
    };
  }

  const figure = stage(host, {
    caption:
      "Make the batch smaller: watch the decay on γ grow, " +
      "and the valley of the expected loss move away from the population’s.",
    sliders: [
      {
        name: "size",
        label: "batch size M",
        min: 0,
        max: SIZES.length - 1,
        step: 1,
        value: 2,
        show: (value) => `${SIZES[Math.round(value)]} rows`,
      },
      {
        name: "correlation",
        label: "correlation R",
        min: 0.1,
        max: 1,
        step: 0.01,
        value: 0.9,
        show: (value) => number(value),
      },
      {
        name: "kurtosis",
        label: "excess kurtosis ρ",
        min: -2,
        max: 6,
        step: 0.1,
        value: 0,
        show: (value) => number(value, 1),
      },
    ],
    draw(values) {
      view = look(values);
      grip.back();
      decays.update();
      valleys.update();
      return {
        numbers: [
          ["a_M", number(view.factor, 4)],
          ["decay 1/a_M − 1", digits3(view.exact)],
          ["leading order", digits3(view.leading)],
          ["learned γ", `${number(view.gamma, 3)} σₜ`],
        ],
        says:
          `Batches of ${view.M} are worth a weight decay of ${digits3(view.exact)} on γ: ` +
          `learned, it ends at ${number(view.gamma, 3)} σₜ instead of ${number(view.correlation, 3)} σₜ.`,
        alts: [
          `Decay on gamma against batch size: at ${view.M} rows ${digits3(view.exact)} for Gaussian data, ` +
            `leading order ${digits3(view.leading)} for excess kurtosis ${number(view.kurtosis, 1)}.`,
          `Expected loss against gamma: with batches of ${view.M} least at ${number(view.gamma, 3)}, ` +
            `for the population at ${number(view.correlation, 3)}.`,
        ],
      };
    },
  });
  view = look(figure.values);

  const decays = makeBoard(figure.boards, [-0.28, 0.62, 2.6, -4.05]);
  decays.axes({
    x: {
      at: -3.25,
      from: log(2),
      to: 2.45,
      ticks: [
        [log(2), "2"],
        [1, "10"],
        [2, "100"],
      ],
      title: "batch size M",
    },
    y: {
      at: log(2),
      from: -3.25,
      to: 0.3,
      ticks: [
        [-3, "0.001"],
        [-2, "0.01"],
        [-1, "0.1"],
        [0, "1"],
      ],
      title: "decay on γ",
    },
    gap: [0.05, 0.06],
  });
  const logged = (values) => [EVERY.map(log), values.map(log)];
  decays.curve(() => logged(EXACT), { color: COLORS.batch, width: 3 });
  decays.curve(() => logged(EVERY.map((M) => minibatchDecay(M, view.kurtosis))), {
    color: COLORS.noise,
    width: 2.5,
    dash: 2,
  });
  decays.legend(
    1.0,
    0.2,
    [0.25, 0.4],
    [
      [COLORS.batch, 0, "Gaussian, exact"],
      [COLORS.noise, 2, () => `(ρ + 6)/(8M), ρ = ${number(view.kurtosis, 1)}`],
    ],
  );
  const nearest = (x) =>
    SIZES.reduce((best, M, i) => (Math.abs(log(M) - x) < Math.abs(log(SIZES[best]) - x) ? i : best), 0);
  const grip = decays.handle(
    () => [log(view.M), log(view.exact)],
    (x) => figure.set({ size: nearest(x) }),
    COLORS.batch,
  );

  const valleys = makeBoard(figure.boards, [-0.2, 0.42, 1.4, -0.78]);
  valleys.axes({
    x: {
      at: -0.56,
      from: 0,
      to: 1.3,
      ticks: [
        [0, "0"],
        [0.5, "0.5"],
        [1, "1"],
      ],
      title: "scale γ, in σₜ",
    },
    y: { at: 0, from: -0.56, to: 0.32, ticks: [[0, "0"]], title: "loss, less its constant" },
    gap: [0.03, 0.015],
  });
  const valley = (factor) => [GAMMAS, GAMMAS.map((gamma) => expectedBatchLoss(gamma, factor, view.correlation))];
  const low = (factor) => expectedBatchLoss(factor * view.correlation, factor, view.correlation);
  valleys.curve(() => valley(1), { color: COLORS.none, width: 2 });
  valleys.curve(() => valley(view.factor), { color: COLORS.batch, width: 3 });
  valleys.curve(
    () => [
      [view.gamma, view.gamma],
      [-0.56, low(view.factor)],
    ],
    { color: INK, width: 0.8, dash: 1 },
  );
  valleys.dot(
    () => view.correlation,
    () => low(1),
    { color: COLORS.none, size: 5 },
  );
  valleys.dot(
    () => view.gamma,
    () => low(view.factor),
    { color: COLORS.batch, size: 5 },
  );
  valleys.legend(
    0.08,
    0.25,
    [0.12, 0.09],
    [
      [COLORS.batch, 0, () => `batches of ${view.M}`],
      [COLORS.none, 0, "the population"],
    ],
  );
  figure.refresh();
}
