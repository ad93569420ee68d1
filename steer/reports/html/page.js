
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const groups = by("groups"), told = by("told"), said = by("said");
  const keys = JSON.parse(groups.dataset.keys);
  const texts = [...groups.querySelectorAll("article")].map((article, place) => ({
    article, place, sort: JSON.parse(article.dataset.sort), kinds: JSON.parse(article.dataset.kinds), words: null,
  }));
  const of = new Map(texts.map((text) => [text.article, text]));
  const find = by("find"), group = by("group"), only = by("only"), sort = by("sort"), down = by("down");
  let shown = texts;

  const kind = (text) => group.value === "" ? "all texts" : text.kinds[keys.indexOf(group.value)] || "none";

  function choices() {
    const counts = new Map();
    for (const text of texts) counts.set(kind(text), (counts.get(kind(text)) || 0) + 1);
    const order = [...counts].sort((one, other) => other[1] - one[1]);
    only.replaceChildren(new Option("all groups", ""), ...order.map(([name, count]) => new Option(`${name} (${count})`, name)));
  }

  function wanted(text, word) {
    if (only.value !== "" && kind(text) !== only.value) return false;
    if (!word) return true;
    text.words ??= text.article.textContent.toLowerCase();
    return text.words.includes(word);
  }

  function ordered(some) {
    const sign = down.checked ? -1 : 1;
    return some.sort((one, other) => {
      const a = one.sort[sort.value], b = other.sort[sort.value];
      if (a === null || b === null) return (a === null) - (b === null) || one.place - other.place;
      return sign * (a - b) || one.place - other.place;
    });
  }

  function arrange() {
    const word = find.value.trim().toLowerCase(), sections = new Map();
    shown = [];
    for (const text of ordered(texts.filter((text) => wanted(text, word)))) {
      const name = kind(text);
      if (!sections.has(name)) sections.set(name, []);
      sections.get(name).push(text);
    }
    const made = document.createDocumentFragment();
    for (const [name, some] of [...sections].sort((one, other) => other[1].length - one[1].length)) {
      const section = document.createElement("section"), head = document.createElement("h3");
      const count = document.createElement("small"), inside = document.createElement("div");
      section.className = "group";
      inside.className = "texts";
      count.textContent = some.length;
      head.append(`${name} `, count);
      inside.append(...some.map((text) => text.article));
      section.append(head, inside);
      made.append(section);
      shown.push(...some);
    }
    groups.replaceChildren(made);
    by("count").textContent = `${shown.length} of ${texts.length} texts`;
    rove(shown[0]);
  }

  // one text at a time can be reached by the tab key; j and k go on from there
  let here = null;
  function rove(text) {
    if (here) here.article.tabIndex = -1;
    here = text || null;
    if (here) here.article.tabIndex = 0;
  }

  function numbers(token) {
    const [pressure, base, steered] = token.dataset.t.split(" ");
    return `pressure ${pressure} nats\nlog p ${base} base, ${steered} steered`.replaceAll("-", "\u2212");
  }

  function tell(token) {
    told.textContent = numbers(token);
    told.hidden = false;
    const box = token.getBoundingClientRect(), own = told.getBoundingClientRect();
    const above = box.top - own.height - 6;
    told.style.left = `${Math.max(4, Math.min(box.left, innerWidth - own.width - 4))}px`;
    told.style.top = `${above < 4 ? box.bottom + 6 : above}px`;
  }

  let at = null;
  function leave() {
    at?.classList.remove("at");
    at = null;
    told.hidden = true;
    said.textContent = "";
  }

  function step(article, by) {
    const tokens = [...article.querySelectorAll("[data-t]")];
    if (!tokens.length) return;
    const next = at && article.contains(at) ? tokens.indexOf(at) + by : by > 0 ? 0 : tokens.length - 1;
    leave();
    at = tokens[Math.max(0, Math.min(tokens.length - 1, next))];
    at.classList.add("at");
    at.scrollIntoView({ block: "nearest" });
    tell(at);
    said.textContent = `${at.textContent}: ${told.textContent}`;
  }

  groups.addEventListener("pointerover", (event) => {
    const token = event.target.closest("[data-t]");
    if (token) tell(token);
    else if (!at) told.hidden = true;
  });
  groups.addEventListener("pointerleave", () => { if (!at) told.hidden = true; });
  addEventListener("scroll", () => { if (!at) told.hidden = true; }, { passive: true });
  groups.addEventListener("focusin", (event) => {
    const text = of.get(event.target.closest("article"));
    if (text && text !== here) { leave(); rove(text); }
  });
  groups.addEventListener("focusout", leave);
  groups.addEventListener("keydown", (event) => {
    const text = of.get(event.target);
    if (!text || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = shown.indexOf(text);
    const go = { j: shown[place + 1], k: shown[place - 1], Home: shown[0], End: shown[shown.length - 1] }[event.key];
    if (go) {
      go.article.focus({ preventScroll: true });
      go.article.scrollIntoView({ block: "nearest" });
    } else if (event.key === "ArrowRight") step(text.article, 1);
    else if (event.key === "ArrowLeft") step(text.article, -1);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
  });

  let waiting = 0;
  find.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(arrange, 120); });
  group.addEventListener("change", () => { choices(); arrange(); });
  for (const control of [only, sort, down]) control.addEventListener("change", arrange);
  by("controls").addEventListener("submit", (event) => event.preventDefault());
  by("controls").hidden = false;
  choices();
  by("count").textContent = `${texts.length} of ${texts.length} texts`;
  shown = [...groups.querySelectorAll("article")].map((article) => of.get(article));
  rove(shown[0]);
})();
