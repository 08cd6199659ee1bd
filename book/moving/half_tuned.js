// half-tuned: what n rows ask for, and what the true length makes of it.

import { neededRate, trueLengthExcess, trueLengthRate } from "./closed_forms.js";
import { COLORS, INK, makeBoard, number, percent, power, range, stage } from "./stage.js";

const [SHORT, LONG] = [0.2, 1.2]; // factors of the fit
const [FEW, MANY] = [0.9, 3.7]; // log10 of rows
const TOP = 2; // of the left board: excess risk over that of least squares
const [LOW, HIGH] = [-1.5, 0.65]; // of the right one: shares
const log = Math.log10;
const small = (value) => (value < 0.01 ? power(value) : number(value));
const either = (value) => (value === 0 ? "0" : `${value < 0 ? "−" : "+"}${small(Math.abs(value))}`);

export function halfTuned(host) {
  let view;

  function at(rows, inputs, rSquared) {
    const needed = neededRate(rSquared, rows, inputs);
    const made = trueLengthRate(rSquared, rows, inputs);
    const excess = trueLengthExcess(rSquared, rows, inputs) / (rSquared * needed);
    return { needed, made, excess, share: Math.log1p(made) / Math.log1p(needed) };
  }

  function look({ rows: exponent, inputs, rSquared }) {
    const asked = Math.round(10 ** exponent);
    const rows = Math.max(asked, inputs + 3);
    const places = range(Math.max(FEW, log(inputs + 3)), MANY, 48);
    const shares = places.map((place) => at(Math.max(inputs + 3, 10 ** place), inputs, rSquared).share);
    return { asked, rows, inputs, rSquared, places, shares, limit: limit(inputs, rSquared), ...at(rows, inputs, rSquared) };
  }

  const limit = (inputs, rSquared) => (1 - 2 / (inputs * (1 - rSquared))) / 2;

  function story({ share, excess }) {
    const made =
      share > 0
        ? `told the true length, BN makes ${percent(share)} of it`
        : "told the true length, BN stretches on average what should shrink";
    const risk = excess < 1 ? "less" : "more";
    return `${made}; its excess risk is ${number(excess)} of that of least squares, ${risk} than without.`;
  }

  const figure = stage(host, {
    caption:
      "Start with many inputs and take rows away: more is needed, and BN’s share falls. " +
      "Then make the inputs few and R² large, and watch BN stretch what should shrink.",
    sliders: [
      {
        name: "rows",
        label: "rows n",
        min: FEW,
        max: MANY,
        step: 0.02,
        value: log(150),
        show: (value) => `${Math.round(10 ** value)}`,
      },
      { name: "inputs", label: "inputs d", min: 1, max: 100, step: 1, value: 64, show: (value) => `${value}` },
      {
        name: "rSquared",
        label: "R² of the population",
        min: 0.02,
        max: 0.98,
        step: 0.01,
        value: 0.5,
        show: (value) => number(value),
      },
    ],
    draw(values) {
      view = look(values);
      grip.back();
      risks.update();
      corrections.update();
      const { asked, rows, inputs, needed, made, share, excess } = view;
      const few = asked < rows ? `${asked} rows are too few for ${inputs} inputs; shown are ${rows}. ` : "";
      const best = 1 / (1 + needed);
      return {
        numbers: [
          ["needed λ*", small(needed)],
          ["BN’s λ, true length", either(made)],
          ["BN’s share, in logs", number(share)],
          ["excess of BN, least squares = 1", number(excess)],
          ["excess of the best scale", number(best)],
        ],
        says: `${few}${rows} rows ask for λ* = ${small(needed)}: ${story(view)}`,
        alts: [
          "Excess risk of a multiple of the fit, that of least squares is 1. " +
            `BN at the true length ${number(excess)}, the best multiple ${number(best)}.`,
          "BN’s share of the correction against the number of rows, below one half. " +
            `Now ${number(share)} at ${rows} rows; with many rows ${number(view.limit)}.`,
        ],
      };
    },
  });
  view = look(figure.values);

  const risks = makeBoard(figure.boards, [0.05, 2.3, 1.26, -0.5]);
  risks.axes({
    x: {
      at: 0,
      from: SHORT,
      to: LONG,
      ticks: [
        [0.2, "0.2"],
        [0.6, "0.6"],
        [1, "1"],
      ],
      title: "the fit is multiplied by 1/(1 + λ)",
    },
    y: {
      at: SHORT,
      from: 0,
      to: TOP,
      ticks: [
        [0, "0"],
        [1, "1"],
        [2, "2"],
      ],
      title: "excess risk, least squares = 1",
    },
    gap: [0.02, 0.05],
  });
  // a^2 + (1 - a)^2 / lambda*
  const risk = (factor) => factor ** 2 + (1 - factor) ** 2 / view.needed;
  risks.curve(
    () => {
      const lowest = 1 / (1 + view.needed);
      const half = Math.sqrt((TOP - lowest) * view.needed * lowest); // up to the top of the board
      const shown = range(Math.max(SHORT, lowest - half), Math.min(LONG, lowest + half), 101);
      return [shown, shown.map(risk)];
    },
    { color: COLORS.none, width: 2.5 },
  );
  const inside = (factor) => Math.min(LONG, Math.max(SHORT, factor));
  risks.dot(
    () => 1,
    () => 1,
    { color: COLORS.l2, size: 5 },
  );
  risks.dot(
    () => inside(1 / (1 + view.made)),
    () => Math.min(TOP, view.excess),
    { color: COLORS.batch, size: 6 },
  );
  risks.dot(
    () => inside(1 / (1 + view.needed)),
    () => 1 / (1 + view.needed),
    { color: COLORS.theory, size: 5 },
  );
  risks.legend(
    0.25,
    1.95,
    [0.08, 0.2],
    [
      [COLORS.l2, 0, "least squares; BN, γ learned"],
      [COLORS.batch, 0, "BN, true length"],
      [COLORS.theory, 0, "what is needed"],
    ],
  );

  const corrections = makeBoard(figure.boards, [0.35, 0.95, 3.85, -2.1]);
  corrections.axes({
    x: {
      at: LOW,
      from: FEW,
      to: MANY,
      ticks: [
        [1, "10"],
        [2, "100"],
        [3, "1000"],
      ],
      title: "rows n",
    },
    y: {
      at: FEW,
      from: LOW,
      to: HIGH,
      ticks: [
        [-1, "−1"],
        [0, "0"],
        [0.5, "half"],
      ],
      title: "BN’s share of the correction",
    },
    gap: [0.06, 0.055],
  });
  const level = (height) => () => [
    [FEW, MANY],
    [height(), height()],
  ];
  corrections.curve(
    level(() => 0.5),
    { color: COLORS.theory, width: 1.5, dash: 2 },
  );
  corrections.curve(
    level(() => 0),
    { color: INK, width: 0.6 },
  );
  const clipped = (share) => Math.min(HIGH, Math.max(LOW, share));
  corrections.curve(() => (view.limit > LOW ? level(() => view.limit)() : [[], []]), {
    color: COLORS.none,
    width: 1.5,
    dash: 1,
  });
  corrections.curve(() => [view.places, view.shares.map(clipped)], { color: COLORS.batch, width: 3 });
  corrections.legend(
    1.9,
    -1.05,
    [0.3, 0.2],
    [
      [COLORS.batch, 0, "at the true length"],
      [COLORS.none, 1, () => (view.limit > LOW ? "with many rows" : "")],
    ],
  );
  const grip = corrections.handle(
    () => [log(view.rows), clipped(view.share)],
    (x) => figure.set({ rows: x }),
    COLORS.batch,
  );
  figure.refresh();
}
