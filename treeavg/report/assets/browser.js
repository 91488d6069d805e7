// One sentence: its words, the systems, their trees as picture, table and text.

function phraseOf(words, row) {
  return row.blocks.map(([begin, end]) => words.slice(begin, end).join(" ")).join(" … ");
}

function describe(view, row) {
  const has = view.systems.filter((system) => row.members.has(system.index)).map((system) => system.name);
  const what = "word" in row ? `${row.head ? view.words[row.head - 1] : "(root)"} → ${view.words[row.word]}` : phraseOf(view.words, row);
  const labels = [...new Set(Object.values(row.labels))].slice(0, 4);
  if (row.virtual) return `${what}: the whole sentence`;
  return `${what}${labels.length ? ` (${labels.join(", ")})` : ""}: ${row.hits} of ${view.teachers} teachers; in ${has.join(", ")}`;
}

// A tree as brackets, by an agenda: trees can be deeper than calls may nest.
function bracketed(view, system) {
  if (!view.has(system)) return "(missing)";
  if (view.dependency) {
    const arcs = view.rows.filter((row) => row.members.has(system));
    return arcs.map((row) => `${view.words[row.word]} ← ${row.head ? `${view.words[row.head - 1]} (${row.head})` : "root"}`).join(", ");
  }
  const nodes = constituentsOf(view.rows, system, view.words.length);
  link(nodes, view.words.length);
  const first = (child) => ("token" in child ? child.token : child.row.blocks[0][0]);
  const agenda = nodes.length ? [nodes[0]] : view.words.map((_, token) => ({ token })).reverse();
  const pieces = [];
  while (agenda.length) {
    const next = agenda.pop();
    if (typeof next === "string") pieces.push(next);
    else if ("token" in next) pieces.push(view.crossing ? `${next.token + 1}=${view.words[next.token]}` : view.words[next.token]);
    else {
      pieces.push("(" + (labelOf(next.row, system) ? labelOf(next.row, system) + " " : ""));
      agenda.push(")");
      const children = [...next.children].sort((one, other) => first(other) - first(one));
      children.forEach((child, place) => {
        agenda.push(child);
        if (place < children.length - 1) agenda.push(" ");
      });
    }
  }
  return pieces.join("");
}

class Browser {
  constructor(bank, state) {
    this.bank = bank;
    this.state = state;
    this.pick = (row) => {
      byId("picked").textContent = describe(this.view, row);
    };
  }

  viewOf(sentence) {
    const { bank } = this;
    const rows = bank.rows(sentence);
    return {
      sentence, rows, words: bank.words(sentence), systems: bank.systems, names: bank.systems.map((system) => system.name),
      teachers: bank.teachers.length, dependency: bank.dependency, crossing: rows.some((row) => row.blocks && row.blocks.length > 1),
      has: (system) => Boolean(bank.present(sentence, system)),
    };
  }

  draw() {
    const { bank, state } = this;
    const view = (this.view = this.viewOf(state.sentence));
    const spread = bank.disagreement(state.sentence);
    byId("sentence-title").textContent = `Sentence ${grouped(state.sentence + 1)} of ${grouped(bank.count)}`;
    byId("text").textContent = view.words.length ? view.words.join(" ") : "(missing in every system)";
    byId("verdict").textContent = [
      plural(view.words.length, "token"),
      spread === null ? "" : `teachers disagree by ${fixed(spread, 1)} of 100`,
      this.comparison(view),
    ].filter(Boolean).join(" · ");
    byId("picked").textContent = "";
    this.chips(view);
    this.picture(view);
    this.legend(view);
    this.fillWhenOpen("listing", () => byId("listing").lastElementChild.replaceChildren(this.table(view)));
    this.fillWhenOpen("brackets", () => byId("brackets").lastElementChild.replaceChildren(this.texts(view)));
  }

  // Tables and texts of long sentences are large; they are made when they are looked at.
  fillWhenOpen(id, make) {
    const node = byId(id);
    node.ontoggle = () => node.open && make();
    if (node.open) make();
    else node.lastElementChild.replaceChildren();
  }

  comparison(view) {
    const { first, second } = this.state;
    if (second === null || !view.has(first) || !view.has(second)) return "";
    const counted = view.rows.filter((row) => !row.whole);
    const [one, other] = [first, second].map((system) => counted.filter((row) => row.members.has(system)));
    const shared = one.filter((row) => row.members.has(second)).length;
    const unit = view.dependency ? "arcs" : "constituents";
    return `${view.names[first]} has ${one.length} ${unit}, ${view.names[second]} ${other.length}, ${shared} in both`;
  }

  chips(view) {
    const chips = view.systems.map((system) => {
      const f1 = this.bank.f1(view.sentence, system.index);
      const value = view.has(system.index) ? (f1 === null ? "" : fixed(f1, 0)) : "missing";
      const chosen = system.index === this.state.first;
      return el(
        "button", { type: "button", class: `chip ${system.role}`, "aria-pressed": String(chosen), onclick: () => this.state.set({ first: system.index }) },
        system.name, value ? el("b", {}, value) : null,
      );
    });
    byId("chips").replaceChildren(...chips);
  }

  picture(view) {
    const { view: kind } = this.state;
    const target = byId("picture");
    const asked = [...new Set([this.state.first, this.state.second])].filter((system) => system !== null);
    const [first, second = null] = asked.filter((system) => view.has(system));
    const notes = asked.filter((system) => !view.has(system)).map((system) => `${view.names[system]} lacks this sentence.`);
    let drawn = null;
    if (!view.words.length) notes.splice(0, notes.length, "No system has this sentence.");
    else if (kind === "hits") drawn = view.dependency ? square(view, this.state.first, this.pick) : triangle(view, this.state.first, this.pick);
    else if (first !== undefined) drawn = (view.dependency ? drawArcs : drawConstituents)(view, first, second, this.pick);
    byId("save").disabled = drawn === null;
    target.classList.toggle("fit", this.state.fit);
    target.replaceChildren(...notes.map((text) => el("p", { class: "note" }, text)), ...(drawn ? [drawn] : []));
    // The top of a tree or triangle is in the middle of the picture, the beginning of arcs at its left.
    target.scrollTo(view.dependency ? 0 : (target.scrollWidth - target.clientWidth) / 2, 0);
  }

  legend(view) {
    const { first, second, view: kind } = this.state;
    const steps = Array.from({ length: view.teachers + 1 }, (_, place) => {
      const sample = el("span", { class: "swatch" }, String(place));
      const paint = paintOf(view, place);
      sample.style.backgroundColor = paint.fill;
      sample.style.color = paint.ink;
      return sample;
    });
    const shown = steps.length > 12 ? [steps[0], el("span", {}, "…"), steps[steps.length - 1]] : steps;
    const parts = [el("span", { class: "swatches" }, el("span", {}, `teachers (of ${view.teachers}) that have it: `), ...shown)];
    if (kind === "hits") parts.push(el("span", {}, el("span", { class: "swatch framed" }, " "), ` in the tree of ${view.names[first]}`));
    else if (second !== null) parts.push(el("span", {}, el("span", { class: "swatch odd" }, "≠"), " only one of the two has it"));
    if (kind === "hits" && view.crossing) parts.push(el("span", {}, "discontinuous constituents are in the table only"));
    byId("legend").replaceChildren(...parts);
  }

  table(view) {
    const unit = view.dependency ? "head → word" : "constituent";
    const header = [unit, "words", { text: "teachers", class: "number" }, "label", "in"];
    const rows = [...view.rows].sort((one, other) => other.hits - one.hits);
    const place = (row) => (view.dependency ? `${row.head} → ${row.word + 1}` : row.blocks.map(([begin, end]) => `${begin + 1}–${end}`).join(", "));
    const body = rows.map((row) => {
      const labels = [...new Set(Object.values(row.labels))].join(", ");
      const words = view.dependency ? `${row.head ? view.words[row.head - 1] : "(root)"} → ${view.words[row.word]}` : phraseOf(view.words, row);
      const has = view.systems.filter((system) => row.members.has(system.index)).map((system) => system.name);
      return [place(row), words, { text: String(row.hits), class: "number", paint: row.hits ? paintOf(view, row.hits) : null }, labels, has.join(", ")];
    });
    return tableOf(header, body);
  }

  texts(view) {
    const { first, second } = this.state;
    const systems = [...new Set([first, second])].filter((system) => system !== null);
    return el("div", {}, ...systems.map((system) => el("p", {}, el("strong", {}, view.names[system]), el("br"), el("code", {}, bracketed(view, system)))));
  }
}
