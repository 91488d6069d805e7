// The columns behind the page (see treeavg/report/payload.py): every constituent of a sentence once, with a bit for
// each system that has it. Of dependency trees a row is an arc: start is the word (from 0), size the head (0 the root).

const NONE = 65535;
const ARRAYS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };

async function unpack(text) {
  const letters = atob(text.trim());
  const packed = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place++) packed[place] = letters.charCodeAt(place);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function running(counts) {
  const offsets = new Uint32Array(counts.length + 1);
  for (let place = 0; place < counts.length; place++) offsets[place + 1] = offsets[place] + counts[place];
  return offsets;
}

class Bank {
  constructor(facts, buffer) {
    this.facts = facts;
    this.columns = {};
    let begin = 0;
    for (const [name, size, length] of facts.columns) {
      this.columns[name] = new ARRAYS[size](buffer.slice(begin, begin + size * length));
      begin += size * length;
    }
    const { lengths, counts, fan_outs, strings } = this.columns;
    this.count = facts.sentences;
    this.lengths = lengths;
    this.strings = JSON.parse(new TextDecoder().decode(strings));
    this.tokenOffsets = running(lengths);
    this.rowOffsets = running(counts);
    this.blockOffsets = fan_outs ? running(fan_outs) : null;
    this.systems = facts.systems.map((system, index) => ({ ...system, index }));
    this.teachers = this.systems.filter((system) => system.role === "teacher").map((system) => system.index);
    this.dependency = facts.kind === "dependency";
    this.labelOffsets = new Map();
    this.texts = null;
  }

  has(row, system) {
    return (this.columns[`members${system >> 3}`][row] >> (system & 7)) & 1;
  }

  present(sentence, system) {
    return (this.columns[`present${system >> 3}`][sentence] >> (system & 7)) & 1;
  }

  f1(sentence, system) {
    const column = this.columns[`f1_${system}`];
    return column && column[sentence] !== NONE ? column[sentence] / 100 : null;
  }

  disagreement(sentence) {
    const column = this.columns.disagreement;
    return column && column[sentence] !== NONE ? column[sentence] / 100 : null;
  }

  words(sentence) {
    const [begin, end] = [this.tokenOffsets[sentence], this.tokenOffsets[sentence + 1]];
    if (!this.columns.words) return Array.from({ length: end - begin }, (_, place) => String(place + 1));
    return Array.from(this.columns.words.subarray(begin, end), (code) => this.strings[code]);
  }

  text(sentence) {
    return this.words(sentence).join(" ");
  }

  lowered(sentence) {
    if (this.texts === null) {
      this.texts = Array.from({ length: this.count }, (_, place) => this.text(place).toLowerCase());
    }
    return this.texts[sentence];
  }

  // Where the labels of a system's rows begin in each sentence.
  labelsBegin(system, sentence) {
    if (!this.labelOffsets.has(system)) {
      const offsets = new Uint32Array(this.count + 1);
      let total = 0;
      for (let place = 0; place < this.count; place++) {
        offsets[place] = total;
        for (let row = this.rowOffsets[place]; row < this.rowOffsets[place + 1]; row++) total += this.has(row, system);
      }
      this.labelOffsets.set(system, offsets);
    }
    return this.labelOffsets.get(system)[sentence];
  }

  // The different constituents (or arcs) of a sentence.
  rows(sentence) {
    const length = this.lengths[sentence];
    const result = [];
    const at = this.systems.map((system) =>
      this.columns[`labels_${system.index}`] ? this.labelsBegin(system.index, sentence) : -1,
    );
    for (let row = this.rowOffsets[sentence]; row < this.rowOffsets[sentence + 1]; row++) {
      const members = new Set();
      const labels = {};
      for (const { index } of this.systems) {
        if (!this.has(row, index)) continue;
        members.add(index);
        if (at[index] >= 0) labels[index] = this.strings[this.columns[`labels_${index}`][at[index]++]];
      }
      const hits = this.teachers.reduce((sum, teacher) => sum + members.has(teacher), 0);
      result.push({ members, labels, hits, ...this.shape(row, length) });
    }
    return result;
  }

  shape(row, length) {
    const { starts, sizes } = this.columns;
    if (this.dependency) return { word: starts[row], head: sizes[row] };
    const [begin, end] = this.blockOffsets ? [this.blockOffsets[row], this.blockOffsets[row + 1]] : [row, row + 1];
    const blocks = [];
    let size = 0;
    for (let place = begin; place < end; place++) {
      blocks.push([starts[place], starts[place] + sizes[place]]);
      size += sizes[place];
    }
    return { blocks, size, whole: size === length };
  }
}
