"use strict";
// Follows the changes and swaps the cards that changed; everything else of the
// page works without this file.
(() => {
  const parts = document.getElementById("parts");
  const live = document.getElementById("live");
  const html = new Map(); // what the server sent, by id: the shown one has counted on since

  const remember = (root) => {
    for (const el of root.querySelectorAll("[data-list] > [id]")) html.set(el.id, el.outerHTML);
  };

  // Times in the reader's own zone.
  const zones = (root) => {
    for (const el of root.querySelectorAll("time[data-format]")) {
      const at = new Date(el.dateTime);
      if (isNaN(at)) continue;
      const format = el.dataset.format;
      const clock = (opts) => at.toLocaleTimeString([], { ...opts, hourCycle: "h23" });
      const utc = at.toISOString().slice(11, 19) + " UTC";
      el.title = at.toISOString().slice(0, 10) + " " + utc;
      const words = {
        "{time_secs}": () => clock({ hour: "2-digit", minute: "2-digit", second: "2-digit" }),
        "{time}": () => clock({ hour: "2-digit", minute: "2-digit" }),
        "{date_short_pretty}": () => at.toLocaleDateString([], { month: "short", day: "numeric", year: "numeric" }),
      };
      const text = format.replace(/\{[a-z_]+\}/g, (token) => words[token]?.() ?? token);
      if (!text.includes("{")) el.textContent = text; // else Slack's own fallback stays
    }
  };

  const count = () => {
    for (const el of document.querySelectorAll("time.count")) {
      const left = Math.ceil((new Date(el.dateTime) - Date.now()) / 1000);
      el.textContent = left > 90 ? "in " + Math.floor(left / 60) + " min " + (left % 60) + " s" : left > 0 ? "in " + left + " s" : "now";
      el.classList.toggle("now", left <= 5);
    }
  };

  // The last choice of who presses holds for every board.
  const persona = (root) => {
    const who = sessionStorage.getItem("persona");
    if (!who) return;
    for (const el of root.querySelectorAll("select[name=user]")) {
      if ([...el.options].some((o) => o.value === who)) el.value = who;
    }
  };

  // The browser's clock is the one that a form's date is chosen by.
  const pad = (n) => String(n).padStart(2, "0");
  const forms = (root) => {
    for (const el of root.querySelectorAll("input[name=behind]")) el.value = new Date().getTimezoneOffset();
    for (const el of root.querySelectorAll("input[data-unix]")) {
      const at = new Date(el.dataset.unix * 1000);
      el.value = at.getFullYear() + "-" + pad(at.getMonth() + 1) + "-" + pad(at.getDate()) + "T" + pad(at.getHours()) + ":" + pad(at.getMinutes());
      el.removeAttribute("data-unix");
    }
  };

  const dress = (root) => { zones(root); persona(root); forms(root); count(); };

  // What must not be lost when a card is replaced: open details, and where the keyboard is.
  const swap = (old, fresh) => {
    const open = [...old.querySelectorAll("details")].map((d) => d.open);
    [...fresh.querySelectorAll("details")].forEach((d, i) => { if (open[i]) d.open = true; });
    const focus = old.contains(document.activeElement) ? document.activeElement : null;
    old.replaceWith(fresh);
    if (focus) {
      const same = [...fresh.querySelectorAll(focus.tagName)].find((el) => el.textContent === focus.textContent && el.name === focus.name);
      (same || fresh.querySelector("button, a, summary") || document.getElementById("inbox")).focus();
    }
  };

  const merge = (shown, sent) => {
    const wanted = [...sent.children];
    const ids = new Set(wanted.map((el) => el.id));
    for (const el of [...shown.children]) if (!ids.has(el.id)) { html.delete(el.id); el.remove(); }
    let place = shown.firstElementChild;
    for (const fresh of wanted) {
      const text = fresh.outerHTML;
      let old = document.getElementById(fresh.id);
      if (!old) {
        fresh.classList.add("new");
        shown.insertBefore(fresh, place);
      } else {
        if (old !== place) shown.insertBefore(old, place);
        if (html.get(fresh.id) !== text) { swap(old, fresh); old = fresh; }
        place = old.nextElementSibling;
      }
      html.set(fresh.id, text);
    }
  };

  let busy = false, again = false;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch("/parts?show=" + encodeURIComponent(document.body.dataset.show));
      if (!answer.ok) return;
      const sent = new DOMParser().parseFromString(await answer.text(), "text/html");
      const before = new Set([...parts.querySelectorAll(".inbox .card")].map((el) => el.id));
      const lists = parts.querySelectorAll("[data-list]");
      sent.querySelectorAll("[data-list]").forEach((list, i) => merge(lists[i], list));
      const filters = document.getElementById("filters"), newer = sent.getElementById("filters");
      if (filters.innerHTML !== newer.innerHTML && !filters.contains(document.activeElement)) filters.innerHTML = newer.innerHTML;
      const said = document.getElementById("said"), word = sent.getElementById("said").textContent;
      const news = [];
      if (said.textContent !== word) { said.textContent = word; said.hidden = !word; news.push(word); }
      for (const el of parts.querySelectorAll(".inbox .card")) {
        if (!before.has(el.id)) news.push("New: " + (el.querySelector(".from > span:nth-child(2)")?.textContent || "").replace(/\s+/g, " ").trim() + ": " + (el.querySelector(".head")?.textContent || ""));
      }
      const opened = parts.querySelector(".modal");
      if (opened && !opened.contains(document.activeElement)) {
        news.push("A form is open: " + opened.querySelector("h2").textContent);
        opened.querySelector(".bad input, .bad select, .bad textarea, select, input:not([type=hidden]), textarea, button")?.focus();
      }
      if (news.length) live.textContent = news.slice(0, 3).join(". ");
      dress(parts);
    } finally {
      busy = false;
      if (again) { again = false; setTimeout(refresh, 150); }
    }
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target, button = event.submitter;
    if (button?.dataset.confirm && !confirm(button.dataset.confirm)) { event.preventDefault(); return; }
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, button));
    button.disabled = true;
    button.closest("details.menu")?.removeAttribute("open");
    try {
      const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
      if (answer.type !== "opaqueredirect" && !answer.ok) live.textContent = await answer.text();
    } catch {
      live.textContent = "The demo does not answer. Is it still running?";
    }
    button.disabled = false;
    refresh();
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("select[name=user]")) { sessionStorage.setItem("persona", event.target.value); persona(document); }
  });

  // Escape and a click elsewhere close what is open, as they do in Slack.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector("details.menu[open]"), form = document.querySelector(".modal");
    if (menu) { menu.removeAttribute("open"); menu.querySelector("summary").focus(); } else form?.querySelector("button[value=close]").click();
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.removeAttribute("open");
  });

  remember(parts);
  dress(parts);
  setInterval(count, 500);
  const source = new EventSource("/events");
  source.addEventListener("change", refresh);
})();
