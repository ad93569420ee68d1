
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const groups = by("groups"), tooltip = by("tooltip"), announcement = by("announcement");
  const keys = JSON.parse(groups.dataset.keys);
  const texts = [...groups.querySelectorAll("article")].map((article, index) => ({
    article, index, sort: JSON.parse(article.dataset.sort), kinds: JSON.parse(article.dataset.kinds), lowerCase: null,
  }));
  const textOf = new Map(texts.map((text) => [text.article, text]));
  const find = by("find"), group = by("group"), only = by("only"), sort = by("sort"), down = by("down");
  let shown = texts;

  const groupName = (text) => group.value === "" ? "all texts" : text.kinds[keys.indexOf(group.value)] || "none";

  function listGroups() {
    const counts = new Map();
    for (const text of texts) counts.set(groupName(text), (counts.get(groupName(text)) || 0) + 1);
    const order = [...counts].sort((one, other) => other[1] - one[1]);
    only.replaceChildren(new Option("all groups", ""), ...order.map(([name, count]) => new Option(`${name} (${count})`, name)));
  }

  function isWanted(text, word) {
    if (only.value !== "" && groupName(text) !== only.value) return false;
    if (!word) return true;
    text.lowerCase ??= text.article.textContent.toLowerCase();
    return text.lowerCase.includes(word);
  }

  function inOrder(members) {
    const sign = down.checked ? -1 : 1;
    return members.sort((one, other) => {
      const a = one.sort[sort.value], b = other.sort[sort.value];
      if (a === null || b === null) return (a === null) - (b === null) || one.index - other.index;
      return sign * (a - b) || one.index - other.index;
    });
  }

  function arrange() {
    const word = find.value.trim().toLowerCase(), sections = new Map();
    shown = [];
    for (const text of inOrder(texts.filter((text) => isWanted(text, word)))) {
      const name = groupName(text);
      if (!sections.has(name)) sections.set(name, []);
      sections.get(name).push(text);
    }
    const fragment = document.createDocumentFragment();
    for (const [name, members] of [...sections].sort((one, other) => other[1].length - one[1].length)) {
      const section = document.createElement("section"), head = document.createElement("h3");
      const count = document.createElement("small"), inside = document.createElement("div");
      section.className = "group";
      inside.className = "texts";
      count.textContent = members.length;
      head.append(`${name} `, count);
      inside.append(...members.map((text) => text.article));
      section.append(head, inside);
      fragment.append(section);
      shown.push(...members);
    }
    groups.replaceChildren(fragment);
    by("count").textContent = `${shown.length} of ${texts.length} texts`;
    setTabStop(shown[0]);
  }

  // The tab key reaches one text; j and k move on from it.
  let tabStop = null;
  function setTabStop(text) {
    if (tabStop) tabStop.article.tabIndex = -1;
    tabStop = text || null;
    if (tabStop) tabStop.article.tabIndex = 0;
  }

  function numbers(token) {
    const [pressure, base, steered] = token.dataset.t.split(" ");
    return `pressure ${pressure} nats\nlog p ${base} base, ${steered} steered`.replaceAll("-", "\u2212");
  }

  function showTooltip(token) {
    tooltip.textContent = numbers(token);
    tooltip.hidden = false;
    const box = token.getBoundingClientRect(), own = tooltip.getBoundingClientRect();
    const above = box.top - own.height - 6;
    tooltip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - own.width - 4))}px`;
    tooltip.style.top = `${above < 4 ? box.bottom + 6 : above}px`;
  }

  let current = null;
  function leaveToken() {
    current?.classList.remove("at");
    current = null;
    tooltip.hidden = true;
    announcement.textContent = "";
  }

  function moveToken(article, by) {
    const tokens = [...article.querySelectorAll("[data-t]")];
    if (!tokens.length) return;
    const next = current && article.contains(current) ? tokens.indexOf(current) + by : by > 0 ? 0 : tokens.length - 1;
    leaveToken();
    current = tokens[Math.max(0, Math.min(tokens.length - 1, next))];
    current.classList.add("at");
    current.scrollIntoView({ block: "nearest" });
    showTooltip(current);
    announcement.textContent = `${current.textContent}: ${tooltip.textContent}`;
  }

  function hover(event) {
    const token = event.target.closest("[data-t]");
    if (token) showTooltip(token);
    else if (!current) tooltip.hidden = true;
  }
  groups.addEventListener("pointerover", hover);
  // scrolling hides the tooltip, and a pointer that moves on within the same token shows it again
  groups.addEventListener("pointermove", (event) => { if (tooltip.hidden) hover(event); });
  groups.addEventListener("pointerleave", () => { if (!current) tooltip.hidden = true; });
  addEventListener("scroll", () => { if (!current) tooltip.hidden = true; }, { passive: true });
  groups.addEventListener("focusin", (event) => {
    const text = textOf.get(event.target.closest("article"));
    if (text && text !== tabStop) { leaveToken(); setTabStop(text); }
  });
  groups.addEventListener("focusout", leaveToken);
  groups.addEventListener("keydown", (event) => {
    const text = textOf.get(event.target);
    if (!text || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = shown.indexOf(text);
    const target = { j: shown[index + 1], k: shown[index - 1], Home: shown[0], End: shown[shown.length - 1] }[event.key];
    if (target) {
      target.article.focus({ preventScroll: true });
      target.article.scrollIntoView({ block: "nearest" });
    } else if (event.key === "ArrowRight") moveToken(text.article, 1);
    else if (event.key === "ArrowLeft") moveToken(text.article, -1);
    else if (event.key === "Escape") leaveToken();
    else return;
    event.preventDefault();
  });

  let timer = 0;
  find.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(arrange, 120); });
  group.addEventListener("change", () => { listGroups(); arrange(); });
  for (const control of [only, sort, down]) control.addEventListener("change", arrange);
  by("controls").addEventListener("submit", (event) => event.preventDefault());
  by("controls").hidden = false;
  listGroups();
  by("count").textContent = `${texts.length} of ${texts.length} texts`;
  shown = [...groups.querySelectorAll("article")].map((article) => textOf.get(article));
  setTabStop(shown[0]);
})();
