// Gives every container of the page its figure.

import { batches } from "./batches.js";
import { crossEntropy } from "./cross_entropy.js";
import { decay } from "./decay.js";
import { ellipse } from "./ellipse.js";
import { halfTuned } from "./half_tuned.js";
import { noise } from "./noise.js";

const FIGURES = { batches, cross_entropy: crossEntropy, decay, ellipse, half_tuned: halfTuned, noise };

for (const host of document.querySelectorAll(".moving[data-figure]")) FIGURES[host.dataset.figure](host);
