
"use strict";
// Texts reach the page as text nodes alone, so nothing that a model wrote is ever markup.

const PAGE = 50; // documents of a page of the list
const LONG = 20000; // characters of a response that are shown at first
const WORDS = 4e6; // cells of the largest table that a comparison of words fills in
const byId = (id) => document.getElementById(id);

/** An element, named as in `p.question`, with properties and children: elements or texts. */
function make(kind, { name, ...properties }, ...children) {
  const [tag, className = ""] = kind.split(/\.(.*)/);
  const element = Object.assign(document.createElement(tag), { className }, properties);
  if (tag === "button") element.type = "button";
  if (name) element.dataset.name = name;
  element.append(...children.map((child) => (child instanceof Node ? child : visible(child))));
  return element;
}

/** Text with its control characters as pictures, and without the ones that turn the direction of what follows. */
function visible(text) {
  return String(text)
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\u007f/g, "\u2421")
    .replace(/\p{Surrogate}/gu, "\ufffd")
    .replace(/[\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) => `[U+${c.charCodeAt(0).toString(16).toUpperCase()}]`);
}

// ---------------------------------------------------------------------------------------------------- tables

function sortKey(text, isWord) {
  if (text === "" || text === "-") return null;
  if (isWord) return text;
  if (/^\d+(:\d\d)+$/.test(text)) return text.split(":").reduce((sum, part) => 60 * sum + Number(part), 0);
  const number = /[-+]?\d[\d,]*\.?\d*(e[-+]?\d+)?/.exec(text);
  return number ? Number(number[0].replaceAll(",", "")) : null;
}

/** Up, then down, then as it was; what has no value comes last either way. */
function makeSortable(table) {
  const before = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.firstElementChild.onclick = () => {
      const next = head.ariaSort === "ascending" ? "descending" : head.ariaSort ? null : "ascending";
      for (const other of heads) other.ariaSort = other === head ? next : null;
      const key = (row) => sortKey(row.cells[column].dataset.value, head.className === "word");
      const order = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
      const sign = next === "descending" ? -1 : 1;
      const known = before.filter((row) => key(row) !== null).sort((one, other) => sign * order(key(one), key(other)));
      table.tBodies[0].append(...(next ? [...known, ...before.filter((row) => key(row) === null)] : before));
    };
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);

// ------------------------------------------------------------------------------------------------------ words

/** Two texts as runs of words, [text, whether the other lacks it]: the longest common sequence of words stays plain. */
function compareWords(before, after) {
  const [a, b] = [before, after].map((text) => text.match(/\S+\s*|\s+/g) ?? []);
  const same = (i, j) => a[i].trim() === b[j].trim();
  const most = Math.min(a.length, b.length);
  let [start, end] = [0, 0];
  while (start < most && same(start, start)) start++;
  while (end < most - start && same(a.length - 1 - end, b.length - 1 - end)) end++;
  const [n, m] = [a.length - start - end, b.length - start - end];
  const gone = a.map((_, place) => place >= start && place < start + n);
  const added = b.map((_, place) => place >= start && place < start + m);
  if (n * m <= WORDS) {
    const at = (i, j) => i * (m + 1) + j;
    const lengths = new Uint16Array((n + 1) * (m + 1)); // of the longest common sequence behind each pair of words
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        const [next, right, both] = [lengths[at(i + 1, j)], lengths[at(i, j + 1)], lengths[at(i + 1, j + 1)]];
        lengths[at(i, j)] = same(start + i, start + j) ? both + 1 : Math.max(next, right);
      }
    }
    for (let i = 0, j = 0; i < n && j < m; ) {
      if (same(start + i, start + j)) gone[start + i++] = added[start + j++] = false;
      else if (lengths[at(i + 1, j)] >= lengths[at(i, j + 1)]) i++;
      else j++;
    }
  }
  return [runs(a, gone), runs(b, added)];
}

function runs(parts, marks) {
  const found = [];
  parts.forEach((part, place) => {
    if (place && marks[place] === marks[place - 1]) found.at(-1)[0] += part;
    else found.push([part, marks[place]]);
  });
  return found;
}

// ---------------------------------------------------------------------------------------------------- samples

const loaded = new Map();

/** The content of a block: JSON, gzipped, in base64. */
function load(number) {
  if (!loaded.has(number)) {
    const bytes = Uint8Array.from(atob(JSON.parse(byId(`block-${number}`).textContent)), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    loaded.set(number, new Response(stream).json());
  }
  return loaded.get(number);
}

/** A row's documents, each with its responses: without steering, of each strength, of the best, and of the vote. */
async function readDocuments(row, view) {
  const blocks = [load(row.block), view.block === undefined ? { cells: [], voted: [] } : load(view.block)];
  const [{ shared, documents, baseline }, { texts, cells, voted }] = await Promise.all(blocks);
  const read = (raw, base) => {
    if (!raw) return null;
    const [text, answer, score, tokens] = raw;
    return { text: typeof text === "string" ? text : (texts[text] ?? base.text), same: text === -1, answer, score, tokens };
  };
  return documents.map((one, place) => {
    const base = read(baseline[place]);
    const steered = (cells[place] ?? []).map((raw) => read(raw, base));
    const best = steered[view.best] ?? null;
    return { ...one, prompt: shared + one.prompt, base, steered, best, vote: read(voted[place], base) };
  });
}

function sampleBrowser(index) {
  const fields = { view: byId("view"), filter: byId("filter"), search: byId("search") };
  const NO_VIEW = { name: "no steering", strengths: [], labels: [], best: null, vote: 0, binary: true };
  // Number of the row, view, documents, those that are shown, the one that is looked at, number of its strength.
  const state = { row: null, view: NO_VIEW, documents: [], shown: [], one: null, strength: null, page: 0, turn: 0 };

  const rise = (one, base) => (one && base && one.score !== null ? one.score - base.score : 0);
  const gain = (one, base) => rise(one, base) * (index.rows[state.row].higher ? 1 : -1);
  const FILTERS = [
    ["all", "all documents", () => true],
    ["changed", "steered response differs", ({ base, best }) => base && best && !best.same],
    ["gained", "gained by steering", ({ base, best }) => gain(best, base) > 0],
    ["lost", "lost by steering", ({ base, best }) => gain(best, base) < 0],
    ["vote", "vote's answer differs", ({ base, vote }) => base && vote && vote.answer !== base.answer],
    ["vote-gained", "gained by the vote", ({ base, vote }) => gain(vote, base) > 0],
    ["vote-lost", "lost by the vote", ({ base, vote }) => gain(vote, base) < 0],
  ];

  /** How a score is shown: a sign, a class and a word. */
  function judge(response) {
    if (!response) return { sign: "–", kind: "none", word: "no response" };
    const score = response.score;
    if (score === null) return { sign: "?", kind: "none", word: "not scored" };
    if (!state.view.binary) return { sign: String(Math.round(1000 * score) / 1000), kind: "none", word: `score ${score}` };
    return score ? { sign: "✓", kind: "good", word: "right" } : { sign: "✗", kind: "bad", word: "wrong" };
  }

  function fillViews() {
    for (const [r, row] of index.rows.entries()) {
      const views = row.views.length ? row.views : [NO_VIEW];
      const name = (view) => (views.length > 1 ? `${view.name} · ${row.name}` : row.name);
      const options = views.map((view, v) => make("option", { value: `${r} ${v}` }, name(view)));
      fields.view.append(make("optgroup", { label: visible(row.name) }, ...options));
    }
  }

  function fillFilters() {
    const wanted = fields.filter.value || "all";
    fields.filter.replaceChildren();
    for (const [value, label, test] of FILTERS) {
      const count = state.documents.filter(test).length;
      fields.filter.append(make("option", { value, disabled: !count }, `${label} (${count})`));
    }
    fields.filter.value = wanted;
    if (fields.filter.selectedOptions[0]?.disabled) fields.filter.value = "all";
  }

  function select() {
    const query = fields.search.value.trim().toLowerCase();
    const test = FILTERS.find(([name]) => name === fields.filter.value)[2];
    const texts = (one) => [one.question, one.target, ...[one.base, ...one.steered, one.vote].map((each) => each?.text)];
    const found = (one) => !query || texts(one).some((text) => text?.toLowerCase().includes(query));
    state.shown = state.documents.filter((one) => test(one) && found(one));
    const [few, total] = [state.shown.length, state.documents.length];
    byId("status").textContent = `${few < total ? `${few} of ` : ""}${total} documents${few ? "." : ": none is like that."}`;
    byId("browser").hidden = !few;
    if (state.shown.includes(state.one)) go(state.one, state.strength);
    else if (few) go(state.shown[0]);
  }

  function go(one, strength = null) {
    Object.assign(state, { one, strength, page: Math.floor(state.shown.indexOf(one) / PAGE) });
    renderList();
    renderDocument();
  }

  const visit = (one) => { go(one); link(); };
  const step = (by) => {
    const one = state.shown[state.shown.indexOf(state.one) + by];
    if (one) visit(one);
  };

  function renderList() {
    const list = byId("documents");
    list.replaceChildren(...state.shown.slice(state.page * PAGE, (state.page + 1) * PAGE).map(entry));
    const current = list.querySelector("[aria-current]");
    const top = (element) => element.getBoundingClientRect().top;
    if (current) list.scrollTop += top(current) - top(list) - list.clientHeight / 3;
    const pages = Math.ceil(state.shown.length / PAGE);
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("page-before").disabled = state.page === 0;
    byId("page-after").disabled = state.page === pages - 1;
  }

  function entry(one) {
    const kinds = [["without steering", one.base], ["steered", one.best], ["vote", one.vote]];
    const told = kinds.filter(([, each]) => each).map(([name, each]) => [name, judge(each)]);
    const title = told.map(([name, each]) => `${name}: ${each.word}`).join(", ");
    const signs = told.map(([, each]) => make(`span.glyph ${each.kind}`, {}, each.sign));
    return make("li", {}, make("button", { ariaCurrent: one === state.one ? "true" : null, onclick: () => visit(one) },
      make("span.number", {}, one.number),
      make("span.words", {}, one.question.trim().slice(0, 120).replace(/\s+/g, " ")),
      make("span.signs", { role: "img", ariaLabel: title, title }, ...signs)));
  }

  function renderDocument() {
    const [one, box] = [state.one, byId("document")];
    const at = state.shown.indexOf(one);
    const chosen = state.strength ?? state.view.best;
    const focused = box.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    const turn = (name, text, by) =>
      make("button", { name, disabled: !state.shown[at + by], onclick: () => step(by) }, text);
    const title = make("h3", {}, `Document ${one.number} (${at + 1} of ${state.shown.length} shown)`);
    box.replaceChildren(
      make("div.turn", {}, title, turn("before", "← Previous", -1), turn("after", "Next →", 1)),
      make("p.question", {}, one.question),
      make("p.target", {}, "Right answer: ", make("strong", {}, one.target)),
      whole(one),
      ...(state.view.strengths.length > 1 ? [strip(one, chosen), legend()] : []),
      make("div.responses", {}, ...columns(one, chosen)),
    );
    if (focused) box.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function whole(one) {
    const line = ([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value));
    const table = make("table.fields", {}, make("tbody", {}, ...one.fields.map(line)));
    const summary = make("summary", {}, "The whole document and its prompt");
    return make("details", {}, summary, make("div.scroll", {}, table), make("div.prompt", {}, one.prompt));
  }

  function strip(one, chosen) {
    const strengths = state.view.strengths.map((strength, number) => {
      const response = one.steered[number];
      const agrees = one.vote && response && response.answer !== null && response.answer === one.vote.answer;
      const onclick = () => { state.strength = number; renderDocument(); link(); };
      const properties = { name: `strength ${strength}`, disabled: !response, ariaPressed: String(number === chosen), onclick };
      const label = `${state.view.labels[number]}${number === state.view.best ? " ★" : ""}`;
      return cell("button", properties, label, response, agrees ? " ●" : "");
    });
    const base = one.base ? [cell("div", {}, "no steering", one.base)] : [];
    return make("div.strip", { role: "group", ariaLabel: "Answers by strength" }, ...base, ...strengths);
  }

  function cell(tag, properties, label, response, more = "") {
    const told = judge(response);
    const title = visible(response?.answer ?? "").slice(0, 300);
    return make(`${tag}.cell ${told.kind}`, { title, ...properties },
      make("span.strength", {}, label),
      make("span.answer", {}, response ? (response.answer ?? "no answer") : "–"),
      make("span.glyph", { title: told.word }, told.sign + more));
  }

  function legend() {
    const parts = state.view.binary ? ["✓ right", "✗ wrong", "? not scored"] : ["numbers: score of the document"];
    if (state.view.best !== null) parts.push("★ speaks for the run");
    if (state.view.vote) parts.push("● agrees with the vote");
    return make("p.legend", {}, `${parts.join(", ")}. Choose a strength to see its response.`);
  }

  /** The responses side by side; what the baseline's lacks is marked in the others, and what only it has in it. */
  function columns(one, chosen) {
    const [base, steered] = [one.base, one.steered[chosen]];
    const clip = (response) => response.text.slice(0, LONG);
    const compared = (response) => (base && response ? compareWords(clip(base), clip(response)) : null);
    const [pair, votePair] = [compared(steered), compared(one.vote)];
    const column = (title, name, response, parts, mark = "") => {
      if (!response) return [];
      const told = judge(response);
      const { text, answer, tokens } = response;
      const words = (parts ?? [[clip(response), false]]).map(([part, isMarked]) =>
        make(isMarked ? `mark.${mark}` : "span", {}, part));
      if (!text.trim()) words.push(make("span.empty", {}, text ? "(only space)" : "(empty)"));
      const pre = make("pre", {}, ...words);
      const onclick = (event) => { pre.textContent = visible(text); event.target.remove(); };
      const rest = make("button", { onclick }, `Show all ${text.length.toLocaleString("en")} characters`);
      const head = make("header", {},
        make("h3", {}, title),
        make(`span.glyph ${told.kind}`, {}, `${told.sign} ${state.view.binary ? told.word : ""}`),
        make("span.small", {}, `answer: ${answer ?? "none"}${tokens === null ? "" : `, ${tokens} tokens`}`));
      const choices = /^[→ ] \d+ +-?\d/.test(text) ? " choices" : "";
      return [make(`section.response ${name}${choices}`, {}, head, pre, ...(text.length > LONG ? [rest] : []))];
    };
    return [
      ...column("Without steering", "", base, (pair ?? votePair)?.[0], "gone"),
      ...column(state.view.prefix + state.view.labels[chosen], "steered", steered, pair?.[1]),
      ...column(`Vote of ${state.view.vote}`, "voted", one.vote, votePair?.[1]),
    ];
  }

  /** The address names the document, so that it can be sent to somebody who has the file. */
  function link() {
    const found = new URLSearchParams({ row: state.row, view: state.view.name, doc: state.one.number });
    if (state.strength !== null) found.set("at", state.view.strengths[state.strength]);
    history.replaceState(null, "", `#${found}`);
  }

  async function show(r, v, number = null, at = null) {
    const turn = ++state.turn;
    byId("status").textContent = "Unpacking …";
    const row = index.rows[r];
    const view = row.views[v] ?? NO_VIEW;
    const documents = await readDocuments(row, view);
    if (turn !== state.turn) return; // another choice was made meanwhile
    const wanted = number ?? (state.row === r ? state.one.number : null);
    const one = documents.find((each) => each.number === wanted) ?? documents[0];
    const strength = view.strengths.indexOf(at);
    Object.assign(state, { row: r, view, documents, one, strength: strength < 0 ? null : strength });
    fields.view.value = `${r} ${v}`;
    fillFilters();
    if (number !== null) [fields.filter.value, fields.search.value] = ["all", ""];
    select();
  }

  function follow() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const r = Number(wanted.get("row"));
    if (!wanted.has("doc") || !index.rows[r]) return false;
    const v = Math.max(0, index.rows[r].views.findIndex((each) => each.name === wanted.get("view")));
    show(r, v, Number(wanted.get("doc")), wanted.get("at")).then(() => byId("samples").scrollIntoView(), fail);
    return true;
  }

  function fail(error) {
    byId("status").textContent = `The samples cannot be unpacked (${error}): use a browser of 2023 or later.`;
  }

  fillViews();
  fields.view.onchange = () => show(...fields.view.value.split(" ").map(Number)).then(link, fail);
  const choose = () => { select(); if (state.shown.length) link(); };
  fields.filter.onchange = choose;
  let waiting = 0;
  fields.search.oninput = () => { clearTimeout(waiting); waiting = setTimeout(choose, 150); };
  byId("choose").onsubmit = (event) => event.preventDefault();
  byId("page-before").onclick = () => { state.page--; renderList(); };
  byId("page-after").onclick = () => { state.page++; renderList(); };
  document.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const where = event.target;
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !state.one) return;
    if (where !== document.body && (!byId("browser").contains(where) || where.closest("pre, .scroll, .prompt"))) return;
    event.preventDefault();
    step(by);
  });
  addEventListener("hashchange", follow);
  if (!follow()) show(0, 0).catch(fail);
}

if (byId("index")) sampleBrowser(JSON.parse(byId("index").textContent));
