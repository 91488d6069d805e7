// Tables and charts of the results.

const MARKS = ["circle", "square", "up", "diamond", "down", "cross", "plus"];
const LINES = {
  light: ["#0072b2", "#b87900", "#007a59", "#b0508a", "#2e8bc0", "#767600", "#8a5a44", "#6b6b6b"],
  dark: ["#56a8e0", "#f0b429", "#2fc79b", "#e79bc4", "#8fd3ff", "#d6d65c", "#d9a184", "#b5b5b5"],
};
const STUDENT = { light: "#c4410c", dark: "#ff8c5a" };

// How lines of a system look: averages in the ink's colour, students in one of their own, both thick.
function styleOf(system, systems) {
  const alike = systems.filter((other) => other.role === system.role);
  const place = alike.findIndex((other) => other.index === system.index);
  const palette = LINES[theme()];
  const dash = ["", "6 3", "2 3", "9 3 2 3"][(system.role === "teacher" ? Math.floor(place / palette.length) : place) % 4];
  if (system.role === "average") return { colour: "var(--ink)", width: 3, mark: "circle", dash };
  if (system.role === "student") return { colour: STUDENT[theme()], width: 3, mark: "square", dash };
  return { colour: palette[place % palette.length], width: 1.5, mark: MARKS[place % MARKS.length], dash };
}

function markAt(x, y, style, title) {
  const r = 4.5;
  const shapes = {
    circle: `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
    square: `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
    up: `M${x} ${y - r}L${x + r} ${y + r}H${x - r}Z`,
    down: `M${x} ${y + r}L${x + r} ${y - r}H${x - r}Z`,
    diamond: `M${x} ${y - r - 1}L${x + r + 1} ${y}L${x} ${y + r + 1}L${x - r - 1} ${y}Z`,
    cross: `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`,
    plus: `M${x - r} ${y}H${x + r}M${x} ${y - r}V${y + r}`,
  };
  const attributes = { d: shapes[style.mark], fill: style.colour, stroke: style.colour, "stroke-width": 1.5 };
  return svg("path", attributes, title ? svg("title", {}, title) : null);
}

function keyOf(entries) {
  return el(
    "ul", { class: "key" },
    ...entries.map(([name, style]) => {
      const line = { x1: 0, x2: 28, y1: 8, y2: 8, stroke: style.colour, "stroke-width": style.width, "stroke-dasharray": style.dash };
      const sample = svg("svg", { width: 28, height: 16, "aria-hidden": "true" }, svg("line", line), markAt(14, 8, style));
      return el("li", {}, sample, name);
    }),
  );
}

function ticks(low, high) {
  const step = [1, 2, 5, 10, 20].find((size) => (high - low) / size <= 7) || 25;
  const result = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) result.push(value);
  return result;
}

function frame(width, height, label) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label });
}

// Axes: y between low and high with lines across; x has names with a second line of counts below.
function axes(picture, box, low, high, names, counts, titles) {
  const y = (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);
  const x = (place) => box.left + ((place + 0.5) / names.length) * (box.right - box.left);
  for (const value of ticks(low, high)) {
    picture.append(
      svg("line", { x1: box.left, x2: box.right, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: box.left - 8, y: y(value) + 4, "text-anchor": "end" }, String(value)),
    );
  }
  names.forEach((name, place) => {
    picture.append(svg("text", { x: x(place), y: box.bottom + 20, "text-anchor": "middle" }, name));
    if (counts) {
      picture.append(svg("text", { x: x(place), y: box.bottom + 38, "text-anchor": "middle", class: "faint" }, counts[place]));
    }
  });
  const [across, up] = titles;
  const middle = (box.top + box.bottom) / 2;
  picture.append(
    svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 60, "text-anchor": "middle" }, across),
    svg("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, up),
  );
  return { x, y };
}

function section(title, ...children) {
  const id = `part-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return el("section", { "aria-labelledby": id, class: "part" }, el("h2", { id }, title), ...children);
}

const asTable = (node) => el("details", {}, el("summary", {}, "The numbers as a table"), node);
const role = (system) => (system.role === system.name ? "" : system.role);

function summaryPart(facts) {
  const { columns, rows, best, samples, seed, signatures } = facts.summary;
  const name = (index) => facts.systems[index].name;
  const bounds = rows.flatMap((row) => row.intervals[columns[0].key]);
  const [low, high] = [Math.min(...bounds), Math.max(...bounds)];
  const top = Object.fromEntries(columns.map(({ key }) => [key, Math.max(...rows.map((row) => row.values[key]))]));
  const whisker = (row) => {
    const at = (value) => 4 + ((value - low) / (high - low || 1)) * 112;
    const [from, to] = row.intervals[columns[0].key];
    return svg(
      "svg", { width: 120, height: 18, "aria-hidden": "true", class: "whisker" },
      svg("line", { x1: at(low), x2: at(high), y1: 9, y2: 9, class: "grid" }),
      svg("line", { x1: at(from), x2: at(to), y1: 9, y2: 9, stroke: "var(--accent)", "stroke-width": 9 }),
      svg("circle", { cx: at(row.values[columns[0].key]), cy: 9, r: 1.7, fill: "var(--on-accent)" }),
    );
  };
  const rowName = (row, more) => el("span", {}, name(row.system), el("small", {}, [role(facts.systems[row.system]), more].filter(Boolean).join(", ")));
  const number = (text) => ({ text, class: "number" });
  const header = ["system"];
  columns.forEach(({ title, interval }, place) => {
    header.push(number(title));
    if (interval) header.push(number("95 % interval"));
    if (!place) header.push({ text: el("span", { class: "unseen" }, "interval as a picture") });
  });
  const body = rows.map((row) => {
    const cells = [rowName(row, row.missing ? `lacks ${plural(row.missing, "sentence")}` : "")];
    columns.forEach(({ key, interval }, place) => {
      const value = row.values[key];
      cells.push(number(value === top[key] ? el("strong", {}, fixed(value)) : fixed(value)));
      if (interval) cells.push({ text: row.intervals[key].map((one) => fixed(one)).join(" to "), class: "number faint" });
      if (!place) cells.push(whisker(row));
    });
    return cells;
  });
  const tested = rows.filter((row) => row.test);
  const tests = tableOf(
    ["system", ...["difference", "95 % interval", "p (bootstrap)", "p (sign test)", "better", "worse", "equal"].map(number)],
    tested.map((row) => {
      const { difference, interval, p, sign_p, wins, losses, ties } = row.test;
      const values = [signed(difference), interval.map(signed).join(" to "), pValue(p), pValue(sign_p), ...[wins, losses, ties].map(grouped)];
      return [rowName(row), ...values.map(number)];
    }),
  );
  const note =
    `Intervals and the bootstrap test: ${grouped(samples)} draws of sentences, seed ${seed}. Bold is the best of a column.`;
  const caution =
    `Differences in “${columns[0].title}” from ${name(best)}, the best teacher by that score; better, worse and equal count sentences. ` +
    "The p-values are not corrected for the number of tests, nor for the best teacher having been chosen on the same sentences.";
  return [
    section(
      "Scores",
      scrolled("Scores", tableOf(header, body)),
      el("p", { class: "note" }, note),
      el("details", {}, el("summary", {}, "Conventions in these numbers"), el("ul", { class: "signatures" }, ...signatures.map((one) => el("li", {}, el("code", {}, one))))),
    ),
    tested.length ? section("Against the best teacher", scrolled("Against the best teacher", tests), el("p", { class: "note" }, caution)) : null,
  ];
}

function agreementPart(facts) {
  const { systems, values, means, signature } = facts.agreement;
  const name = (index) => facts.systems[index].name;
  const others = values.flatMap((row, place) => row.filter((_, other) => other !== place));
  const [low, high] = others.length ? [Math.min(...others), Math.max(...others)] : [0, 100];
  const body = values.map((row, place) => [
    name(systems[place]),
    ...row.map((value, other) =>
      other === place ? { text: "", class: "number self" } : { text: fixed(value, 1), class: "number", paint: shade((value - low) / (high - low || 1)) },
    ),
    { text: fixed(means[place], 1), class: "number" },
  ]);
  const header = ["F1", ...systems.map((index) => ({ text: name(index), class: "slanted" })), { text: "mean with teachers", class: "slanted" }];
  const note = "F1 of each column's trees against each row's. The last column is the mean with the teachers (other than itself). An average agrees with the teachers that it was made of by design.";
  return section("Agreement", scrolled("Agreement", tableOf(header, body)), el("p", { class: "note" }, note), el("p", { class: "note" }, el("code", {}, signature)));
}

function lengthPart(facts, systems) {
  const { metric, classes, sentences, rows } = facts.by_length;
  const all = rows.flatMap((row) => row.values);
  const low = Math.min(90, Math.floor(Math.min(...all) / 10) * 10);
  const high = Math.min(100, Math.max(low + 10, Math.ceil(Math.max(...all) / 10) * 10));
  const label = `${metric} by sentence length, a line for each of ${rows.length} systems; the table below has the numbers`;
  const picture = frame(720, 400, label);
  const box = { left: 60, right: 705, top: 15, bottom: 325 };
  const { x, y } = axes(picture, box, low, high, classes, sentences.map((count) => `${grouped(count)} sent.`), ["tokens in the sentence", metric]);
  const entries = [];
  for (const row of rows) {
    const style = styleOf(systems[row.system], systems);
    entries.push([systems[row.system].name, style]);
    const line = row.values.map((value, place) => `${place ? "L" : "M"}${x(place)} ${y(value)}`).join("");
    picture.append(svg("path", { d: line, fill: "none", stroke: style.colour, "stroke-width": style.width, "stroke-dasharray": style.dash }));
    row.values.forEach((value, place) => {
      const title = `${systems[row.system].name}, ${classes[place]} tokens: ${fixed(value)}`;
      picture.append(markAt(x(place), y(value), style, title));
    });
  }
  const table = tableOf(
    ["system", ...classes.map((one, place) => ({ text: `${one} (${plural(sentences[place], "sentence")})`, class: "number" }))],
    rows.map((row) => [systems[row.system].name, ...row.values.map((value) => ({ text: fixed(value), class: "number" }))]),
  );
  return section("F1 by length", scrolled("F1 by length", picture), keyOf(entries), asTable(scrolled("F1 by length, numbers", table)));
}

function labelPart(facts) {
  const { labels, gold, rows } = facts.by_label;
  const draw = (count) =>
    tableOf(
      ["recall", ...labels.slice(0, count).map((label, place) => ({ text: el("span", {}, label, el("small", {}, grouped(gold[place]))), class: "number" }))],
      rows.map((row) => [
        facts.systems[row.system].name,
        ...row.values.slice(0, count).map((value) => ({ text: fixed(value, 1), class: "number", paint: shade(value / 100) })),
      ]),
    );
  const few = Math.min(12, labels.length);
  const rest =
    labels.length > few
      ? el("details", {}, el("summary", {}, `All ${labels.length} labels`), scrolled("Recall of all labels", draw(labels.length)))
      : null;
  const note = "Share of gold constituents of a label that a system has, in percent; below the label, how many there are. Whole sentences are left out.";
  return section("Recall by label", scrolled("Recall by label", draw(few)), el("p", { class: "note" }, note), rest);
}

function reliabilityPart(facts) {
  const { teachers, curves } = facts.reliability;
  const unit = facts.kind === "dependency" ? "arc" : "constituent";
  const lowest = Math.min(...curves.flatMap((curve) => curve.bins.map((bin) => bin.hits)));
  const hits = Array.from({ length: teachers + 1 - lowest }, (_, place) => place + lowest);
  const picture = frame(720, 400, `How often ${unit}s are right, by how many of ${teachers} teachers have them; the table below has the numbers`);
  const box = { left: 60, right: 705, top: 15, bottom: 325 };
  const counts = hits.map((number) => {
    const bin = curves[0].bins.find((one) => one.hits === number);
    return bin ? grouped(bin.total) : "0";
  });
  const { x, y } = axes(picture, box, 0, 100, hits.map(String), counts, [`teachers that have it (below: ${unit}s that any teacher has)`, "right, in percent"]);
  const diagonal = { x1: x(0), y1: y((100 * lowest) / teachers), x2: x(hits.length - 1), y2: y(100), class: "diagonal" };
  picture.append(svg("line", diagonal));
  const entries = [];
  const width = Math.min(16, 300 / (curves.length * hits.length));
  curves.forEach((curve, place) => {
    const style = place
      ? { colour: place === 1 ? "var(--ink)" : LINES[theme()][(place - 1) % 8], width: 2, mark: MARKS[place % MARKS.length], dash: "" }
      : { colour: LINES[theme()][0], width: 2, mark: "circle", dash: "" };
    entries.push([place ? `${unit}s of ${curve.name}` : `${unit}s of any teacher`, style]);
    const shift = (place - (curves.length - 1) / 2) * width;
    const points = curve.bins.map((bin) => [x(bin.hits - lowest) + shift, y((100 * bin.right) / bin.total), bin]);
    picture.append(svg("path", { d: points.map(([px, py], at) => `${at ? "L" : "M"}${px} ${py}`).join(""), fill: "none", stroke: style.colour, "stroke-width": 1.5, opacity: 0.6 }));
    for (const [px, py, bin] of points) {
      const [from, to] = bin.interval.map(y);
      picture.append(
        svg("path", { d: `M${px} ${from}V${to}M${px - 4} ${from}h8M${px - 4} ${to}h8`, stroke: style.colour, "stroke-width": 1.5, fill: "none" }),
        markAt(px, py, style, `${curve.name}, ${bin.hits} of ${teachers}: ${fixed((100 * bin.right) / bin.total, 1)} % of ${grouped(bin.total)}`),
      );
    }
  });
  const rows = curves.flatMap((curve, place) =>
    curve.bins.map((bin) => [
      place ? curve.name : "any teacher",
      ...[String(bin.hits), grouped(bin.total), fixed((100 * bin.right) / bin.total), bin.interval.map((one) => fixed(one)).join(" to ")].map((text) => ({ text, class: "number" })),
    ]),
  );
  const header = [`${unit}s of`, ...["teachers", `${unit}s`, "right (%)", "95 % interval"].map((text) => ({ text, class: "number" }))];
  const note = `Of the ${unit}s that so many teachers have, the share that gold has. On the dashed line a share of the teachers would be the probability of being right. Intervals are Wilson's and take ${unit}s as independent, which those of one sentence are not.`;
  return section("Reliability", scrolled("Reliability", picture), keyOf(entries), el("p", { class: "note" }, note), asTable(scrolled("Reliability, numbers", tableOf(header, rows))));
}

function drawResults(facts) {
  const systems = facts.systems.map((system, index) => ({ ...system, index }));
  const parts = [];
  if (facts.summary) parts.push(...summaryPart(facts).filter(Boolean));
  else parts.push(el("p", { class: "note" }, "No gold trees were given, so there are no scores, tests, recall or reliability here. Agreement, disagreement, hit counts and trees need none."));
  parts.push(agreementPart(facts));
  if (facts.by_length) parts.push(lengthPart(facts, systems));
  if (facts.by_label) parts.push(labelPart(facts));
  if (facts.reliability) parts.push(reliabilityPart(facts));
  byId("results").replaceChildren(...parts);
}
