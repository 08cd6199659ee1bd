// Previews: what a link leads to, beside it, while pointer or keyboard is on it. What stands on this page is cloned from it;
// what stands on another one is in a template that `companion.build.previews` made. On a screen for fingers links just work.
if (matchMedia("(any-hover: hover)").matches) {
  const CLONED = ".proof.admonition, figure.plot, div.math, div.citation, details.claim";
  const EDGE = 8; // pixels between the preview and the edge of the window
  const box = document.createElement("div");
  let link = null; // the one that pointer or keyboard is on
  let timer;
  box.id = "preview";
  box.hidden = true;
  box.setAttribute("role", "tooltip");
  document.body.append(box);

  const clone = (anchor) => {
    const target = document.getElementById(anchor)?.closest(CLONED);
    if (!target || target.contains(link)) return null;
    const copy = new DocumentFragment();
    // of a row that can be folded what is in it
    const parts = target.localName === "details" ? [...target.childNodes] : [target];
    copy.append(...parts.map((one) => one.cloneNode(true)));
    // it is to be looked at: nothing in it is named again or takes the keyboard
    for (const one of copy.querySelectorAll("button, .headerlink, .figure-files")) one.remove();
    for (const one of copy.querySelectorAll("summary")) one.replaceWith(...one.childNodes);
    for (const one of copy.querySelectorAll("[id]")) one.removeAttribute("id");
    for (const one of copy.querySelectorAll("[tabindex]")) one.removeAttribute("tabindex");
    for (const one of copy.querySelectorAll("a[href]")) one.removeAttribute("href");
    return copy;
  };

  const found = () => {
    const address = link.getAttribute("href");
    const { pathname, hash } = new URL(address, location.href);
    if (pathname === location.pathname) return clone(decodeURIComponent(hash.slice(1)));
    return document.querySelector(`template[data-of="${CSS.escape(address)}"]`)?.content.cloneNode(true);
  };

  const hide = () => {
    clearTimeout(timer);
    box.hidden = true;
    document.querySelector("[aria-describedby=preview]")?.removeAttribute("aria-describedby");
  };

  const show = (x) => {
    hide();
    const words = found();
    if (!words) return;
    box.replaceChildren(words);
    box.removeAttribute("style");
    box.hidden = false;
    link.setAttribute("aria-describedby", box.id);
    // a link may be broken into two lines
    const lines = [...link.getClientRects()];
    const line = lines.find(({ left, right }) => left <= x && x <= right) ?? lines[0];
    const { clientWidth, clientHeight } = document.documentElement;
    const below = clientHeight - line.bottom;
    const under = below > box.offsetHeight + EDGE || below > line.top;
    box.style.maxHeight = `${(under ? below : line.top) - EDGE}px`;
    box.style.left = `${scrollX + Math.max(EDGE, Math.min(line.left, clientWidth - box.offsetWidth - EDGE))}px`;
    box.style.top = `${scrollY + (under ? line.bottom : line.top - box.offsetHeight)}px`;
    box.classList.toggle("preview-cut", box.scrollHeight > box.clientHeight);
  };

  const linkOf = ({ target }) => target.closest?.("article a[href*='#']") ?? null;

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const next = linkOf(event);
    if (box.contains(event.target) || (next && next === link && !box.hidden)) {
      clearTimeout(timer); // back before it went away
    } else if (next !== link || !next) {
      // a preview that Escape has dismissed stays away until the pointer comes back
      clearTimeout(timer);
      link = next;
      timer = link ? setTimeout(show, 200, event.clientX) : setTimeout(hide, 300);
    }
  });
  document.addEventListener("focusin", (event) => {
    const next = linkOf(event);
    if (!next?.matches(":focus-visible")) return;
    link = next;
    show();
  });
  document.addEventListener("focusout", () => {
    link = null;
    hide();
  });
  document.addEventListener("click", (event) => {
    if (linkOf(event)) hide();
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") hide();
  });
}
