// Before anything is drawn: the reader's colours. The theme's own script goes on from here.
{
  const { dataset } = document.documentElement;
  let mode;
  try {
    mode = localStorage.getItem("mode");
  } catch {
    // storage may be forbidden
  }
  dataset.mode = mode || "auto";
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = dataset.mode === "auto" ? (dark ? "dark" : "light") : dataset.mode;
}
