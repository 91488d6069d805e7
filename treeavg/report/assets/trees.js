// Trees as pictures. With two systems, the second one's tree hangs below the words, mirrored, so that words stand in
// one line; what only one of the two has is marked by a dashed frame, square corners and the sign ≠.

const TOP = 26; // room between the words and the lowest constituents
const SIZE = 13;

const labelOf = (row, system) => row.labels[system] || "";

// Pictures show the beginning of what is very long; the table and the text below them have all of it.
function cut(text, most) {
  const letters = Array.from(text);
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
}

const shortened = (words) => words.map((word) => cut(word, 24));

// What a constituent or arc is called in the picture: its label and how many teachers have it.
function nameOf(row, system, differs) {
  return [cut(labelOf(row, system), 14), row.virtual ? "" : String(row.hits), differs ? "≠" : ""].filter(Boolean).join(" ");
}

function constituentsOf(rows, system, length) {
  const nodes = rows.filter((row) => row.members.has(system)).map((row) => ({ row, children: [] }));
  if (length > 1 && !nodes.some((node) => node.row.whole)) {
    const row = { blocks: [[0, length]], size: length, whole: true, virtual: true, hits: 0, labels: {}, members: new Set() };
    nodes.push({ row, children: [] });
  }
  return nodes.sort((one, other) => other.row.size - one.row.size);
}

// Give each node its children and its height: largest nodes first, each token belongs to the last that covered it.
function link(nodes, length) {
  const owner = new Array(length).fill(null);
  for (const node of nodes) {
    node.parent = owner[node.row.blocks[0][0]];
    if (node.parent) node.parent.children.push(node);
    for (const [begin, end] of node.row.blocks) owner.fill(node, begin, end);
  }
  owner.forEach((node, token) => node && node.children.push({ token }));
  const levels = [];
  for (let place = nodes.length - 1; place >= 0; place--) {
    const node = nodes[place];
    const { blocks } = node.row;
    const [begin, end] = [blocks[0][0], blocks[blocks.length - 1][1]];
    node.height = 1 + Math.max(...node.children.map((child) => ("token" in child ? 0 : child.height)));
    // Constituents with gaps may reach over one another: then they stand at different heights.
    while ((levels[node.height] || []).some(([other, last]) => begin < last && other < end)) node.height++;
    (levels[node.height] = levels[node.height] || []).push([begin, end]);
  }
}

// Centres of the words: wide enough for each word, and for the names of the constituents above them.
function spread(words, trees, least) {
  const slots = words.map((word) => Math.max(least, widthOf(word, SIZE) + 14));
  for (const tree of trees) {
    for (let place = tree.length - 1; place >= 0; place--) {
      const { row, width } = tree[place];
      let room = 0;
      for (const [begin, end] of row.blocks) for (let token = begin; token < end; token++) room += slots[token];
      const lack = (width + 8 - room) / row.size;
      if (lack <= 0) continue;
      for (const [begin, end] of row.blocks) for (let token = begin; token < end; token++) slots[token] += lack;
    }
  }
  let right = 10;
  const centres = slots.map((slot) => {
    right += slot;
    return right - slot / 2;
  });
  return { centres, width: right + 10 };
}

function wordLine(words, centres, y, step) {
  return svg(
    "g", { class: "words" },
    ...words.map((word, place) => svg("text", { x: centres[place], y: y + step, "text-anchor": "middle" }, word)),
  );
}

function paintOf(view, hits) {
  if (!hits) return { fill: "var(--ground)", ink: "var(--ink)" };
  return shade(view.teachers > 1 ? (hits - 1) / (view.teachers - 1) : 1);
}

function pill(view, node, x, y, differs, pick) {
  const { row } = node;
  const paint = paintOf(view, row.hits);
  const name = nameOf(row, node.system, differs);
  const group = svg("g", { class: differs ? "node differs" : "node", onclick: () => pick(row) });
  group.append(
    svg("rect", { x: x - node.width / 2, y: y - 10, width: node.width, height: 20, rx: differs ? 0 : 10, fill: paint.fill }),
    svg("text", { x, y: y + 4, "text-anchor": "middle", fill: paint.ink }, name),
    svg("title", {}, describe(view, row)),
  );
  return group;
}

// One tree above (sign -1) or below (sign 1) the line of words.
function branches(view, nodes, centres, base, step, sign, marks, pick) {
  const edges = svg("g", { class: "edges" });
  const heads = svg("g", {});
  const y = (node) => base + sign * (TOP + (node.height - 1) * step);
  for (let place = nodes.length - 1; place >= 0; place--) {
    const node = nodes[place];
    const xs = node.children.map((child) => ("token" in child ? centres[child.token] : child.x));
    const middle = node.row.blocks.length > 1 ? xs.reduce((sum, x) => sum + x, 0) / xs.length : (Math.min(...xs) + Math.max(...xs)) / 2;
    node.x = Math.max(node.width / 2 + 4, Math.min(view.width - node.width / 2 - 4, middle));
  }
  for (const node of nodes) {
    for (const child of node.children) {
      const [x2, y2] = "token" in child ? [centres[child.token], base + sign * 4] : [child.x, y(child)];
      const line = { x1: node.x, y1: y(node), x2, y2 };
      const own = child.row && marks(child.row) ? "differs" : null;
      if (view.crossing) edges.append(svg("line", { ...line, class: "halo" }));
      edges.append(svg("line", { ...line, class: own }));
    }
    heads.append(pill(view, node, node.x, y(node), marks(node.row), pick));
  }
  return svg("g", {}, edges, heads);
}

function drawConstituents(view, first, second, pick) {
  const { rows } = view;
  const words = shortened(view.words);
  const systems = second === null ? [first] : [first, second];
  const trees = systems.map((system) => {
    const nodes = constituentsOf(rows, system, words.length);
    link(nodes, words.length);
    return nodes;
  });
  const marks = (row) => second !== null && !row.whole && row.members.has(first) !== row.members.has(second);
  trees.forEach((nodes, place) => {
    for (const node of nodes) {
      node.system = systems[place];
      node.width = Math.max(20, widthOf(nameOf(node.row, node.system, marks(node.row)), 11.5) + 12);
    }
  });
  const { centres, width } = spread(words, trees, 30);
  view.width = width;
  const tallest = Math.max(1, ...trees.map((nodes) => (nodes.length ? nodes[0].height : 1)));
  const step = Math.max(22, Math.min(38, 520 / tallest));
  const reach = trees.map((nodes) => (nodes.length ? TOP + (nodes[0].height - 1) * step + 14 : 0));
  const base = reach[0] + 4;
  const height = base + 22 + (second === null ? 4 : reach[1] + 4);
  const picture = frameOf(view, width, height, systems);
  picture.append(branches(view, trees[0], centres, base, step, -1, marks, pick));
  if (second !== null) picture.append(branches(view, trees[1], centres, base + 22, step, 1, marks, pick));
  picture.append(wordLine(words, centres, base, 15));
  return picture;
}

function frameOf(view, width, height, systems) {
  const names = systems.map((system) => view.names[system]).join(" above the words, mirrored below them the tree of ");
  return svg("svg", {
    width: Math.ceil(width), height: Math.ceil(height), viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`, class: "tree", role: "img",
    "aria-label": `Tree of ${names}. The same as text and as a table follows.`,
  });
}

// Arcs: the shorter nearer to the words; each as high as needed to pass over those inside it.
function levelsOf(arcs) {
  const sorted = [...arcs].sort((one, other) => one.right - one.left - (other.right - other.left));
  sorted.forEach((arc, place) => {
    arc.level = 1;
    for (const inner of sorted.slice(0, place)) {
      const overlap = Math.min(arc.right, inner.right) - Math.max(arc.left, inner.left);
      if (overlap > 0) arc.level = Math.max(arc.level, inner.level + 1);
    }
  });
  return Math.max(0, ...arcs.map((arc) => arc.level));
}

function arcsOf(rows, system) {
  const own = rows.filter((row) => row.members.has(system));
  const arcs = own
    .filter((row) => row.head > 0)
    .map((row) => ({ row, left: Math.min(row.word, row.head - 1), right: Math.max(row.word, row.head - 1) }));
  return { arcs, roots: own.filter((row) => row.head === 0) };
}

function tag(view, row, system, x, y, differs, pick) {
  const paint = paintOf(view, row.hits);
  const name = nameOf(row, system, differs);
  const width = widthOf(name, 11) + 10;
  return svg(
    "g", { class: differs ? "node small differs" : "node small", onclick: () => pick(row) },
    svg("rect", { x: x - width / 2, y: y - 8, width, height: 16, rx: differs ? 0 : 8, fill: paint.fill }),
    svg("text", { x, y: y + 4, "text-anchor": "middle", fill: paint.ink }, name),
    svg("title", {}, describe(view, row)),
  );
}

function drawSide(view, system, { arcs, roots }, centres, base, step, top, sign, marks, pick) {
  const lines = svg("g", { class: "arcs" });
  const tags = svg("g", {});
  for (const arc of arcs) {
    const { row } = arc;
    const side = row.word > row.head - 1 ? 1 : -1; // towards which side the arc goes from its head
    const from = centres[row.head - 1] + side * 5;
    const to = centres[row.word] - side * 3;
    const y = base + sign * (12 + arc.level * step);
    const bend = Math.min(14, Math.abs(to - from) / 2, Math.abs(y - base));
    const turn = side * bend;
    const path = `M${from} ${base}V${y - sign * bend}Q${from} ${y} ${from + turn} ${y}H${to - turn}Q${to} ${y} ${to} ${y - sign * bend}V${base + sign * 5}`;
    const differs = marks(row);
    lines.append(
      svg("path", { d: path, class: "under" }),
      svg("path", { d: path, stroke: paintOf(view, row.hits).fill, class: differs ? "differs" : null }),
      svg("path", { d: `M${to} ${base}l-4 ${sign * 8}h8Z`, class: "tip" }),
    );
    tags.append(tag(view, row, system, (from + to) / 2, y, differs, pick));
  }
  for (const row of roots) {
    const [x, y] = [centres[row.word], base + sign * top];
    const path = `M${x} ${y}V${base + sign * 5}`;
    lines.append(
      svg("path", { d: path, class: "under" }),
      svg("path", { d: path, stroke: paintOf(view, row.hits).fill, class: marks(row) ? "differs" : null }),
      svg("path", { d: `M${x} ${base}l-4 ${sign * 8}h8Z`, class: "tip" }),
    );
    const named = { ...row, labels: { [system]: labelOf(row, system) || "root" } };
    tags.append(tag(view, named, system, x, y, marks(row), () => pick(row)));
  }
  return svg("g", {}, lines, tags);
}

function drawArcs(view, first, second, pick) {
  const { rows } = view;
  const words = shortened(view.words);
  const systems = second === null ? [first] : [first, second];
  const sides = systems.map((system) => arcsOf(rows, system));
  const marks = (row) => second !== null && row.members.has(first) !== row.members.has(second);
  const { centres, width } = spread(words, [], sides.some(({ arcs }) => arcs.some(({ row }) => Object.keys(row.labels).length)) ? 62 : 42);
  const levels = sides.map(({ arcs }) => levelsOf(arcs));
  const step = Math.max(17, Math.min(26, 420 / Math.max(1, ...levels)));
  const reach = levels.map((level) => 12 + (level + 1.2) * step);
  const base = reach[0] + 12;
  const height = base + 26 + (second === null ? 0 : reach[1] + 12);
  const picture = frameOf(view, width, height, systems);
  picture.append(drawSide(view, first, sides[0], centres, base, step, reach[0], -1, marks, pick));
  if (second !== null) picture.append(drawSide(view, second, sides[1], centres, base + 24, step, reach[1], 1, marks, pick));
  picture.append(wordLine(words, centres, base, 16));
  return picture;
}
