// The page: reads the model, makes the views that suit it, and keeps the link.

import { button, copy, el, saved } from "./elements.js";
import { Model } from "./model.js";
import { unpack } from "./numbers.js";
import { looks, Painter } from "./paint.js";
import { Studio } from "./studio.js";
import { TableModel } from "./table.js";
import { Usual } from "./usual.js";
import { completeView } from "./view_complete.js";
import { dialView, throwDice } from "./view_dial.js";
import { handView } from "./view_hand.js";
import { landView } from "./view_land.js";
import { tableView } from "./view_table.js";
import { fact, LANGUAGES, speak, speakPlainly, spoken, t } from "./words.js";

/** Where a browser may keep what was chosen; some forbid it to files. */
const memory = {
  get: (name) => {
    try {
      return localStorage.getItem(`cvae-${name}`);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      localStorage.setItem(`cvae-${name}`, value);
    } catch {
      // Then it is chosen anew next time.
    }
  },
};

async function start() {
  speak(memory.get("language") || ((navigator.language || "").startsWith("zh") ? "zh" : "en"));
  if (memory.get("theme")) document.documentElement.dataset.theme = memory.get("theme");
  const about = JSON.parse(document.getElementById("model").textContent);
  const text = document.getElementById("weights");
  if (typeof DecompressionStream === "undefined") throw new Error(t("oldBrowser"));
  const weights = await unpack(text.textContent, about.bytes, about.sizes, about.steps);
  text.remove();
  const model = about.table ? new TableModel(about, weights) : new Model(about, weights);
  const painter = about.table ? null : new Painter(model);
  const studio = new Studio(model, painter);
  speakPlainly(!model.digits);
  document.documentElement.style.setProperty("--aspect", String(painter?.aspect || 1));
  studio.read(location.hash.slice(1));
  window.studio = studio;
  show(studio, painter && new Usual(model));
}

/** The views that suit a model, the most inviting one first. */
function views(studio, usual) {
  const { model, painter } = studio;
  if (!painter) return [["table", () => tableView(studio)]];
  const picture = painter.kind === "picture", found = [];
  if (model.condition.kind === "known_part") {
    if (picture) found.push(["complete", () => completeView(studio)]);
    return found;
  }
  if (picture && model.dim) found.push(["hand", () => handView(studio, usual)]);
  found.push(["dial", () => dialView(studio)]);
  if (model.dim) found.push(["land", () => landView(studio)]);
  return found;
}

function show(studio, usual) {
  const { state, model } = studio, { about } = model, root = document.documentElement;
  const offered = views(studio, usual);
  const names = offered.map(([name]) => name);
  if (!names.includes(state.view)) state.view = names[0];
  const made = {};
  let writing = 0, live = "";

  const tabs = el("nav.tabs", { role: "tablist" });
  const stage = el("main", { id: "stage" });
  const link = button("", () => {
    write();
    copy(location.href, t("copied"));
  });
  const png = button("", () => saved(made[state.view].sheet(), `${about.name}-${state.view}-${state.seed}`));
  const card = button("", () => dialog(studio).showModal());
  const theme = button("◐", () => {
    const dark = getComputedStyle(root).getPropertyValue("--dark").trim() === "1";
    root.dataset.theme = dark ? "light" : "dark";
    memory.set("theme", root.dataset.theme);
    refresh();
  });
  const tone = button("◩", () => {
    looks.ink = !looks.ink;
    refresh();
  });
  const grain = button("▦", () => {
    looks.smooth = !looks.smooth;
    refresh();
  });
  const language = button("", () => {
    const all = Object.keys(LANGUAGES);
    speak(all[(all.indexOf(spoken()) + 1) % all.length]);
    memory.set("language", spoken());
    build();
  });
  const header = el("header", {},
    el("h1", {}, about.name),
    el("div.tools", {}, link, png, card, language, studio.painter?.kind === "picture" ? [tone, grain] : [], theme));
  document.body.prepend(header, tabs, stage);

  /** Everything again, in the language that is spoken. */
  function build() {
    root.lang = spoken();
    link.textContent = t("link");
    png.textContent = t("png");
    card.textContent = t("about");
    language.textContent = t("language");
    for (const [one, name] of [[theme, "theme"], [tone, "tones"], [grain, "pixels"]]) {
      one.title = t(name);
      one.setAttribute("aria-label", t(name));
    }
    tabs.replaceChildren(...names.map((name, k) =>
      el("button", {
        type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "stage",
        onclick: () => studio.change({ view: name }),
        onkeydown: (event) => {
          const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!by) return;
          const next = names[(k + by + names.length) % names.length];
          studio.change({ view: next });
          document.getElementById(`tab-${next}`).focus();
        },
      }, t(name))));
    for (const name of names) delete made[name];
    live = "";
    refresh();
  }

  function refresh() {
    if (!made[state.view]) made[state.view] = offered.find(([name]) => name === state.view)[1]();
    if (live !== state.view) {
      live = state.view;
      stage.replaceChildren(made[live].root);
      stage.setAttribute("aria-labelledby", `tab-${live}`);
      for (const tab of tabs.children) {
        const on = tab.id === `tab-${live}`;
        tab.setAttribute("aria-selected", String(on));
        tab.tabIndex = on ? 0 : -1;
      }
    }
    made[live].update();
    clearTimeout(writing);
    writing = setTimeout(write, 250);
  }

  function write() {
    const text = studio.write();
    if (`#${text}` !== location.hash) history.replaceState(null, "", `#${text}`);
  }

  studio.listen(refresh);
  addEventListener("hashchange", () => {
    studio.read(location.hash.slice(1));
    if (!names.includes(state.view)) state.view = names[0];
    refresh();
  });
  addEventListener("keydown", () => document.body.classList.add("keys"), true);
  addEventListener("pointerdown", () => document.body.classList.remove("keys"), true);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName);
    if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const act = { r: () => studio.painter && throwDice(studio), l: () => link.click(), s: () => png.click() }[event.key.toLowerCase()];
    if (act) act();
    else if (names[Number(event.key) - 1]) studio.change({ view: names[Number(event.key) - 1] });
  });
  build();
  document.body.classList.add("ready");
  performance.mark("first-picture");
}

/** What the model is. */
function dialog({ model }) {
  const { about } = model, { card, likelihood } = about;
  const named = Object.fromEntries(Object.entries(card).map(([name, value]) => [fact(name), value]));
  const facts = about.table ? { ...named, [t("columns")]: about.table.length } : {
    ...named,
    [t("x_shape")]: about.x_shape.join(" × "),
    [t("latent")]: about.groups.length > 1 ? `${model.dim} = ${about.groups.join(" + ")}` : model.dim,
    [t("likelihood")]: likelihood.kind,
  };
  facts[t("weights")] = about.sizes.reduce((sum, n) => sum + n, 0).toLocaleString("en");
  const rows = Object.entries(facts).map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, String(value))));
  const box = el("dialog", { "aria-label": t("about") },
    el("h2", { tabIndex: -1, autofocus: "" }, about.name),
    el("table", {}, el("tbody", {}, rows)),
    el("p", {}, t("aboutText"), " ", 
      about.table ? t("precisionTable", about.difference.probability) : t("precision", about.difference.picture)),
    el("p.quiet", {}, t("keyboard")),
    el("p.quiet", {}, `${t("madeWith")} keras-cvae ${about.version}`),
    el("form", { method: "dialog" }, el("button", {}, t("close"))));
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => event.target === box && box.close());
  document.body.append(box);
  return box;
}

start().catch((error) => {
  document.body.prepend(el("p.failed", { role: "alert" }, `${t("failed")} ${error.message}`));
  throw error;
});
