
"use strict";
// Texts reach the page through textContent alone, so nothing that a model wrote is ever markup.

const PAGE = 50; // documents of a page of the list
const LONG = 20000; // characters of a response that are shown at first
const WORDS = 4e6; // cells of the largest table that a comparison of words fills in
const byId = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = visible(text);
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

function compareKeys(a, b) {
  return typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
}

/** Up, then down, then as it was; what has no value comes last either way. */
function makeSortable(table) {
  const body = table.tBodies[0];
  const before = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[head.ariaSort] ?? (head.ariaSort ? null : "ascending");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      const keys = new Map(
        before.map((row) => [row, sortKey(row.cells[column].dataset.value, head.classList.contains("word"))]),
      );
      const sign = next === "descending" ? -1 : 1;
      const known = before.filter((row) => keys.get(row) !== null);
      const unknown = before.filter((row) => keys.get(row) === null);
      known.sort((one, other) => sign * compareKeys(keys.get(one), keys.get(other)));
      body.append(...(next ? [...known, ...unknown] : before));
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);

// ------------------------------------------------------------------------------------------------------ words

/** Words with the space behind them. */
function words(text) {
  return text.match(/\S+\s*|\s+/g) ?? [];
}

/** Two texts as runs of words, [text, whether the other lacks it]: the longest common sequence of words stays plain. */
function compareWords(before, after) {
  const [a, b] = [words(before), words(after)];
  const same = (i, j) => a[i].trim() === b[j].trim();
  let start = 0;
  while (start < a.length && start < b.length && same(start, start)) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && same(a.length - 1 - end, b.length - 1 - end)) end++;
  const n = a.length - start - end;
  const m = b.length - start - end;
  const [gone, added] = [new Uint8Array(a.length), new Uint8Array(b.length)];
  gone.fill(1, start, start + n);
  added.fill(1, start, start + m);
  if (n && m && n * m <= WORDS) {
    const wide = m + 1;
    const lengths = new Uint16Array((n + 1) * wide);
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        lengths[i * wide + j] = same(start + i, start + j)
          ? lengths[(i + 1) * wide + j + 1] + 1
          : Math.max(lengths[(i + 1) * wide + j], lengths[i * wide + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < n && j < m; ) {
      if (same(start + i, start + j)) {
        gone[start + i++] = 0;
        added[start + j++] = 0;
      } else if (lengths[(i + 1) * wide + j] >= lengths[i * wide + j + 1]) i++;
      else j++;
    }
  }
  return [runs(a, gone), runs(b, added)];
}

function runs(parts, marks) {
  const found = [];
  parts.forEach((part, place) => {
    const last = found.at(-1);
    if (last && last[1] === Boolean(marks[place])) last[0] += part;
    else found.push([part, Boolean(marks[place])]);
  });
  return found;
}

// ---------------------------------------------------------------------------------------------------- samples

const TEXT = 0, ANSWER = 1, SCORE = 2, TOKENS = 3; // of a response

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

/** How a score is shown: a sign, a class and a word. */
function judge(response, binary) {
  if (!response) return { sign: "–", kind: "none", word: "no response" };
  const score = response[SCORE];
  if (score === null) return { sign: "?", kind: "none", word: "not scored" };
  if (!binary) return { sign: String(Math.round(1000 * score) / 1000), kind: "none", word: `score ${score}` };
  return score ? { sign: "✓", kind: "good", word: "right" } : { sign: "✗", kind: "bad", word: "wrong" };
}

function sampleBrowser(index) {
  const state = { row: 0, view: 0, place: 0, strength: null, page: 0, shown: [], data: null, turn: 0 };
  const pickers = { view: byId("view"), filter: byId("filter"), search: byId("search") };
  const views = index.rows.flatMap((row, r) => (row.views.length ? row.views : [null]).map((_, v) => [r, v]));

  const row = () => index.rows[state.row];
  const view = () => row().views[state.view] ?? { name: "", strengths: [], kind: "", best: null, vote: 0, binary: true };
  const strengths = () => view().strengths;
  const documentAt = (place) => state.data.documents[place];
  const baselineOf = (place) => state.data.baseline[place];
  const cellsOf = (place) => state.data.cells[place] ?? [];
  const bestOf = (place) => (view().best === null ? null : cellsOf(place)[view().best]);
  const votedOf = (place) => state.data.voted[place] ?? null;

  function textOf(response, place) {
    if (typeof response[TEXT] === "string") return response[TEXT];
    return response[TEXT] < 0 ? (baselineOf(place)?.[TEXT] ?? "") : state.data.texts[response[TEXT]];
  }

  const rise = (one, base) => (one && base && one[SCORE] !== null ? (one[SCORE] - base[SCORE]) * (row().higher ? 1 : -1) : 0);
  const changed = (one, place) => Boolean(one && baselineOf(place)) && one[TEXT] !== -1;
  const FILTERS = [
    ["all", "all documents", () => true],
    ["changed", "steered response differs", (p) => changed(bestOf(p), p)],
    ["gained", "gained by steering", (p) => rise(bestOf(p), baselineOf(p)) > 0],
    ["lost", "lost by steering", (p) => rise(bestOf(p), baselineOf(p)) < 0],
    ["vote", "vote's answer differs", (p) => votedOf(p) && baselineOf(p) && votedOf(p)[ANSWER] !== baselineOf(p)[ANSWER]],
    ["vote-gained", "gained by the vote", (p) => rise(votedOf(p), baselineOf(p)) > 0],
    ["vote-lost", "lost by the vote", (p) => rise(votedOf(p), baselineOf(p)) < 0],
  ];

  function fillViews() {
    index.rows.forEach((one, r) => {
      const group = make("optgroup");
      group.label = visible(one.name);
      (one.views.length ? one.views : [{ name: "no steering" }]).forEach((each, v) => {
        const option = make("option", "", `${one.views.length > 1 ? `${each.name} · ` : ""}${one.name}`);
        option.value = `${r} ${v}`;
        group.append(option);
      });
      pickers.view.append(group);
    });
  }

  function fillFilters() {
    const wanted = pickers.filter.value || "all";
    const places = state.data.documents.map((_, place) => place);
    pickers.filter.replaceChildren();
    for (const [name, label, test] of FILTERS) {
      const count = places.filter(test).length;
      const option = make("option", "", `${label} (${count})`);
      option.value = name;
      option.disabled = !count;
      pickers.filter.append(option);
    }
    pickers.filter.value = wanted;
    if (pickers.filter.selectedOptions[0]?.disabled) pickers.filter.value = "all";
  }

  function matches(place, query) {
    if (!query) return true;
    const has = (text) => text !== null && text.toLowerCase().includes(query);
    const responses = [baselineOf(place), ...cellsOf(place), votedOf(place)].filter(Boolean);
    const one = documentAt(place);
    return has(one.question) || has(one.target) || responses.some((each) => has(textOf(each, place)));
  }

  function select() {
    const query = pickers.search.value.trim().toLowerCase();
    const test = FILTERS.find(([name]) => name === pickers.filter.value)[2];
    state.shown = state.data.documents.map((_, place) => place).filter((place) => test(place) && matches(place, query));
    const total = state.data.documents.length;
    const few = state.shown.length < total ? `${state.shown.length} of ` : "";
    byId("status").textContent = `${few}${total} documents` + (state.shown.length ? "." : ": none is like that.");
    byId("browser").hidden = !state.shown.length;
    if (state.shown.length && !state.shown.includes(state.place)) go(state.shown[0]);
    else render();
  }

  function go(place, strength = null) {
    state.place = place;
    state.strength = strength;
    state.page = Math.floor(Math.max(0, state.shown.indexOf(place)) / PAGE);
    render();
  }

  function render() {
    if (!state.shown.length) return;
    renderList();
    renderDocument();
  }

  function renderList() {
    const pages = Math.ceil(state.shown.length / PAGE);
    state.page = Math.min(state.page, pages - 1);
    const list = byId("documents");
    list.replaceChildren();
    for (const place of state.shown.slice(state.page * PAGE, (state.page + 1) * PAGE)) {
      const button = make("button");
      button.type = "button";
      button.append(make("span", "number", documentAt(place).number));
      button.append(make("span", "words", documentAt(place).question.trim().slice(0, 120).replace(/\s+/g, " ")));
      const signs = make("span", "signs");
      const kinds = [["without steering", baselineOf(place)], ["steered", bestOf(place)], ["vote", votedOf(place)]];
      const told = kinds.filter(([, one]) => one).map(([name, one]) => [name, judge(one, view().binary)]);
      told.forEach(([, one]) => signs.append(make("span", `glyph ${one.kind}`, one.sign)));
      signs.setAttribute("role", "img");
      signs.ariaLabel = signs.title = told.map(([name, one]) => `${name}: ${one.word}`).join(", ");
      button.append(signs);
      if (place === state.place) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => { go(place); link(); });
      const item = make("li");
      item.append(button);
      list.append(item);
    }
    const current = list.querySelector("[aria-current]");
    if (current) list.scrollTop += current.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3;
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("page-before").disabled = state.page === 0;
    byId("page-after").disabled = state.page === pages - 1;
  }

  function step(by) {
    const at = state.shown.indexOf(state.place) + by;
    if (at < 0 || at >= state.shown.length) return;
    go(state.shown[at], null);
    link();
  }

  function renderDocument() {
    const [place, one] = [state.place, documentAt(state.place)];
    const box = byId("document");
    const focused = box.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    box.replaceChildren();
    const turn = make("div", "turn");
    const at = state.shown.indexOf(place);
    turn.append(make("h3", "", `Document ${one.number} (${at + 1} of ${state.shown.length} shown)`));
    for (const [name, label, by] of [["before", "← Previous", -1], ["after", "Next →", 1]]) {
      const button = make("button", "", label);
      button.type = "button";
      button.dataset.name = name;
      button.disabled = at + by < 0 || at + by >= state.shown.length;
      button.addEventListener("click", () => step(by));
      turn.append(button);
    }
    box.append(turn, make("p", "question", one.question));
    const target = make("p", "target", "Right answer: ");
    target.append(make("strong", "", one.target));
    box.append(target, more(one));
    const chosen = state.strength ?? view().best;
    if (strengths().length > 1) box.append(strip(place, chosen), legend());
    box.append(responses(place, chosen));
    if (focused) box.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function more(one) {
    const details = make("details");
    details.append(make("summary", "", "The whole document and its prompt"));
    details.addEventListener("toggle", () => {
      if (details.childElementCount > 1) return;
      const table = make("table", "fields");
      for (const [name, value] of one.fields) {
        const line = table.insertRow();
        const head = make("th", "", name);
        head.scope = "row";
        line.append(head, make("td", "", value));
      }
      const scroll = make("div", "scroll");
      scroll.append(table);
      details.append(scroll, make("div", "prompt", state.data.shared + one.prompt));
    });
    return details;
  }

  function strip(place, chosen) {
    const box = make("div", "strip");
    box.setAttribute("role", "group");
    box.ariaLabel = "Answers by strength";
    const base = baselineOf(place);
    if (base) box.append(cell("div", "no steering", base));
    const vote = votedOf(place);
    view().strengths.forEach((name, number) => {
      const response = cellsOf(place)[number];
      const label = view().kind === "sample" ? `sample ${Number(name) + 1}` : name === "per-layer" ? name : `${view().kind === "dose" ? "dose" : "α"} ${name}`;
      const button = cell("button", number === view().best ? `${label} ★` : label, response);
      button.type = "button";
      button.dataset.name = `strength ${name}`;
      button.disabled = !response;
      button.setAttribute("aria-pressed", String(number === chosen));
      if (vote && response && response[ANSWER] !== null && response[ANSWER] === vote[ANSWER]) {
        button.querySelector(".glyph").append(" ●");
      }
      button.addEventListener("click", () => { state.strength = number; renderDocument(); link(); });
      box.append(button);
    });
    return box;
  }

  function cell(tag, label, response) {
    const told = judge(response, view().binary);
    const box = make(tag, `cell ${told.kind}`);
    box.append(make("span", "strength", label));
    box.append(make("span", "answer", response ? (response[ANSWER] ?? "no answer") : "–"));
    const glyph = make("span", "glyph", told.sign);
    glyph.title = told.word;
    box.append(glyph);
    if (response?.[ANSWER]) box.title = visible(response[ANSWER]).slice(0, 300);
    return box;
  }

  function legend() {
    const parts = view().binary ? ["✓ right", "✗ wrong", "? not scored"] : ["numbers: score of the document"];
    if (view().best !== null) parts.push("★ speaks for the run");
    if (view().vote) parts.push("● agrees with the vote");
    return make("p", "legend", `${parts.join(", ")}. Choose a strength to see its response.`);
  }

  function responses(place, chosen) {
    const box = make("div", "responses");
    const base = baselineOf(place);
    const steered = chosen === null ? null : cellsOf(place)[chosen];
    const vote = votedOf(place);
    const texts = [base, steered, vote].map((one) => (one ? textOf(one, place) : null));
    const plain = (text) => [[text, false]];
    const pairs = [1, 2].map((i) => (texts[0] !== null && texts[i] !== null ? compareWords(clip(texts[0]), clip(texts[i])) : null));
    const against = pairs[0] ?? pairs[1];
    if (base) box.append(column("Without steering", "", base, against ? against[0] : plain(clip(texts[0])), texts[0], "gone"));
    if (chosen !== null) {
      const name = strengths()[chosen];
      const kind = { sample: `Sample ${Number(name) + 1}`, dose: `Steered, dose ${name}` }[view().kind] ?? `Steered, α = ${name}`;
      const title = name === "per-layer" ? "Steered, a strength per block" : kind;
      if (steered) box.append(column(title, "steered", steered, pairs[0] ? pairs[0][1] : plain(clip(texts[1])), texts[1]));
    }
    if (vote) {
      const title = `Vote of ${view().vote}`;
      box.append(column(title, "voted", vote, pairs[1] ? pairs[1][1] : plain(clip(texts[2])), texts[2]));
    }
    return box;
  }

  const clip = (text) => text.slice(0, LONG);

  function column(title, name, response, parts, whole, mark = "") {
    const box = make("section", `response ${name}${/^[→ ] \d+ +-?\d/.test(whole) ? " choices" : ""}`);
    const head = make("header");
    const told = judge(response, view().binary);
    head.append(make("h3", "", title), make("span", `glyph ${told.kind}`, `${told.sign} ${view().binary ? told.word : ""}`));
    const tokens = response[TOKENS] === null ? "" : `, ${response[TOKENS]} tokens`;
    head.append(make("span", "small", `answer: ${response[ANSWER] ?? "none"}${tokens}`));
    const text = make("pre");
    for (const [part, isMarked] of parts) text.append(make(isMarked ? "mark" : "span", isMarked ? mark : "", part));
    if (!whole.trim()) text.append(make("span", "empty", whole ? "(only space)" : "(empty)"));
    box.append(head, text);
    if (whole.length > LONG) {
      const button = make("button", "", `Show all ${whole.length.toLocaleString("en")} characters`);
      button.type = "button";
      button.addEventListener("click", () => { text.textContent = visible(whole); button.remove(); });
      box.append(button);
    }
    return box;
  }

  /** The address names the document, so that it can be sent to somebody who has the file. */
  function link() {
    const found = new URLSearchParams({ row: state.row, view: view().name, doc: documentAt(state.place).number });
    if (state.strength !== null) found.set("at", strengths()[state.strength]);
    history.replaceState(null, "", `#${found}`);
  }

  async function show(r, v, number = null, at = null) {
    const turn = ++state.turn;
    byId("status").textContent = "Unpacking …";
    const one = index.rows[r];
    const empty = { texts: [], cells: [], voted: [] };
    const [documents, cells] = await Promise.all([load(one.block), one.views[v] ? load(one.views[v].block) : empty]);
    if (turn !== state.turn) return; // another choice was made meanwhile
    const before = state.data && state.row === r ? documentAt(state.place).number : null;
    [state.row, state.view, state.data] = [r, v, { ...documents, ...cells }];
    pickers.view.value = `${r} ${v}`;
    fillFilters();
    const wanted = number ?? before;
    state.place = Math.max(0, state.data.documents.findIndex((each) => each.number === wanted));
    const strength = strengths().indexOf(at);
    state.strength = strength < 0 ? null : strength;
    if (number !== null) [pickers.filter.value, pickers.search.value] = ["all", ""];
    state.page = Math.floor(state.place / PAGE);
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
  pickers.view.addEventListener("change", () => {
    const [r, v] = pickers.view.value.split(" ").map(Number);
    show(r, v).then(link, fail);
  });
  const choose = () => { select(); if (state.shown.length) link(); };
  pickers.filter.addEventListener("change", choose);
  let waiting = 0;
  pickers.search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(choose, 150); });
  byId("choose").addEventListener("submit", (event) => event.preventDefault());
  byId("page-before").addEventListener("click", () => { state.page--; renderList(); });
  byId("page-after").addEventListener("click", () => { state.page++; renderList(); });
  document.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const where = event.target;
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !state.data) return;
    if (where !== document.body && (!byId("browser").contains(where) || where.closest("pre, .scroll, .prompt"))) return;
    event.preventDefault();
    step(by);
  });
  addEventListener("hashchange", follow);
  if (!follow()) show(...views[0]).catch(fail);
}

if (byId("index")) sampleBrowser(JSON.parse(byId("index").textContent));
