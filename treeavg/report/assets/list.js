// The list of sentences: only the rows in sight exist; the keyboard moves through all of them.

const ROW = 54;

class SentenceList {
  constructor(bank, choose) {
    this.bank = bank;
    this.choose = choose;
    this.node = byId("list");
    this.spacer = byId("spacer");
    this.order = [];
    this.place = -1;
    this.scored = null;
    this.node.addEventListener("scroll", () => this.draw());
    this.node.addEventListener("keydown", (event) => this.keyed(event));
    window.addEventListener("resize", () => this.draw());
  }

  // Show these sentences in this order; keep the chosen one if it is among them.
  show(order, chosen, scored, fromTop) {
    this.order = order;
    this.scored = scored;
    this.place = order.indexOf(chosen);
    this.spacer.style.height = `${order.length * ROW}px`;
    if (fromTop) this.node.scrollTop = 0;
    else this.reveal();
    this.draw();
  }

  draw() {
    const room = this.node.clientHeight || 400;
    const begin = Math.max(0, Math.floor(this.node.scrollTop / ROW) - 4);
    const end = Math.min(this.order.length, begin + Math.ceil(room / ROW) + 9);
    const rows = [];
    for (let place = begin; place < end; place++) rows.push(this.row(place));
    this.spacer.replaceChildren(...rows);
    if (this.place >= begin && this.place < end) this.node.setAttribute("aria-activedescendant", `row-${this.place}`);
    else this.node.removeAttribute("aria-activedescendant");
  }

  row(place) {
    const sentence = this.order[place];
    const length = this.bank.lengths[sentence];
    const facts = [plural(length, "token")];
    const spread = this.bank.disagreement(sentence);
    if (spread !== null) facts.push(`disagreement ${fixed(spread, 0)}`);
    const f1 = this.scored === null ? null : this.bank.f1(sentence, this.scored);
    if (f1 !== null) facts.push(`${this.bank.dependency ? "UAS" : "F1"} ${fixed(f1, 1)}`);
    const node = el(
      "div",
      {
        role: "option", id: `row-${place}`, class: "row", "aria-selected": String(place === this.place), "aria-setsize": this.order.length,
        "aria-posinset": place + 1, onclick: () => this.go(place),
      },
      el("span", { class: "number" }, `${sentence + 1}`),
      el("span", { class: "words" }, length ? this.bank.text(sentence) : "(missing)"),
      el("span", { class: "facts" }, facts.join(" · ")),
    );
    node.style.top = `${place * ROW}px`;
    return node;
  }

  go(place) {
    if (!this.order.length) return;
    this.place = Math.max(0, Math.min(this.order.length - 1, place));
    this.reveal();
    this.draw();
    this.choose(this.order[this.place]);
  }

  step(by) {
    this.go(this.place < 0 ? 0 : this.place + by);
  }

  reveal() {
    if (this.place < 0) return;
    const [top, room] = [this.place * ROW, this.node.clientHeight];
    if (top < this.node.scrollTop) this.node.scrollTop = top;
    else if (top + ROW > this.node.scrollTop + room) this.node.scrollTop = top + ROW - room;
  }

  keyed(event) {
    const page = Math.max(1, Math.floor(this.node.clientHeight / ROW) - 1);
    const to = {
      ArrowDown: this.place + 1, ArrowUp: this.place - 1, PageDown: this.place + page, PageUp: this.place - page, Home: 0,
      End: this.order.length - 1,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.go(to);
  }
}

// The sentences that match, in the order asked for; those without a value of the order's come last.
function arrange(bank, query, order, reversed, system) {
  const wanted = query.trim().toLowerCase();
  let found = Array.from({ length: bank.count }, (_, place) => place);
  const number = wanted.match(/^#\s*(\d+)$/);
  if (number) found = found.filter((place) => place + 1 === Number(number[1]));
  else if (wanted) found = found.filter((place) => bank.lowered(place).includes(wanted));
  const value = {
    number: (place) => place,
    disagreement: (place) => negative(bank.disagreement(place)),
    f1: (place) => bank.f1(place, system),
    length: (place) => (bank.lengths[place] ? -bank.lengths[place] : null),
  }[order];
  const keyed = found.map((place) => [value(place), place]);
  const sign = reversed ? -1 : 1;
  keyed.sort(([one, a], [other, b]) => {
    if (one === null || other === null) return (one === null) - (other === null) || a - b;
    return sign * (one - other) || a - b;
  });
  return keyed.map(([, place]) => place);
}

const negative = (number) => (number === null ? null : -number);
