// Hit counts as a picture: constituents in a triangle over the words, arcs in a square of words.

function triangle(view, first, pick) {
  const { rows } = view;
  const words = shortened(view.words);
  const count = words.length;
  const unit = Math.max(15, Math.min(46, 900 / count));
  const rise = unit * 0.62;
  const longest = Math.max(...words.map((word) => widthOf(word, 12)));
  const base = 8 + count * (rise / 2) + rise / 2;
  const slope = Math.PI / 3;
  const left = 10 + longest * Math.cos(slope);
  const width = left + count * unit + 14;
  const height = base + 14 + longest * Math.sin(slope) + 8;
  const picture = svg("svg", {
    width: Math.ceil(width), height: Math.ceil(height), viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`, class: "grid-picture", role: "img",
    "aria-label": "Hit counts: a cell above each span of words, with the number of teachers that have it. The same as a table follows.",
  });
  const x = (begin, end) => left + ((begin + end) / 2) * unit;
  const y = (size) => base - (size - 1) * (rise / 2);
  const diamond = (begin, end, grow = 0) => {
    const [cx, cy, w, h] = [x(begin, end), y(end - begin), unit / 2 + grow, rise / 2 + grow];
    return `M${cx - w} ${cy}L${cx} ${cy - h}L${cx + w} ${cy}L${cx} ${cy + h}Z`;
  };
  picture.append(svg("path", { d: `M${left} ${base}L${x(0, count)} ${y(count) - rise / 2}L${left + count * unit} ${base}Z`, class: "field" }));
  const lines = [];
  for (let at = 1; at < count; at++) {
    lines.push(`M${left + at * unit} ${base}L${x(0, at)} ${y(at) - rise / 2}M${left + at * unit} ${base}L${x(at, count)} ${y(count - at) - rise / 2}`);
  }
  if (count <= 60) picture.append(svg("path", { d: lines.join(""), class: "mesh" }));
  const shown = rows.filter((row) => row.blocks.length === 1 && (row.hits > 0 || row.members.has(first)));
  for (const row of shown) {
    const [[begin, end]] = row.blocks;
    const hits = row.whole ? view.teachers : row.hits;
    const paint = paintOf(view, hits);
    const group = svg("g", { class: row.members.has(first) ? "cell chosen" : "cell", onclick: () => pick(row) });
    group.append(svg("path", { d: diamond(begin, end, row.members.has(first) ? -1 : 0), fill: paint.fill }), svg("title", {}, describe(view, row)));
    if (unit >= 22) group.append(svg("text", { x: x(begin, end), y: y(end - begin) + 4, "text-anchor": "middle", fill: paint.ink }, String(hits)));
    picture.append(group);
  }
  words.forEach((word, place) => {
    const [px, py] = [x(place, place + 1), base + 14];
    picture.append(svg("text", { x: px, y: py, "text-anchor": "end", class: "leaf", transform: `rotate(-60 ${px} ${py})` }, word));
  });
  return picture;
}

function square(view, first, pick) {
  const { rows } = view;
  const words = shortened(view.words);
  const heads = ["(root)", ...words];
  const unit = Math.max(15, Math.min(30, 760 / words.length));
  const longest = Math.max(...heads.map((word) => widthOf(word, 12)));
  const left = longest + 16;
  const top = longest * 0.87 + 20;
  const width = left + words.length * unit + longest * 0.5 + 10;
  const height = top + heads.length * unit + 10;
  const picture = svg("svg", {
    width: Math.ceil(width), height: Math.ceil(height), viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`, class: "grid-picture", role: "img",
    "aria-label": "Hit counts of arcs: a row for each head, a column for each word, with the number of teachers that have the arc. The same as a table follows.",
  });
  picture.append(svg("rect", { x: left, y: top, width: words.length * unit, height: heads.length * unit, class: "field" }));
  const mesh = [];
  for (let at = 1; at < words.length; at++) mesh.push(`M${left + at * unit} ${top}v${heads.length * unit}`);
  for (let at = 1; at < heads.length; at++) mesh.push(`M${left} ${top + at * unit}h${words.length * unit}`);
  picture.append(svg("path", { d: mesh.join(""), class: "mesh" }));
  heads.forEach((word, place) => picture.append(svg("text", { x: left - 8, y: top + (place + 0.5) * unit + 4, "text-anchor": "end", class: "leaf" }, word)));
  words.forEach((word, place) => {
    const [x, y] = [left + (place + 0.5) * unit + 4, top - 6];
    picture.append(svg("text", { x, y, class: "leaf", transform: `rotate(-60 ${x} ${y})` }, word));
  });
  for (const row of rows.filter((one) => one.hits > 0 || one.members.has(first))) {
    const paint = paintOf(view, row.hits);
    const [x, y] = [left + row.word * unit, top + row.head * unit];
    const group = svg("g", { class: row.members.has(first) ? "cell chosen" : "cell", onclick: () => pick(row) });
    group.append(svg("rect", { x: x + 1, y: y + 1, width: unit - 2, height: unit - 2, fill: paint.fill }), svg("title", {}, describe(view, row)));
    if (unit >= 18) group.append(svg("text", { x: x + unit / 2, y: y + unit / 2 + 4, "text-anchor": "middle", fill: paint.ink }, String(row.hits)));
    picture.append(group);
  }
  return picture;
}
