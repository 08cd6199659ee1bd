// What the theme writes into its pages as inline handlers, and figures that move, loaded when a reader comes near one.

const DOES = { print: () => window.print(), fullscreen: () => window.toggleFullScreen() };
for (const button of document.querySelectorAll("[data-does]")) {
  button.addEventListener("click", DOES[button.dataset.does]);
}

// a page that is a file may not read others: search then lists titles without their sentences
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

document.querySelector(".bd-search-container input")?.focus();

const near = new IntersectionObserver(
  (entries) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
    near.disconnect();
    const script = document.createElement("script");
    script.src = `${document.documentElement.dataset.content_root}_static/moving.js`;
    document.head.append(script);
  },
  { rootMargin: "600px" },
);
for (const figure of document.querySelectorAll(".moving[data-figure]")) near.observe(figure);

// a menu closes when the reader goes elsewhere, or says so
const closeMenus = (except) => {
  for (const menu of document.querySelectorAll("details.dropdown[open]")) if (menu !== except) menu.open = false;
};
document.addEventListener("click", ({ target }) => closeMenus(target.closest("details.dropdown")));
document.addEventListener("keydown", ({ key, target }) => {
  if (key !== "Escape") return;
  const menu = target.closest("details.dropdown[open]");
  menu?.querySelector("summary").focus();
  closeMenus();
});
