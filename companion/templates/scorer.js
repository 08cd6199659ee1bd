// What comes first in a search: pages that have the words in their title, then chapters, then lists of everything.
var Scorer = (() => {
  const lists = ["claims", "teach", "findings", "api", "notation", "built", "bibliography", "glossary"];
  const words = (text) => text.toLowerCase().split(/\W+/).filter(Boolean);
  const asked = words(new URLSearchParams(window.location.search).get("q") || "");
  const score = ([page, title, , , found]) => {
    const named = asked.filter((word) => words(title).some((one) => one.startsWith(word))).length;
    const isList = lists.includes(page.split("/").pop());
    return found + (asked.length ? (20 * named) / asked.length : 0) - (isList ? 15 : 0);
  };
  const names = { objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0 };
  return { score, ...names, title: 15, partialTitle: 7, term: 5, partialTerm: 2 };
})();
