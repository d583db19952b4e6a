"use strict";
// Pointing at a group, or at a layer, lights everything that belongs to it; a click keeps it lit.
function follow(drawing) {
  const [info, link] = document.getElementById("info").children;
  const hint = info.textContent;
  const parts = [...drawing.querySelectorAll("[data-g]")];
  const groupsOf = new Map(parts.map((part) => [part, part.dataset.g.split(" ").filter(Boolean)]));
  const titleOf = (part) => part.dataset.title ?? part.querySelector("title").textContent;
  let kept = null;

  function light(part) {
    drawing.classList.toggle("choosing", part !== null);
    const chosen = new Set(part === null ? [] : groupsOf.get(part));
    for (const other of parts) {
      const lit = other === part || groupsOf.get(other).some((group) => chosen.has(group));
      other.classList.toggle("lit", lit);
    }
    info.textContent = part === null ? hint : titleOf(part);
    link.hidden = kept === null || chosen.size === 0;
    link.href = `#group-${[...chosen].pop()}`;
  }

  drawing.addEventListener("pointerover", (event) => {
    if (kept === null) light(event.target.closest("[data-g]"));
  });
  drawing.addEventListener("pointerleave", () => {
    if (kept === null) light(null);
  });
  drawing.addEventListener("click", (event) => {
    const part = event.target.closest("[data-g]");
    kept = part === kept ? null : part;
    light(part);
  });
  link.addEventListener("click", () => {
    document.getElementById(link.hash.slice(1)).open = true;
  });
}

// A click on a heading sorts the groups by that figure; a second click restores the first order.
function sortable(list) {
  const first = [...list.querySelectorAll("details")];
  const headings = [...list.querySelectorAll("[data-sort]")];
  for (const heading of headings) {
    heading.addEventListener("click", () => {
      const sorted = heading.getAttribute("aria-pressed") !== "true";
      for (const other of headings) other.setAttribute("aria-pressed", sorted && other === heading);
      const value = (item) => Number(item.dataset[heading.dataset.sort]);
      list.append(...(sorted ? [...first].sort((one, other) => value(other) - value(one)) : first));
    });
  }
}

if (document.getElementById("lanes") !== null) {
  follow(document.getElementById("lanes"));
  sortable(document.getElementById("group-list"));
}
