// constraint, rate, least-squares: a walk on the ellipse, the two gradients and where they cancel.

import { leastSquares, ordinaryLeastSquares, rate, l2EquivalentRate, effectiveWeights } from "./closed_forms.js";
import { squaredLoss, squaredLossGradient, times } from "./closed_forms.js";
import { add, COLORS, INK, makeBoard, number, range, signed, stage, verdict } from "./stage.js";

const FREE = [1.35, 0.8];
const RESIDUAL_VAR = 0.25;
const LEVELS = range(0.4, 3.2, 8);
const CIRCLE = range(0, 2 * Math.PI, 145).map((angle) => [Math.cos(angle), Math.sin(angle)]);
const DEGREE = Math.PI / 180;
const pair = (v) => `(${v.map((value) => number(value)).join(", ")})`;

// Standard deviations of the data along and across their long axis; the product is 1.
function dataMoments(axis, anisotropy) {
  const [cos, sin] = [Math.cos(axis * DEGREE), Math.sin(axis * DEGREE)];
  const stds = [Math.sqrt(anisotropy), 1 / Math.sqrt(anisotropy)];
  const [long, short] = stds.map((std) => std ** 2);
  const cov = [
    [long * cos * cos + short * sin * sin, (long - short) * cos * sin],
    [(long - short) * cos * sin, long * sin * sin + short * cos * cos],
  ];
  const cross = times(cov, FREE);
  const targetVar = FREE[0] * cross[0] + FREE[1] * cross[1] + RESIDUAL_VAR;
  // x of standard deviation 1 along each axis to the data's, and to the ellipse v'Sigma v = 1
  const turn = (a, b) => [cos * a - sin * b, sin * a + cos * b];
  return {
    cov,
    cross,
    targetVar,
    cloud: ([a, b]) => turn(stds[0] * a, stds[1] * b),
    ellipse: ([a, b]) => turn(a / stds[0], b / stds[1]),
  };
}

export function ellipse(host) {
  let view;

  function look({ angle, gamma, axis, anisotropy }) {
    const moments = dataMoments(axis, anisotropy);
    const w = [Math.cos(angle * DEGREE), Math.sin(angle * DEGREE)];
    const v = effectiveWeights(w, gamma, moments.cov);
    const gradient = squaredLossGradient(v, moments);
    const multiplier = rate(v, gradient, gamma);
    const down = gradient.map((value) => -value);
    const pull = times(moments.cov, v).map((value) => -multiplier * value);
    const step = down.map((value, i) => value + pull[i]);
    // one scale for all arrows, so that what cancels is seen to cancel
    const longest = Math.max(Math.hypot(...down), Math.hypot(...pull), Math.hypot(...step));
    const scale = Math.min(0.6, 1.4 / longest);
    const tip = (arrow) => arrow.map((value, i) => v[i] + scale * value);
    return {
      moments,
      gamma,
      v,
      gradient,
      multiplier,
      tips: [down, pull, step].map(tip),
      step,
      best: leastSquares(moments, gamma),
    };
  }

  const figure = stage(host, {
    caption:
      "Drag the blue point along the ellipse, or press the button: watch the orange and the green arrow cancel " +
      "where BN comes to rest. Then move γ past Rσₜ and see the green arrow turn round.",
    sliders: [
      {
        name: "angle",
        label: "direction of w",
        min: -180,
        max: 180,
        step: 1,
        value: 70,
        show: (value) => `${number(value, 0)}°`,
      },
      { name: "gamma", label: "scale γ", min: 0.3, max: 2.4, step: 0.01, value: 1.2, show: (value) => number(value) },
      {
        name: "axis",
        label: "long axis of the data",
        min: -90,
        max: 90,
        step: 1,
        value: 25,
        show: (value) => `${number(value, 0)}°`,
      },
      {
        name: "anisotropy",
        label: "long ÷ short spread",
        min: 1,
        max: 3,
        step: 0.05,
        value: 1.8,
        show: (value) => `${number(value)} ×`,
      },
    ],
    draw(values) {
      view = look(values);
      grip.back();
      board.update();
      const { v, multiplier, gradient, moments, best } = view;
      const { explainedStd } = ordinaryLeastSquares(moments);
      const side = v[0] * best.weights[0] + v[1] * best.weights[1] > 0 ? "minimizer" : "maximizer";
      const where =
        Math.hypot(...view.step) < 0.01
          ? `The arrows cancel: this is BN’s ${side}.`
          : "BN’s own step is the sum of the two, perpendicular to v.";
      return {
        numbers: [
          ["v", pair(v)],
          ["loss L(v)", number(squaredLoss(v, moments), 3)],
          ["rate λ(v)", signed(multiplier)],
          ["L2-equivalent α", signed(l2EquivalentRate(v, gradient))],
          ["λ at BN’s minimizer", signed(best.rate)],
          ["Rσₜ", number(explainedStd)],
        ],
        says: `λ = ${signed(multiplier)}: ${verdict(multiplier)}. ${where}`,
        alts: [
          "Effective weights: the ellipse on which batch normalization keeps them, on contours of the loss. " +
            `v at ${pair(v)}, the minimizer without batch normalization at ${pair(FREE)}, ` +
            `BN’s own at ${pair(best.weights)}. Rate ${signed(multiplier)}.`,
        ],
      };
    },
  });

  const board = makeBoard(figure.boards, [-3, 2.7, 3, -2.7], { ratio: "10 / 9", square: true });
  view = look(figure.values);
  const closed = (map) => {
    const points = CIRCLE.map(map);
    return [points.map((point) => point[0]), points.map((point) => point[1])];
  };
  for (const level of LEVELS) {
    const contour = (unit) => view.moments.ellipse(unit).map((value, i) => FREE[i] + level * value);
    board.curve(() => closed(contour), { color: COLORS.none, width: 0.8 });
  }
  board.curve(
    () => [
      [-3, 3],
      [0, 0],
    ],
    { width: 0.6 },
  );
  board.curve(
    () => [
      [0, 0],
      [-3, 3],
    ],
    { width: 0.6 },
  );
  board.text(2.9, -0.14, "v₁", { anchorX: "right", anchorY: "top" });
  board.text(0.08, -2.5, "v₂");
  // the data, small, in a corner
  const corner = ([a, b]) => [-2.35 + 0.3 * a, 1.95 + 0.3 * b];
  board.curve(() => closed((unit) => corner(view.moments.cloud(unit))), {
    color: COLORS.none,
    width: 1,
    fill: COLORS.none,
    opacity: 0.35,
  });
  board.text(-2.35, 1.18, "data", { anchorX: "middle" });
  board.curve(() => closed((unit) => view.moments.ellipse(unit).map((value) => view.gamma * value)), {
    color: COLORS.batch,
    width: 3,
  });
  board.curve(
    () => [
      [0, 4 * view.v[0]],
      [0, 4 * view.v[1]],
    ],
    { color: INK, width: 0.8, dash: 1 },
  );
  board.dot(...FREE, { color: COLORS.l2, size: 5 });
  board.text(FREE[0] + 0.14, FREE[1] + 0.02, "without BN");
  board.dot(
    () => view.best.weights[0],
    () => view.best.weights[1],
    { color: COLORS.batch, size: 5, fill: "none" },
  );
  const names = [
    [COLORS.l2, 0, "−∇L: downhill"],
    [COLORS.signal, 0, "−λΣv: the penalty"],
    [COLORS.batch, 0, "their sum: BN’s step"],
  ];
  names.forEach(([color], i) =>
    board.arrow(
      () => view.v,
      () => view.tips[i],
      color,
    ),
  );
  board.legend(-2.85, -1.85, [0.5, 0.3], names);
  const grip = board.handle(
    () => view.v,
    (x, y) => figure.set({ angle: Math.atan2(y, x) / DEGREE }),
    COLORS.batch,
  );

  const button = add(figure.panel, "button", "moving-button", "Go to BN’s minimizer");
  button.type = "button";
  button.addEventListener("click", () => {
    const [x, y] = view.best.weights;
    figure.set({ angle: Math.atan2(y, x) / DEGREE });
  });
  figure.refresh();
}
