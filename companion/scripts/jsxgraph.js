// What the moving figures use of JSXGraph; esbuild gives it to them wherever they say JXG.
// Its parts register themselves as they are imported. By path: the package exports the whole only.

import JXG from "../../node_modules/jsxgraph/src/jxg.js";
import "../../node_modules/jsxgraph/src/options.js";
import "../../node_modules/jsxgraph/src/jsxgraph.js";
import "../../node_modules/jsxgraph/src/renderer/svg.js";
import "../../node_modules/jsxgraph/src/base/point.js";
import "../../node_modules/jsxgraph/src/base/line.js";
import "../../node_modules/jsxgraph/src/base/curve.js";
import "../../node_modules/jsxgraph/src/base/text.js";

export { JXG };
