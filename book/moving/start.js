// Gives every container of the page its figure.

import { batches } from "./batches.js";
import { decay } from "./decay.js";
import { ellipse } from "./ellipse.js";
import { noise } from "./noise.js";

const FIGURES = { batches, decay, ellipse, noise };

for (const host of document.querySelectorAll(".moving[data-figure]")) FIGURES[host.dataset.figure](host);
