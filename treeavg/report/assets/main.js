// Start: facts at once, trees when they are unpacked; tabs, theme, keys, and the address that remembers the sentence.

const KEYS = [
  ["j or ↓, k or ↑", "next, previous sentence (arrows: in the list)"],
  ["/", "search"],
  ["[ and ]", "previous, next system"],
  ["x", "swap the two systems"],
  ["h", "tree or hit counts"],
  ["f", "fit the picture to the width"],
  ["r and s", "results, sentences"],
  ["t", "light or dark"],
  ["?", "these keys"],
];

const state = {
  sentence: 0, first: 0, second: null, view: "trees", tab: "results", order: "number", reversed: false, query: "", fit: false,
  set: () => {},
};
let bank = null;
let browser = null;
let list = null;

function remembered(name) {
  try {
    return window.localStorage.getItem(name);
  } catch {
    return null; // pages from a file may have no storage
  }
}

function remember(name, value) {
  try {
    window.localStorage.setItem(name, value);
  } catch {
    // then it is forgotten
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  document.documentElement.style.colorScheme = name;
  byId("theme").textContent = name === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", name === "dark" ? "Switch to light colours" : "Switch to dark colours");
}

function startTheme(redraw) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(remembered("treeavg-theme") || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => {
    if (remembered("treeavg-theme")) return;
    setTheme(dark.matches ? "dark" : "light");
    redraw();
  });
  byId("theme").addEventListener("click", () => {
    const name = theme() === "dark" ? "light" : "dark";
    remember("treeavg-theme", name);
    setTheme(name);
    redraw();
  });
}

function showTab(name, focus = false) {
  state.tab = name;
  for (const other of ["results", "sentences"]) {
    const chosen = other === name;
    byId(other).hidden = !chosen;
    const tab = byId(`tab-${other}`);
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen && focus) tab.focus();
  }
  if (name === "sentences" && list) {
    list.reveal();
    list.draw();
    browser.draw();
  }
}

function writeHash() {
  if (state.tab === "results") return replaceHash("results");
  const names = bank.systems.map((system) => system.name);
  const values = { s: state.sentence + 1, a: names[state.first] };
  if (state.second !== null) values.b = names[state.second];
  if (state.view !== "trees") values.v = state.view;
  if (state.order !== "number") values.o = state.order;
  if (state.reversed) values.d = "reversed";
  if (state.query) values.q = state.query;
  return replaceHash(new URLSearchParams(values).toString());
}

function replaceHash(text) {
  try {
    window.history.replaceState(null, "", `#${text}`);
  } catch {
    window.location.hash = text;
  }
}

function readHash() {
  const values = new URLSearchParams(window.location.hash.slice(1));
  const number = Number(values.get("s"));
  if (!Number.isInteger(number) || number < 1 || number > bank.count) return false;
  const index = (name) => bank.systems.findIndex((system) => system.name === name);
  state.sentence = number - 1;
  if (index(values.get("a")) >= 0) state.first = index(values.get("a"));
  state.second = index(values.get("b")) >= 0 ? index(values.get("b")) : null;
  state.view = values.get("v") === "hits" ? "hits" : "trees";
  state.order = [...byId("order").options].some((option) => option.value === values.get("o")) ? values.get("o") : "number";
  state.reversed = values.get("d") === "reversed";
  state.query = values.get("q") || "";
  return true;
}

function fillControls() {
  const options = (none) => [
    ...(none ? [el("option", { value: "" }, "nothing")] : []),
    ...bank.systems.map((system) => el("option", { value: String(system.index) }, system.role === system.name ? system.name : `${system.name} (${system.role})`)),
  ];
  byId("first").replaceChildren(...options(false));
  byId("second").replaceChildren(...options(true));
  const orders = [["number", "as in the files"]];
  if (bank.columns.disagreement) orders.push(["disagreement", "most disagreement first"]);
  if (bank.facts.summary) orders.push(["f1", "lowest score of the system first"]);
  orders.push(["length", "longest first"]);
  byId("order").replaceChildren(...orders.map(([value, text]) => el("option", { value }, text)));
}

function syncControls() {
  byId("first").value = String(state.first);
  byId("second").value = state.second === null ? "" : String(state.second);
  byId("order").value = state.order;
  byId("reverse").checked = state.reversed;
  byId("fit").checked = state.fit;
  byId("swap").disabled = state.second === null;
  if (byId("search").value !== state.query) byId("search").value = state.query;
  for (const radio of document.querySelectorAll("input[name=view]")) radio.checked = radio.value === state.view;
}

// After a new search or order the list begins at its top; else it keeps the chosen sentence in sight.
function listSentences(fromTop = false) {
  const order = arrange(bank, state.query, state.order, state.reversed, state.first);
  list.show(order, state.sentence, bank.columns[`f1_${state.first}`] ? state.first : null, fromTop);
  byId("found").textContent = order.length === bank.count ? plural(bank.count, "sentence") : `${grouped(order.length)} of ${plural(bank.count, "sentence")}`;
}

// Change the state and show what follows from it.
function setState(changes) {
  const before = { ...state };
  Object.assign(state, changes);
  syncControls();
  const listed = ["query", "order", "reversed"].some((name) => state[name] !== before[name]);
  if (listed || state.first !== before.first) listSentences(listed || state.order === "f1");
  browser.draw();
  writeHash();
}

function cycle(by) {
  setState({ first: (state.first + by + bank.systems.length) % bank.systems.length });
}

function swap() {
  if (state.second !== null) setState({ first: state.second, second: state.first });
}

function wire() {
  byId("first").addEventListener("change", (event) => setState({ first: Number(event.target.value) }));
  byId("second").addEventListener("change", (event) => setState({ second: event.target.value === "" ? null : Number(event.target.value) }));
  byId("order").addEventListener("change", (event) => setState({ order: event.target.value }));
  byId("reverse").addEventListener("change", (event) => setState({ reversed: event.target.checked }));
  byId("fit").addEventListener("change", (event) => setState({ fit: event.target.checked }));
  byId("swap").addEventListener("click", swap);
  byId("save").addEventListener("click", () => savePicture(`sentence-${state.sentence + 1}-${state.view}.svg`));
  byId("previous").addEventListener("click", () => list.step(-1));
  byId("next").addEventListener("click", () => list.step(1));
  for (const radio of document.querySelectorAll("input[name=view]")) {
    radio.addEventListener("change", () => setState({ view: radio.value }));
  }
  let waiting = 0;
  byId("search").addEventListener("input", (event) => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(() => setState({ query: event.target.value }), 120);
  });
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") list.go(Math.max(0, list.place));
    if (event.key === "Enter" || event.key === "Escape") byId("list").focus();
  });
  window.addEventListener("hashchange", () => {
    if (window.location.hash === "#results") return showTab("results");
    if (!readHash()) return undefined;
    syncControls();
    listSentences();
    return showTab("sentences");
  });
}

function keyed(event) {
  const typing = event.target.matches("input:not([type=radio]):not([type=checkbox]), select, textarea");
  if (typing || byId("help").open || event.ctrlKey || event.metaKey || event.altKey) return;
  const sentences = (run) => () => {
    if (!bank) return;
    if (state.tab !== "sentences") openTab("sentences");
    run();
  };
  const action = {
    j: sentences(() => list.step(1)), k: sentences(() => list.step(-1)), "/": sentences(() => byId("search").focus()),
    "[": sentences(() => cycle(-1)), "]": sentences(() => cycle(1)), x: sentences(swap),
    h: sentences(() => setState({ view: state.view === "hits" ? "trees" : "hits" })), f: sentences(() => setState({ fit: !state.fit })), r: () => openTab("results"), s: sentences(() => {}),
    t: () => byId("theme").click(), "?": () => byId("help").showModal(),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function openTab(name, focus = false) {
  showTab(name, focus);
  if (bank) writeHash();
}

function wireTabs() {
  const names = ["results", "sentences"];
  for (const name of names) {
    byId(`tab-${name}`).addEventListener("click", () => openTab(name));
    byId(`tab-${name}`).addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") openTab(names[1 - names.indexOf(name)], true);
    });
  }
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("keys").replaceChildren(...KEYS.flatMap(([key, does]) => [el("dt", {}, key), el("dd", {}, does)]));
  document.addEventListener("keydown", keyed);
}

async function start() {
  const facts = JSON.parse(byId("facts").textContent);
  const counts = ["teacher", "average", "student"].map((kind) => [kind, facts.systems.filter((one) => one.role === kind).length]);
  const systems = counts.filter(([, count]) => count).map(([kind, count]) => plural(count, kind)).join(", ");
  const incomplete = facts.incomplete ? `; ${plural(facts.incomplete, "sentence")} not in every system` : "";
  byId("about").textContent = `${plural(facts.sentences, "sentence")}, ${plural(facts.tokens, "token")}; ${systems}${facts.summary ? ", gold trees" : ""}${incomplete}. treeavg ${facts.version}`;
  startTheme(() => {
    drawResults(facts);
    if (browser) browser.draw();
  });
  drawResults(facts);
  wireTabs();
  bank = new Bank(facts, await unpack(byId("columns").textContent));
  state.first = bank.systems.find((system) => system.role === "average").index;
  state.second = facts.summary ? 0 : null;
  state.set = setState;
  browser = new Browser(bank, state);
  list = new SentenceList(bank, (sentence) => setState({ sentence }));
  fillControls();
  const asked = readHash();
  syncControls();
  wire();
  listSentences();
  showTab(asked ? "sentences" : "results");
  byId("status").hidden = true;
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  const old = typeof DecompressionStream === "undefined" ? " This browser is too old: it cannot unpack data (DecompressionStream)." : "";
  byId("status").textContent = `The page could not be drawn: ${error.message}.${old}`;
});
