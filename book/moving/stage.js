// What the figures share: the frame with its controls and numbers, and boards to draw on.

// meaning as in companion.figures.COLORS
export const COLORS = {
  batch: "#0072B2",
  none: "#8A8A8A",
  l2: "#D55E00",
  signal: "#009E73",
  noise: "#CC79A7",
  theory: "#E69F00",
};
// JSXGraph hands colours on to the SVG as they are: the theme's text colour, live
export const INK = "currentColor";

export const number = (value, digits = 2) =>
  value
    .toFixed(digits)
    .replace(/^-(?=.*[1-9])/, "−")
    .replace("-", "");
export const signed = (value, digits = 2) => {
  const text = number(value, digits);
  return text.startsWith("−") || !/[1-9]/.test(text) ? text : `+${text}`;
};
export const percent = (share) => `${Math.round(100 * share)} %`;

export function power(value) {
  const exponent = Math.floor(Math.log10(value) + 1e-9);
  if (exponent >= -2 && exponent <= 2) return Number(value.toPrecision(2)).toString();
  const raised = [...String(exponent)].map((digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]).join("");
  const mantissa = (value / 10 ** exponent).toFixed(1).replace(".0", "");
  return mantissa === "1" ? `10${raised}` : `${mantissa}·10${raised}`;
}

// what the sign of a rate means
export function verdict(rate) {
  if (Math.abs(rate) < 0.005) return "BN neither shrinks nor inflates";
  return rate > 0 ? "BN shrinks" : "BN inflates";
}

export const range = (low, high, count) =>
  Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));

export function add(parent, tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// The frame of a figure.
//   caption: what to try first
//   sliders: [{ name, label, min, max, step, value, show(value) -> text with its unit }]
//   draw(values): bring the boards up to date, return { numbers: [[name, text]], says, alts: [a text a board] }
export function stage(host, { caption, sliders, draw }) {
  const values = {};
  const inputs = {};
  const outputs = {};
  host.classList.add("moving-on");
  host.setAttribute("role", "group");
  const words = add(host, "p", "moving-caption", caption);
  words.id = `${host.id}-caption`;
  host.setAttribute("aria-labelledby", words.id);
  const boards = add(host, "div", "moving-boards");
  const panel = add(host, "div", "moving-panel");
  // a page that shows a figure in short names the sliders that it wants
  const wanted = host.dataset.sliders?.split(" ") ?? sliders.map(({ name }) => name);
  for (const { name, label, min, max, step, value } of sliders) {
    values[name] = value;
    if (!wanted.includes(name)) continue;
    const row = add(panel, "div", "moving-slider");
    const caption = add(row, "label", "", label);
    const output = add(row, "output");
    const input = add(row, "input");
    Object.assign(input, { type: "range", id: `${host.id}-${name}`, min, max, step, value });
    caption.htmlFor = input.id;
    output.htmlFor = input.id;
    // the slider itself speaks when it moves
    output.setAttribute("aria-live", "off");
    inputs[name] = input;
    outputs[name] = output;
    input.addEventListener("input", () => set({ [name]: Number(input.value) }));
  }
  const list = add(host, "dl", "moving-numbers simple");
  const sentence = add(host, "p", "moving-says");
  const live = add(host, "p", "moving-live");
  live.setAttribute("aria-live", "polite");
  let pause;

  function refresh() {
    for (const { name, show } of sliders.filter(({ name }) => name in inputs)) {
      outputs[name].textContent = show(values[name]);
      inputs[name].setAttribute("aria-valuetext", show(values[name]));
      inputs[name].value = values[name];
    }
    const { numbers, says, alts } = draw(values);
    list.replaceChildren(
      ...numbers.map(([name, text]) => {
        const pair = document.createElement("div");
        add(pair, "dt", "", name);
        add(pair, "dd", "", text);
        return pair;
      }),
    );
    sentence.textContent = says;
    alts.forEach((alt, i) => boards.children[i].setAttribute("aria-label", alt));
  }

  // Change some values; within a slider's range, but as exact as given. Spoken once the reader pauses.
  function set(changes) {
    for (const { name, min, max } of sliders) {
      if (name in changes) values[name] = Math.min(max, Math.max(min, changes[name]));
    }
    refresh();
    clearTimeout(pause);
    pause = setTimeout(() => {
      live.textContent = sentence.textContent;
    }, 700);
  }

  return { boards, panel, values, set, refresh };
}

// A board: box = [left, top, right, bottom] in the units of the figure.
export function makeBoard(parent, box, { ratio = "4 / 3", square = false } = {}) {
  const element = add(parent, "div", "moving-board");
  element.style.aspectRatio = ratio;
  const board = JXG.JSXGraph.initBoard(element, {
    boundingBox: box,
    keepAspectRatio: square,
    axis: false,
    browserPan: true,
    keyboard: { enabled: false },
    pan: { enabled: false },
    renderer: "svg",
    showCopyright: false,
    showInfobox: false,
    showNavigation: false,
    zoom: { enabled: false, wheel: false, pinch: false },
  });
  element.setAttribute("role", "img");
  // JSXGraph trusts for a second where it last saw itself: a page that scrolled since would shift the whole drag
  element.addEventListener("pointerdown", () => board.cPos.splice(0), { capture: true });
  const quiet = { fixed: true, highlight: false, tabindex: null, transitionDuration: 0, withLabel: false };

  // points() -> [xs, ys]
  function curve(points, { color = INK, width = 2, dash = 0, fill = "none", opacity = 1 } = {}) {
    const drawn = board.create("curve", [[0], [0]], {
      ...quiet,
      dash,
      fillColor: fill,
      fillOpacity: opacity,
      strokeColor: color,
      strokeWidth: width,
    });
    drawn.updateDataArray = () => {
      [drawn.dataX, drawn.dataY] = points();
    };
    return drawn;
  }

  function text(x, y, words, { anchorX = "left", anchorY = "middle" } = {}) {
    return board.create("text", [x, y, words], {
      ...quiet,
      anchorX,
      anchorY,
      cssDefaultStyle: "",
      display: "internal",
      fontSize: 13,
      parse: false,
      strokeColor: INK,
    });
  }

  function dot(x, y, { color = INK, size = 3, fill = color } = {}) {
    return board.create("point", [x, y], {
      ...quiet,
      fillColor: fill,
      size,
      strokeColor: color,
      strokeWidth: 2,
    });
  }

  // a point the reader moves: dragged(x, y) sets the values, refresh puts it where they say
  function handle(place, dragged, color) {
    const point = board.create("point", place(), {
      ...quiet,
      fillColor: color,
      fixed: false,
      size: 7,
      strokeColor: "var(--pst-color-background)",
      strokeWidth: 2,
      cssClass: "moving-handle",
      highlightCssClass: "moving-handle",
    });
    point.on("drag", () => dragged(point.X(), point.Y()));
    return { back: () => point.setPositionDirectly(JXG.COORDS_BY_USER, place()) };
  }

  function arrow(from, to, color) {
    const end = (place) => [() => place()[0], () => place()[1]];
    return board.create("arrow", [end(from), end(to)], {
      ...quiet,
      lastArrow: { type: 1, size: 6 },
      strokeColor: color,
      strokeWidth: 3,
      visible: () => Math.hypot(to()[0] - from()[0], to()[1] - from()[1]) > 0.03,
    });
  }

  // axes as words and two thin lines: x, y = { at: where the line lies, from, to, ticks: [[place, text]], title }
  function axes({ x, y, gap }) {
    const thin = { color: INK, width: 1 };
    curve(
      () => [
        [x.from, x.to],
        [x.at, x.at],
      ],
      thin,
    );
    curve(
      () => [
        [y.at, y.at],
        [y.from, y.to],
      ],
      thin,
    );
    for (const [place, words] of x.ticks) text(place, x.at - gap[1], words, { anchorX: "middle", anchorY: "top" });
    for (const [place, words] of y.ticks) text(y.at - gap[0], place, words, { anchorX: "right" });
    text(x.to, x.at - 5 * gap[1], x.title, { anchorX: "right", anchorY: "top" });
    text(y.at, y.to + 2 * gap[1], y.title, { anchorY: "bottom" });
  }

  // rows = [[color, dash, words() or words]]: a short line and what it stands for; a row without words is not shown
  function legend(x, y, [width, height], rows) {
    rows.forEach(([color, dash, words], i) => {
      const say = typeof words === "function" ? words : () => words;
      const level = y - i * height;
      curve(
        () =>
          say() && color
            ? [
                [x, x + 0.8 * width],
                [level, level],
              ]
            : [[], []],
        { color: color || INK, dash, width: 3 },
      );
      text(color ? x + width : x, level, say);
    });
  }

  return { arrow, axes, curve, dot, handle, legend, text, update: () => board.fullUpdate() };
}
